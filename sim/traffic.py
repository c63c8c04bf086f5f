"""How much an instruction moves at each level: words through the ports of on-chip memories, and bytes of DRAM.

A word counts once for each pass of a row over it: a norm reads its panel two or three times, the array reads a panel of
ACT for each tile column, and a pair of PARAM is read for each row.
"""

from __future__ import annotations

from collections import Counter

from ..arch.config import HardwareConfig, Memory
from ..arch.isa import (
    Append,
    Argmax,
    Codes,
    Combine,
    Instruction,
    Load,
    Map,
    Matmul,
    Norm,
    NormKind,
    OnlineSoftmax,
    Part,
    Quantise,
    Scales,
    Softmax,
    Source,
    Store,
    Stream,
    VectorInstruction,
)
from .units.kv import moved_bytes

Words = Counter[tuple[Memory, bool]]  # (memory, written?) → words


def tile_macs(instruction: Instruction, config: HardwareConfig) -> int:
    """Multiply-accumulates of a Matmul, whole tiles counted: padding included, each digit of a code by itself."""
    if not isinstance(instruction, Matmul):
        return 0
    return instruction.rows * instruction.k_tiles * instruction.n_tiles * config.rows * config.columns


def dram_bytes(instruction: Instruction, config: HardwareConfig) -> tuple[int, int]:
    """(read, written)."""
    match instruction:
        case Load() | Store():
            moved = instruction.segments * instruction.words * config.dram_word_bytes(instruction.memory)
        case Append() | Stream():
            moved = moved_bytes(instruction, config)
        case _:
            return 0, 0
    return (0, moved) if isinstance(instruction, (Store, Append)) else (moved, 0)


def words(instruction: Instruction, config: HardwareConfig) -> Words:
    """Words read and written on chip."""
    moved: Words = Counter()
    match instruction:
        case Load() | Store():
            write = isinstance(instruction, Load)
            moved[instruction.memory, write] = instruction.segments * instruction.words
            if isinstance(instruction, Load) and instruction.gather:
                moved[Memory.INDEX, False] += instruction.segments
        case Append():
            items = instruction.heads * instruction.tokens
            items *= 1 if instruction.part is Part.PAIRS else instruction.token_words
            moved[_cached(instruction.part), False] = moved[Memory.PAGE, False] = items
        case Stream():
            of_block = 1 if instruction.part is Part.PAIRS else instruction.words * config.columns
            moved[_cached(instruction.part), True] = instruction.blocks * of_block
            moved[Memory.PAGE, False] = instruction.blocks
        case Matmul():
            _matmul(instruction, config, moved)
        case VectorInstruction():
            _vector(instruction, config, moved)
        case Softmax() | OnlineSoftmax():
            _softmax(instruction, config, moved)
        case Norm():
            panel = instruction.rows * _row_words(instruction.columns, config)
            moved[Memory.VALUE, False] = panel * (3 if instruction.kind is NormKind.LAYER else 2)
            moved[Memory.PARAM, False] = moved[Memory.VALUE, True] = panel
    return moved


def _matmul(i: Matmul, config: HardwareConfig, moved: Words) -> None:
    tiles = i.k_tiles * i.n_tiles
    moved[Memory.ACT, False] = i.rows * tiles
    moved[Memory.WEIGHT, False] = config.rows * tiles
    moved[Memory.ACC, False] = i.rows * (tiles if i.accumulate else tiles - i.n_tiles)
    moved[Memory.ACC, True] = i.rows * tiles


def _vector(i: VectorInstruction, config: HardwareConfig, moved: Words) -> None:
    row = _row_words(i.columns, config)
    panel, passes = i.rows * row, 2 if isinstance(i, Quantise) else 1
    rotates = i.combine is Combine.ROTATE
    memory = Memory.ACC if i.source is Source.ACC else Memory.VALUE
    moved[memory, False] += panel * (1 + i.planes) * (2 if rotates else 1) * passes
    if i.combine is not Combine.NONE:
        moved[Memory.VALUE, False] += panel * (2 if rotates else 1) * passes
    if i.scaled:
        moved[Memory.PARAM, False] += panel * passes
    if i.row_scaled:
        moved[Memory.ROW, False] += i.rows * passes
    match i:
        case Map():
            moved[Memory.ROW, False] += i.rows * i.operand_scaled
            moved[Memory.VALUE, True] += panel
        case Argmax():
            moved[Memory.INDEX, True] += i.rows
        case Quantise():
            if i.codes is Codes.ACT:
                moved[Memory.ACT, True] += i.rows * -(-i.columns // config.rows)
            elif i.codes is Codes.WEIGHT:
                moved[Memory.WEIGHT, True] += panel
            else:  # a byte of a word at a time
                moved[Memory.WEIGHT, True] += i.rows * i.columns
            moved[Memory.ROW if i.scales is Scales.ROW else Memory.PARAM, True] += i.rows


def _softmax(i: Softmax | OnlineSoftmax, config: HardwareConfig, moved: Words) -> None:
    """Three passes: maxima, sums, codes; V's scales are read in the last, K's in all."""
    panel = i.rows * _row_words(i.columns, config)
    moved[Memory.ACC, False] = moved[Memory.PARAM, False] = 3 * panel
    moved[Memory.ROW, False] = 3 * i.rows
    moved[Memory.ROW, True] = i.rows
    if isinstance(i, Softmax) and i.additive:
        moved[Memory.VALUE, False] = 3 * panel
    if isinstance(i, OnlineSoftmax):
        moved[Memory.ROW, False] += 0 if i.first else 2 * i.rows
        moved[Memory.ROW, True] = 4 * i.rows
    moved[Memory.ACT, True] = i.rows * -(-i.columns // config.rows)


def _row_words(columns: int, config: HardwareConfig) -> int:
    return -(-columns // config.columns)


def _cached(part: Part) -> Memory:
    return Memory.PARAM if part is Part.PAIRS else Memory.WEIGHT
