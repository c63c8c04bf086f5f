"""explore/ecp5.py: cells of the part, counted by hand, and the part of the design that each belongs to."""

from copy import deepcopy

import pytest
from heddle.explore import ecp5

from .designs import Several, write

# lut4, comb, ff, dsp, bram
TAKES = {
    "gates": (8, 8, 8, 0, 0),  # a look-up table each
    "ram": (0, 0, 0, 0, 1),  # with the registers that a block has
    "small": (0, 4, 0, 0, 0),  # one DPR16X4
    "times": (0, 0, 0, 1, 0),  # with the registers that a multiplier has
}


def test_cells_are_counted_and_each_part_has_its_own(tool, tmp_path):
    write(Several(), tmp_path)
    area = ecp5.synthesise(tool, tmp_path)
    assert tuple(area.figures) == ("lut4", "comb", "ff", "dsp", "bram")
    assert {part.name: tuple(part.figures.values()) for part in area.parts} == TAKES
    assert tuple(area.figures.values()) == (8, 12, 8, 1, 1)


def multiplier(**bits):
    """Two bits of a product, P0 and P1."""
    connections = {"A0": [2], "B0": [3], **{port: [bit] for port, bit in bits.items()}}
    directions = {port: "output" if port[0] == "P" else "input" for port in connections}
    return {"type": "MULT18X18D", "parameters": {}, "port_directions": directions, "connections": connections}


def flip_flop(data, out, **more):
    """A register of clock 4."""
    parameters = {"CEMUX": "1 ", "CLKMUX": "CLK", "GSR": "DISABLED", "LSRMUX": "LSR", "REGSET": "RESET"}
    connections = {"CLK": [4], "DI": [data], "Q": [out], **{port: [bit] for port, bit in more.items()}}
    directions = {port: "output" if port == "Q" else "input" for port in connections}
    return {"type": "TRELLIS_FF", "parameters": parameters, "port_directions": directions, "connections": connections}


def kept(cells, outputs=()):
    """What is left of cells, between inputs 2 to 5 and such outputs."""
    ports = {"o": {"direction": "output", "bits": list(outputs)}}
    ecp5.use_registers({"cells": cells, "ports": ports})
    return set(cells)


def test_registers_behind_a_product_are_those_of_the_multiplier():
    cells = {"times": multiplier(P0=10, P1=11), "low": flip_flop(10, 20), "high": flip_flop(11, 21)}
    assert kept(cells, [20, 21]) == {"times"}
    assert (cells["times"]["connections"]["P0"], cells["times"]["connections"]["P1"]) == ([20], [21])
    assert cells["times"]["connections"]["CLK0"] == [4]
    assert cells["times"]["parameters"]["REG_OUTPUT_CLK"] == "CLK0"


def test_registers_behind_a_ram_are_those_of_the_block():
    ram = multiplier(DOA0=10, DOB0=11) | {"type": "DP16KD", "parameters": {"REGMODE_A": "NOREG"}}
    ram["port_directions"] |= {"DOA0": "output", "DOB0": "output"}
    cells = {"words": ram, "low": flip_flop(10, 20), "high": flip_flop(11, 21)}
    assert kept(cells, [20, 21]) == {"words"}
    assert (ram["connections"]["DOA0"], ram["connections"]["DOB0"]) == ([20], [21])
    assert ram["connections"]["OCEA"] == ram["connections"]["OCEB"] == ["1"]
    assert ram["parameters"] == {"REGMODE_A": "OUTREG", "REGMODE_B": "OUTREG"}


@pytest.mark.parametrize(
    "high, outputs",
    [
        (flip_flop(11, 21, LSR=5), [20, 21]),  # has a reset
        (flip_flop(11, 21), [20, 21, 11]),  # is not all that looks at the product
        (flip_flop(11, 21) | {"parameters": flip_flop(0, 0)["parameters"] | {"CEMUX": "CE"}}, [20, 21]),
        (flip_flop(11, 21) | {"parameters": flip_flop(0, 0)["parameters"] | {"REGSET": "SET"}}, [20, 21]),
    ],
)
def test_other_registers_stay_where_they_are(high, outputs):
    cells = {"times": multiplier(P0=10, P1=11), "low": flip_flop(10, 20), "high": high}
    before = deepcopy(cells)
    kept(cells, outputs)
    assert cells == before
