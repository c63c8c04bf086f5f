"""Configurations and small programs for the tests of the bench."""

from dataclasses import replace

import numpy as np
import pytest
from heddle.arch.config import PRESETS, Memory
from heddle.arch.isa import Halt, Load, Map, Matmul, Quantise, Source, Store
from heddle.arch.program import Program, Tensor
from heddle.compiler.synchronise import synchronise

# The odd machine is that of tests/system, so that both share a build.
NANO = PRESETS["nano"]
ODD = replace(NANO, name="odd", rows=3, columns=5, vector_lanes=1, act_words=4096, weight_words=8192, value_words=4096,
              acc_words=4096)  # fmt: skip


def program_of(instructions, config=NANO, data=(), tensors=(), dram_bytes=1 << 16) -> Program:
    """A program with its semaphores, halted."""
    ordered = synchronise(config, list(instructions))
    return Program(config, (*ordered, Halt()), dram_bytes, tuple(data), {t.name: t for t in tensors}, name="small")


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
