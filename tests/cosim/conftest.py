"""Configurations and small programs for the tests of the bench."""


import numpy as np
import pytest
from heddle.arch.config import PRESETS, Memory
from heddle.arch.isa import Append, Guard, Halt, Load, Map, Matmul, Part, Quantise, Source, Store, Stream
from heddle.arch.program import Program, Tensor
from heddle.compiler.synchronise import synchronise

NANO = PRESETS["nano"]


def program_of(instructions, config=NANO, data=(), tensors=(), dram_bytes=1 << 16, **more) -> Program:
    """A program with its semaphores, halted."""
    ordered = synchronise(config, list(instructions))
    return Program(config, (*ordered, Halt()), dram_bytes, tuple(data), {t.name: t for t in tensors}, name="small",
                   **more)  # fmt: skip


@pytest.fixture
def layer() -> Program:
    """LOAD, MATRIX, VECTOR and STORE once each: 5 × 8 codes from the input "x", times 8 × 11, as values to "y"."""
    x = Tensor("x", "input", Memory.ACT, 0x1000, rows=5, columns=8, row_bytes=8, shape=(5, 8))
    y = Tensor("y", "output", Memory.VALUE, 0x3000, rows=5, columns=11, row_bytes=24, shape=(5, 11))
    weights = np.random.default_rng(5).integers(-128, 128, 24 * 4, dtype=np.int8).tobytes()
    return program_of([
        Load(memory=Memory.ACT, dram_address=0x1000, words=10, address=3),
        Load(memory=Memory.WEIGHT, dram_address=0x2004, words=24, address=5),
        Matmul(rows=5, k_tiles=2, n_tiles=3, act_address=3, act_stride=2, weight_address=5, weight_stride=8,
               acc_address=1, acc_stride=3),
        Map(rows=5, columns=11, source=Source.ACC, source_address=1, source_stride=3, address=7, stride=3),
        Quantise(rows=5, columns=11, source=Source.VALUE, source_address=7, source_stride=3, address=40, stride=3),
        Store(memory=Memory.VALUE, dram_address=0x3000, words=15, address=7),
        Store(memory=Memory.ACT, dram_address=0x3800, words=15, address=40),
    ], data=[(0x2004, weights)], tensors=[x, y])  # fmt: skip


def noise(count: int, seed: int = 5) -> bytes:
    """Random bytes."""
    return np.random.default_rng(seed).bytes(count)


@pytest.fixture
def guarded() -> Program:
    """A layer with LOADs of which some overlap, whose parts hang on the registers 1, 2 (sizes), 5 and 6 (guards)."""
    return program_of([
        Load(memory=Memory.ACT, dram_address=0x1000, words=10, address=3),
        Load(memory=Memory.WEIGHT, dram_address=0x1400, words=24, address=5),
        Guard(register=5, threshold=7, count=3),
        Load(memory=Memory.ACT, dram_address=0x1040, words=6, address=3),
        Load(memory=Memory.WEIGHT, dram_address=0x1480, words=8, address=5),
        Load(memory=Memory.INDEX, dram_address=0x1000, words=2),
        Load(memory=Memory.WEIGHT, dram_address=0x1408, words=8, address=5),
        Matmul(rows=5, k_tiles=2, n_tiles=3, act_address=3, act_stride=2, weight_address=5, weight_stride=8,
               acc_address=1, acc_stride=3, n_register=1, k_register=2, n_offset=1),
        Guard(register=6, count=2),
        Map(rows=5, columns=11, source=Source.ACC, source_address=1, source_stride=3, address=7, stride=3),
        Store(memory=Memory.VALUE, dram_address=0x3000, words=15, address=7),
        Quantise(rows=5, columns=11, source=Source.VALUE, source_address=7, source_stride=3, address=40, stride=3),
        Guard(register=5, threshold=7, count=1),
        Store(memory=Memory.ACT, dram_address=0x3800, words=15, address=40),
        Store(memory=Memory.ACT, dram_address=0x3C00, words=15, address=40),
        Store(memory=Memory.INDEX, dram_address=0x3E00, words=2),
    ], data=[(0x1000, noise(0x800))], dram_bytes=1 << 14)  # fmt: skip


@pytest.fixture
def cached() -> Program:
    """Three tokens of two heads into a cache of pages out of order, and four blocks out of it, each by registers."""
    codes = dict(token_words=2, page_bytes=256, page_blocks=1, pages=8)
    pairs = dict(part=Part.PAIRS, page_bytes=256, page_blocks=1, pages=8, dram_address=0x1000)
    to = dict(tokens=3, heads=2, head_bytes=64, block=2, block_register=1, slot_register=2)
    of = dict(blocks=4, first=1, first_register=3, count_register=4, count_offset=1)
    table = np.array([3, 1, 0, 2, 5, 4, 7, 6], "<i4").tobytes()
    return program_of([
        Load(memory=Memory.PAGE, dram_address=0x1000, words=8),
        Load(memory=Memory.WEIGHT, dram_address=0x1100, words=40),
        Load(memory=Memory.PARAM, dram_address=0x1200, words=8),
        Append(part=Part.VALUES, address=1, stride=20, head_step=5, **codes, **to),
        Append(address=3, head_step=4, **pairs, **to),
        Stream(part=Part.VALUES, address=64, stride=16, words=2, **codes, **of),
        Stream(part=Part.KEYS, address=128, stride=8, words=2, **codes, **of),
        Stream(address=64, **pairs, **of),
        Store(memory=Memory.WEIGHT, address=64, words=96, dram_address=0x2000),
        Store(memory=Memory.PARAM, address=64, words=8, dram_address=0x2400),
    ], data=[(0x1000, table), (0x1100, noise(0x300)), (0x4000, noise(0x2000))], dram_bytes=1 << 15,
       registers=((1, 1), (2, 3), (3, 2), (4, 4)), cache_address=0x4000, cache_bytes=0x2000)  # fmt: skip
