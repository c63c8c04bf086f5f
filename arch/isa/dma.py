"""LOAD and STORE: between DRAM and the memories on chip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..config import HardwareConfig, Memory, Unit
from ..errors import HeddleError
from ..operands import FLAG, Dram, Read, Write
from .instruction import ADDRESS, Instruction, bits, size

STORABLE = (Memory.ACT, Memory.WEIGHT, Memory.PARAM, Memory.VALUE, Memory.INDEX)


@dataclass(frozen=True)
class Load(Instruction):
    """DRAM → on-chip memory, `segments` pieces of `words` words.

    memory[address + i·stride + w] = dram[dram_address + s(i)·dram_stride + w·word_bytes],
    s(i) = index[index_address + i] if gather else i. `index_address` counts int32 elements.
    A gather starts when no earlier LOAD is in flight.
    """

    opcode: ClassVar[int] = 1
    unit: ClassVar[Unit | None] = Unit.LOAD
    memory: Memory = bits(3, Memory, default=Memory.ACT, only=(*STORABLE, Memory.PAGE))
    dram_address: int = bits(40)
    dram_stride: int = bits(32)
    segments: int = size(16)
    words: int = size(20)
    address: int = bits(ADDRESS)
    stride: int = bits(ADDRESS)
    gather: int = bits(FLAG)
    index_address: int = bits(20)

    operands = (
        Write("memory", at="address", words="words", stride="stride", count="segments"),
        Read(Memory.INDEX, at="index_address", elements="segments", when="gather"),
    )
    dram = Dram(write=False, pieces="segments", piece_bytes="words * word_bytes(memory)", stride="dram_stride",
                chosen="gather")  # fmt: skip

    def check_fields(self, config: HardwareConfig) -> None:
        super().check_fields(config)
        _check_dma(self, config, self.gather, "gathered")


@dataclass(frozen=True)
class Store(Instruction):
    """On-chip memory (ACT, WEIGHT, PARAM, VALUE or INDEX) → DRAM, `segments` pieces of `words` words.

    dram[dram_address + s(i)·dram_stride + w·word_bytes] = memory[address + i·stride + w],
    s(i) = index[index_address + i] if scatter else i. Padding bytes are zero. Pieces are written in the order of i: of
    those that meet, the last one stays. `index_address` counts int32 elements; rows of a scatter are numbered from 0
    on, and one in front of the first is beyond DRAM.
    """

    opcode: ClassVar[int] = 2
    unit: ClassVar[Unit | None] = Unit.STORE
    memory: Memory = bits(3, Memory, default=Memory.VALUE, only=STORABLE)
    dram_address: int = bits(40)
    dram_stride: int = bits(32)
    segments: int = size(16)
    words: int = size(20)
    address: int = bits(ADDRESS)
    stride: int = bits(ADDRESS)
    scatter: int = bits(FLAG)
    index_address: int = bits(20)

    operands = (
        Read("memory", at="address", words="words", stride="stride", count="segments"),
        Read(Memory.INDEX, at="index_address", elements="segments", when="scatter"),
    )
    dram = Dram(write=True, pieces="segments", piece_bytes="words * word_bytes(memory)", stride="dram_stride",
                chosen="scatter")  # fmt: skip

    def check_fields(self, config: HardwareConfig) -> None:
        super().check_fields(config)
        _check_dma(self, config, self.scatter, "scattered")


def _check_dma(instruction: Load | Store, config: HardwareConfig, chosen: int, how: str) -> None:
    for name in ("dram_address", "dram_stride"):
        if getattr(instruction, name) % config.axi_bytes:
            raise HeddleError(f"{instruction.name}: {name} must be a multiple of {config.axi_bytes} bytes "
                              f"on {config.title}, not {getattr(instruction, name)}")  # fmt: skip
    if chosen and (instruction.dram_address % config.burst_bytes or instruction.dram_stride % config.burst_bytes):
        # So that every row splits into the same bursts, and the timing does not depend on the indices.
        raise HeddleError(f"{instruction.name}: a {how} table must start at, and its rows be, multiples of "
                          f"{config.burst_bytes} bytes on {config.title}")  # fmt: skip


INSTRUCTIONS: list[type[Instruction]] = [Load, Store]
