"""KV: tokens to the pages of a cache, and back to the memories of the array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import ClassVar

from ..config import HardwareConfig, Memory, Unit
from ..errors import HeddleError
from ..operands import Dram, Operand, Read, Write
from .instruction import ADDRESS, BLOCK, REGISTER, ROWS, STRIDE, TILES, Instruction, bits, clamp, size, sized


class Part(IntEnum):
    """What of a cached token an APPEND or STREAM moves."""

    KEYS = 0  # codes, transposed on their way to WEIGHT (STREAM only)
    VALUES = 1  # codes, straight
    PAIRS = 2  # (scale of K, scale of V) of the token, in PARAM


def looked_up(times: str) -> Operand:
    """The page table: an element is read for each piece that is moved."""
    return Read(Memory.PAGE, at="table", elements="pages", moved=times)


@dataclass(frozen=True)
class KvInstruction(Instruction):
    """Where the tokens of a paged cache are; DRAM addresses count from the start of the cache region (CSR KV_BASE).

    A sequence is cut into blocks of C = `config.columns` tokens, a page holds 2^page_blocks blocks. Block b is on the
    page p = page[table + (b >> page_blocks)], where b >> page_blocks must be below `pages`, and begins at
    block(b) = dram_address + p·page_bytes + (b mod 2^page_blocks)·block_bytes. Codes: a block is token_words·C words
    of WEIGHT, word w of token t is number w·C + t; PAIRS: a block is a word of PARAM, 8 bytes for each token.
    `table` counts int32 elements. An access beyond the region stops the machine with an error, and is not made.
    """

    unit: ClassVar[Unit | None] = Unit.KV
    part: Part = bits(2, Part, default=Part.VALUES)
    token_words: int = size(8)
    address: int = bits(ADDRESS)
    stride: int = bits(STRIDE)
    dram_address: int = bits(32)
    page_bytes: int = bits(24)
    table: int = bits(14)
    pages: int = size(12)
    page_blocks: int = bits(4)

    def block_bytes(self, config: HardwareConfig) -> int:
        """DRAM bytes from a block to the next on its page."""
        if self.part is Part.PAIRS:
            return config.dram_word_bytes(Memory.PARAM)
        return self.token_words * config.columns * config.dram_word_bytes(Memory.WEIGHT)

    def last_block(self, config: HardwareConfig) -> int:
        """The last block of the sequence that it touches."""
        raise NotImplementedError

    def check_fields(self, config: HardwareConfig) -> None:
        super().check_fields(config)
        unit = max(config.axi_bytes, 8)
        if self.dram_address % unit:
            raise HeddleError(f"{self.name}: dram_address must be a multiple of {unit} bytes, not {self.dram_address}")
        # So that the bursts of a page do not depend on which page it is, and no word is astride two.
        aligned = max(config.burst_bytes, config.dram_word_bytes(Memory.WEIGHT))
        if self.page_bytes % aligned:
            raise HeddleError(f"{self.name}: page_bytes must be a multiple of {aligned} on {config.title}, "
                              f"not {self.page_bytes}")  # fmt: skip


@dataclass(frozen=True)
class Append(KvInstruction):
    """New tokens into the cache. For h < heads: for t < tokens: for w < token_words (PAIRS: once):

    VALUES: dram[block(b) + h·head_bytes + (w·C + s)·word_bytes] = weight[address + h·head_step + w·stride + t];
    PAIRS: dram[block(b) + h·head_bytes + s·8] = pair number address + h·head_step + t of PARAM; `address` counts pairs.
    Token t stands in block b = block + (slot + t) // C at s = (slot + t) mod C. With registers:
    block = clamp(block + scalar[block_register], 0, 2^20 - 1), slot = clamp(slot + scalar[slot_register], 0, C - 1).
    """

    opcode: ClassVar[int] = 9
    part: Part = bits(2, Part, default=Part.VALUES, only=(Part.VALUES, Part.PAIRS))  # keys are transposed later
    tokens: int = size(ROWS)
    heads: int = size(8)
    head_step: int = bits(STRIDE)
    head_bytes: int = bits(24)
    block: int = bits(BLOCK)
    block_register: int = bits(REGISTER)
    slot: int = bits(8)
    slot_register: int = bits(REGISTER)

    def resolved(self, scalar: Sequence[int], config: HardwareConfig) -> Instruction:
        block, slot = self.block, self.slot
        if self.block_register:
            block = clamp(block + scalar[self.block_register], 0, (1 << BLOCK) - 1)
        if self.slot_register:
            slot = clamp(slot + scalar[self.slot_register], 0, config.columns - 1)
        return replace(self, block=block, slot=slot, block_register=0, slot_register=0)

    def last_block(self, config: HardwareConfig) -> int:
        return self.block + (self.slot + self.tokens - 1) // config.columns

    operands = (
        looked_up("heads * tokens * (1 if part == Part.PAIRS else token_words)"),
        Read(Memory.PARAM, at="address", elements="(heads - 1) * head_step + tokens", moved="heads * tokens",
             when="part == Part.PAIRS"),
        Read(Memory.WEIGHT, at="address", words="(heads - 1) * head_step + tokens", stride="stride",
             count="token_words", moved="heads * tokens * token_words", when="part != Part.PAIRS"),
    )  # fmt: skip
    dram = Dram(write=True, cache=True, pieces="heads * tokens * (1 if part == Part.PAIRS else token_words)",
                piece_bytes="8 if part == Part.PAIRS else word_bytes(Memory.WEIGHT)")  # fmt: skip

    def check_fields(self, config: HardwareConfig) -> None:
        super().check_fields(config)
        if self.slot >= config.columns:
            raise HeddleError(f"append: slot must be below {config.columns} on {config.title}, not {self.slot}")
        item = 8 if self.part is Part.PAIRS else config.dram_word_bytes(Memory.WEIGHT)
        unit = max(config.axi_bytes, item)  # so that no item crosses a burst boundary
        for name in ("dram_address", "head_bytes"):
            if getattr(self, name) % unit:
                raise HeddleError(f"append: {name} must be a multiple of {unit} bytes on {config.title}, "
                                  f"not {getattr(self, name)}")  # fmt: skip


@dataclass(frozen=True)
class Stream(KvInstruction):
    """Cached tokens to the memories of the array, `blocks` blocks from `first` on. For j < blocks, b = first + j:

    KEYS: weight[address + j·stride + w·C + i], element t = element i of word w of token t (C × C transposed);
    VALUES: weight[address + w·stride + j·C + t] = word w of token t; for w < words, t < C.
    PAIRS: param[address + j] = the pairs of block b. With registers: blocks = clamp(scalar[count_register]
    - count_offset, 1, blocks), first = clamp(first + scalar[first_register], 0, 2^20 - 1).
    """

    opcode: ClassVar[int] = 10
    blocks: int = size(TILES)
    words: int = size(8)
    first: int = bits(BLOCK)
    first_register: int = bits(REGISTER)
    count_register: int = bits(REGISTER)
    count_offset: int = bits(TILES)

    def resolved(self, scalar: Sequence[int], config: HardwareConfig) -> Instruction:
        first = self.first
        if self.first_register:
            first = clamp(first + scalar[self.first_register], 0, (1 << BLOCK) - 1)
        blocks = sized(self.blocks, scalar, self.count_register, self.count_offset)
        return replace(self, first=first, blocks=blocks, first_register=0, count_register=0)

    def last_block(self, config: HardwareConfig) -> int:
        return self.first + self.blocks - 1

    operands = (
        looked_up("blocks"),
        Write(Memory.WEIGHT, at="address", words="words * config.columns", stride="stride", count="blocks",
              when="part == Part.KEYS"),
        Write(Memory.WEIGHT, at="address", words="blocks * config.columns", stride="stride", count="words",
              when="part == Part.VALUES"),
        Write(Memory.PARAM, at="address", words="blocks", when="part == Part.PAIRS"),
    )  # fmt: skip
    dram = Dram(write=False, cache=True, pieces="blocks",
                piece_bytes="word_bytes(Memory.PARAM) if part == Part.PAIRS else "
                            "words * config.columns * word_bytes(Memory.WEIGHT)")  # fmt: skip

    def check_fields(self, config: HardwareConfig) -> None:
        super().check_fields(config)
        if self.part is not Part.PAIRS and self.words > self.token_words:
            raise HeddleError(f"stream: words must be at most token_words ({self.token_words}), not {self.words}")


INSTRUCTIONS: list[type[Instruction]] = [Append, Stream]
