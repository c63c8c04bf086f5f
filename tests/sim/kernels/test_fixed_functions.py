"""Compiled 2^x, 1/x and 1/√x against the oracle, with both formats, bit for bit."""

import numpy as np
import pytest
from heddle.arch import numerics
from heddle.sim.jit import compiled
from heddle.sim.kernels import fixed_functions
from heddle.sim.kernels.float32 import FORMATS

EVERY = (np.arange(1 << 19, dtype=np.uint32) << 13).view(np.float32)  # number of 11 bits


def any_bits():
    random, count = np.random.default_rng(1), 1 << 18
    ordinary = random.integers(100, 140, count) << 23 | random.integers(1 << 23, size=count)
    ordinary |= random.integers(2, size=count) << 31
    ends = np.arange(0xC2FE0000, 0xC3000000) + random.integers(64)  # 2^x from 2⁻¹²⁷ to 2⁻¹²⁸
    bits = np.concatenate([random.integers(1 << 32, size=count), ordinary, ends, ends - (1 << 31)])
    return bits.astype(np.uint32).view(np.float32)


@pytest.mark.parametrize("precision, x", [(24, any_bits()), (11, EVERY)], ids=["float32", "tf32"])
@pytest.mark.parametrize("name", ["exp2", "rcp", "rsqrt"])
def test_equals_the_oracle(name, precision, x):
    function, format, found = getattr(fixed_functions, name), FORMATS[precision], np.empty_like(x)

    @compiled
    def each(format, x, found):
        for n in range(len(x)):
            found[n] = function(format, x[n])

    each(format, x, found)
    expected = getattr(numerics.Arithmetic(precision), name)(x)
    assert (found.view(np.uint32) == expected.view(np.uint32)).all()
