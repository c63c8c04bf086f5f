"""Functions by table in compiled kernels: the bits of the oracle."""

import numpy as np
import pytest
from heddle.arch.functions import evaluate
from heddle.compiler.functions import GOLDEN, named
from heddle.sim.jit import entry
from heddle.sim.kernels import functions

EVERY = (np.arange(1 << 19, dtype=np.uint32) << 13).view(np.float32)


@entry
def values(x, table, significand_bits, y):
    for i in range(len(x)):
        y[i] = functions.evaluate(x[i], table, significand_bits)


def same(name, x, significand_bits):
    found = np.empty_like(x)
    values(x, functions.packed(named(name)), np.int32(significand_bits), found)
    return (found.view(np.uint32) == evaluate(named(name), x, significand_bits).view(np.uint32)).all()


@pytest.mark.parametrize("name", GOLDEN)
def test_any_float32(name):
    random = np.random.default_rng(1)
    x = random.integers(1 << 32, size=10_000, dtype=np.uint32)
    near = (random.standard_normal(10_000) * 4).astype(np.float32)
    x = np.concatenate([x.view(np.float32), near, np.float32([0.0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 2.0**-126])])
    assert same(name, x, 11)
    assert same(name, x, 16)


@pytest.mark.parametrize("name", ["gelu", "log", "exp", "sin"])
def test_every_number_of_11_bits(name):
    assert same(name, EVERY, 11)
