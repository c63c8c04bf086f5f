"""The DRAM and control ports against the AXI models of cocotbext-axi, on Icarus Verilog: protocol_bench.py."""

from pathlib import Path

from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner
from heddle.hw.verilog import to_verilog


def test_copies_through_every_memory_under_back_pressure(tmp_path, nano_machine, monkeypatch):
    source = tmp_path / "heddle.v"
    source.write_text(to_verilog(nano_machine, name="heddle"))
    monkeypatch.syspath_prepend(str(Path(__file__).parent))  # the runner hands sys.path on to the simulator
    runner = get_runner("icarus")
    # Verilog 2005: as SystemVerilog, `always @*` may not run at time 0.
    runner.build(
        sources=[source], hdl_toplevel="heddle", build_dir=tmp_path, build_args=["-g2005"], timescale=("1ns", "1ns"),
        log_file=tmp_path / "build.log",
    )  # fmt: skip
    results = runner.test(
        test_module="protocol_bench", hdl_toplevel="heddle", build_dir=tmp_path, test_dir=tmp_path,
        log_file=tmp_path / "test.log",
    )  # fmt: skip
    assert get_results(results) == (2, 0), (tmp_path / "test.log").read_text()[-3000:]
