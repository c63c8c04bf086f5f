"""How much an instruction moves at each level: words through the ports of on-chip memories, and bytes of DRAM.

A word counts once for each pass of a row over it: a norm reads its panel two or three times, the array reads a panel of
ACT for each tile column, and a pair of PARAM is read for each row.
"""

from __future__ import annotations

from collections import Counter

from ..arch.config import HardwareConfig, Memory
from ..arch.isa import Instruction, Matmul
from ..arch.operands import port_words

Words = Counter[tuple[Memory, bool]]  # (memory, written?) → words


def tile_macs(instruction: Instruction, config: HardwareConfig) -> int:
    """Multiply-accumulates of a Matmul, whole tiles counted: padding included, each digit of a code by itself."""
    if not isinstance(instruction, Matmul):
        return 0
    return instruction.rows * instruction.k_tiles * instruction.n_tiles * config.rows * config.columns


def dram_bytes(instruction: Instruction, config: HardwareConfig) -> tuple[int, int]:
    """(read, written)."""
    if not instruction.dram:
        return 0, 0
    moved = instruction.transfer(config).moved_bytes
    return (0, moved) if instruction.dram.write else (moved, 0)


def words(instruction: Instruction, config: HardwareConfig) -> Words:
    """Words read and written on chip."""
    moved: Words = Counter()
    for memory, write, count in port_words(instruction, config):
        moved[memory, write] += count
    return moved
