"""explore/nextpnr.py: what becomes of a design that the part has no room for, and the names on a path."""

import json

import pytest
from heddle.explore import ecp5, nextpnr

# A register behind each of 157 multipliers in a row; the part has 156.
TOO_MANY = """
module unit(input clk, input [35:0] a, output [35:0] o);
  wire [35:0] between [0:157];
  assign between[0] = a, o = between[157];
  genvar i;
  generate
    for (i = 0; i < 157; i = i + 1) begin : each
      reg [35:0] product;
      always @(posedge clk) product <= between[i][17:0] * between[i][35:18];
      assign between[i + 1] = product;
    end
  endgenerate
endmodule
"""


@pytest.mark.long
def test_a_design_without_room_is_no_error(tool, tmp_path):
    (tmp_path / "unit.v").write_text(TOO_MANY)
    assert ecp5.synthesise(tool, tmp_path).figures["dsp"] == 157
    (tmp_path / "placed").mkdir()
    nextpnr.place(nextpnr.find(), tmp_path / ecp5.NETLIST, 1, tmp_path / "placed")
    assert nextpnr.read(tmp_path / "placed", tmp_path / ecp5.NETLIST) is None


def routing(net, delay, *sources):
    return {"type": "routing", "net": net, "delay": delay, "sources": [*sources], "to": {"cell": "x"}}


def test_a_path_is_told_by_signals_and_lines(tmp_path):
    """A register, an addition of two carry cells, logic before the next register; files elsewhere are left out."""
    library = "/somewhere/share/lattice/arith_map.v:74.7-80.4"
    path = [
        {"type": "clk-to-q", "delay": 0.5}, routing("unit.a.left_1[3]", 1.0, "hw/a.py:7"),
        {"type": "logic", "delay": 0.4},
        routing("unit.a.sum_TRELLIS_FF_Q_DI_CCU2C_S0_CIN", 0.0, library, "hw/a.py:9"), {"type": "logic", "delay": 0.1},
        routing("unit.a.sum_TRELLIS_FF_Q_DI_CCU2C_S0$CCU2_FCI_INT", 0.0), {"type": "logic", "delay": 0.1},
        routing("unit.a.sum_TRELLIS_FF_Q_DI_CCU2C_S0_COUT", 0.0, "hw/a.py:9", library), {"type": "logic", "delay": 0.2},
        routing("unit.a.sum_TRELLIS_FF_Q_DI_LUT4_Z[2]", 0.8, library),
        routing("unit.a.b$75.$12[4]", 0.3), routing("$nextpnr_CCU2_S0", 0.1), {"type": "logic", "delay": 0.3},
        {"type": "setup", "delay": 0.2, "to": {"cell": "unit.a.kept$4_TRELLIS_FF_Q_7"}},
    ]  # fmt: skip
    report = {"fmax": {"clk": {"achieved": 303.0}}, "critical_paths": [
        {"from": "async", "to": "posedge clk", "path": []}, {"from": "posedge clk", "to": "posedge clk", "path": path},
    ]}  # fmt: skip
    nets = {"unit.a.sum": {"attributes": {"src": "hw/a.py:8|unit.v:3"}}, "unit.a.kept$4": {"attributes": {}}}
    (tmp_path / "report.json").write_text(json.dumps(report))
    (tmp_path / "unit.json").write_text(json.dumps({"modules": {"unit": {"netnames": nets}}}))
    placement = nextpnr.read(tmp_path, tmp_path / "unit.json")
    assert placement.fmax_mhz == 303.0
    assert [(step.signal, step.source, round(step.delay_ns, 3)) for step in placement.path] == [
        ("a.left_1", "hw/a.py:7", 1.5), ("a.sum", "hw/a.py:9", 0.6), ("a.sum", "hw/a.py:8", 1.0),
        ("a.b", "", 0.3), ("logic", "", 0.1), ("a.kept", "", 0.5),
    ]  # fmt: skip
