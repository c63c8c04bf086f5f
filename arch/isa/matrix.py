"""MATRIX: products of tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from ..config import HardwareConfig, Memory, Unit
from ..errors import HeddleError
from ..operands import FLAG, Read, Write
from .instruction import ADDRESS, REGISTER, ROWS, STRIDE, TILES, Instruction, bits, size, sized


@dataclass(frozen=True)
class Matmul(Instruction):
    """acc[acc_address + m·acc_stride + n] (+)= Σ_k act[act_address + m·act_stride + k] @ tile(k, n), in int32.

    m < rows; k < k_tiles and n < n_tiles count tiles; tile(k, n) is the `config.rows` words of WEIGHT from
    weight_address + n·weight_stride + k·config.rows. `accumulate` adds to what ACC holds instead of replacing it.
    Order: for n: for k: for m. With bf16 PEs the sums are float32: within a tile the products are added from +0 in the
    order of its rows, and the sums of tiles in the order of k (`numerics.matmul_bf16`); products and sums saturate.
    With registers: n_tiles = clamp(scalar[n_register] - n_offset, 1, n_tiles), and k_tiles alike.
    """

    opcode: ClassVar[int] = 3
    in_place: ClassVar[bool] = True  # a sum is read, added to and written
    unit: ClassVar[Unit | None] = Unit.MATRIX
    rows: int = size(ROWS)
    k_tiles: int = size(TILES)
    n_tiles: int = size(TILES)
    act_address: int = bits(ADDRESS)
    act_stride: int = bits(STRIDE)
    weight_address: int = bits(ADDRESS)
    weight_stride: int = bits(ADDRESS)
    acc_address: int = bits(ADDRESS)
    acc_stride: int = bits(STRIDE)
    accumulate: int = bits(FLAG)
    n_register: int = bits(REGISTER)
    n_offset: int = bits(TILES)
    k_register: int = bits(REGISTER)
    k_offset: int = bits(TILES)

    def resolved(self, scalar: Sequence[int], config: HardwareConfig) -> Instruction:
        return replace(
            self, n_register=0, k_register=0,
            n_tiles=sized(self.n_tiles, scalar, self.n_register, self.n_offset),
            k_tiles=sized(self.k_tiles, scalar, self.k_register, self.k_offset),
        )  # fmt: skip

    operands = (
        Read(Memory.ACT, at="act_address", words="k_tiles", stride="act_stride", count="rows", passes="n_tiles"),
        Read(Memory.WEIGHT, at="weight_address", words="k_tiles * config.rows", stride="weight_stride",
             count="n_tiles"),
        # Each sum is read, added to and written: both ports of the bank are in use.
        Read(Memory.ACC, at="acc_address", words="n_tiles", stride="acc_stride", count="rows",
             passes="k_tiles if accumulate else k_tiles - 1"),
        Write(Memory.ACC, at="acc_address", words="n_tiles", stride="acc_stride", count="rows", passes="k_tiles"),
    )  # fmt: skip

    def check_fields(self, config: HardwareConfig) -> None:
        super().check_fields(config)
        if self.rows > 1 and self.acc_stride < self.n_tiles:
            raise HeddleError(f"matmul: acc_stride must be at least n_tiles ({self.n_tiles}), not {self.acc_stride}: "
                              f"rows of sums must not overlap")  # fmt: skip


INSTRUCTIONS: list[type[Instruction]] = [Matmul]
