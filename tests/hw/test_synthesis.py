"""The Verilog that `heddle verilog` writes goes through synthesis."""

import pytest
from heddle.arch.config import PRESETS
from heddle.explore import yosys
from heddle.hw.accelerator_verilog import accelerator_verilog


@pytest.mark.long
@pytest.mark.parametrize(
    "preset, script",
    [
        ("nano", "synth_ecp5 -top heddle"),  # all the way to the cells of an FPGA: some minutes
        # To arithmetic, registers and memories; the next stage begins by taking away what their making left over.
        ("small", "synth -top heddle -run begin:fine\nopt -fast -full"),
    ],
)
def test_yosys_synthesises(tmp_path, preset, script):
    (tmp_path / "accelerator.v").write_text(accelerator_verilog(PRESETS[preset]))
    steps = f"read_verilog accelerator.v\n{script}\ncheck -assert\ntee -o statistics.txt stat\n"
    yosys.run(yosys.find(), steps, tmp_path)
    statistics = (tmp_path / "statistics.txt").read_text()
    assert ("MULT18X18D" if preset == "nano" else "$macc") in statistics
