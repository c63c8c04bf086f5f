"""cosim/netlist_faults.py: faults are the same each time, one build has them all, and random programs find them."""

import json

import pytest
from click.testing import CliRunner
from heddle.cosim.netlist_faults import Fate, _local, main, read_fates

MODULE = """\
module \\heddle.unit (a, o, fault);
  input a;
  wire a;
  input [13:0] fault;
  wire [13:0] fault;
  output o;
  assign o = fault == 14'h0001;
  \\heddle.part  part (
    .a(a),
    .fault(fault),
    .o(o)
  );
  \\heddle.part  last (
    .a(a),
    .fault(fault)
  );
endmodule
"""


def test_the_number_of_the_fault_comes_from_the_top_module():
    assert _local(MODULE) == """\
module \\heddle.unit (a, o);
  input a;
  wire a;
  wire [13:0] fault = heddle_bench_top.fault;
  output o;
  assign o = fault == 14'h0001;
  \\heddle.part  part (
    .a(a),
    .o(o)
  );
  \\heddle.part  last (
    .a(a)
  );
endmodule
"""


def test_a_line_that_was_cut_off_is_run_again(tmp_path):
    path = tmp_path / "fates.jsonl"
    whole = {"fault": "hw/pe.py:1 inv of bit 0 of A", "path": "hw/pe.py", "number": 1, "program": 3, "how": "byte"}
    path.write_text(json.dumps(whole) + "\n" + json.dumps({**whole, "fault": "another"})[:-9])
    assert read_fates(path) == {whole["fault"]: Fate(**whole)}
    assert not read_fates(tmp_path / "none.jsonl")


@pytest.mark.long
def test_random_programs_find_a_days_sample(tmp_path):
    path = tmp_path / "fates.jsonl"
    command = ["--count", "60", "--seed", "7", "--results", str(path), "--json"]
    first = CliRunner().invoke(main, command)
    report = json.loads(first.stdout)
    assert report["faults"] == 60 and report["found_percent"] >= 80
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]) + "\n")
    again = json.loads(CliRunner().invoke(main, command).stdout)  # the last one alone is run again
    assert again["found_percent"] == report["found_percent"] and len(path.read_text().splitlines()) == 60


@pytest.mark.long
def test_a_file_that_has_no_faults_is_told():
    result = CliRunner().invoke(main, ["--file", "hw/nothing.py"])
    assert result.exit_code == 2 and "no netlist has a fault of hw/nothing.py" in result.stderr
