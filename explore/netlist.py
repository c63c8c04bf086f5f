"""Which part of a design the cells of a flattened netlist belong to.

A net of a flattened netlist keeps some of the names that it had in the instances that it passes. The Verilog tells
which of these instances drives it: the one that no instance within gives the net as an output. The cell that drives it
belongs there. What lies between two nets with names, Yosys names after one of them: total_TRELLIS_FF_Q_DI_LUT4_Z.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

_SHELL = "unit"  # the one instance in the top module
_MADE_NAME = re.compile(r"_(LUT4|CCU2C|PFUMX|L6MUX21|TRELLIS_\w+?|MULT18X18D|DP16KD|PDPW16KD)_.*")


def signal_of(name: str) -> str:
    """The signal that a net or a cell is named after: it, or what Yosys made the name of. May keep a bit of it."""
    return _MADE_NAME.sub("", name)


def scopes_of(netlist: dict, verilog: str) -> Iterator[tuple[str, str]]:
    """(type, path of the instance that it belongs to) of each cell of a netlist as Yosys writes it; the path is from
    the unit on, "" for itself. `verilog` is what was synthesised, as Amaranth writes it."""
    modules = _modules(verilog)
    instances = {"": modules[_SHELL]}
    for name, cell in netlist["cells"].items():
        if cell["type"] == "$scopeinfo":
            instances[name] = modules.get(cell["attributes"]["module"], _Module())
    drivers: dict[int, str] = {}  # bit → the instance that drives it
    for name, net in netlist["netnames"].items():
        for place, bit in enumerate(net["bits"]) if signal_of(name) == name else ():
            drivers[bit] = max(_driving(name, place, instances), drivers.get(bit, ""), key=len)
    for name, cell in netlist["cells"].items():
        instance = _innermost(name, instances)
        if signal_of(name) != name:  # it has no name of its own
            instance = _driver(name, cell, netlist, drivers) or instance
        yield cell["type"], instance.removeprefix(_SHELL).removeprefix(".")


class _Module:
    """What tells where the nets of a Verilog module come from: its `inputs`, and, by name, the bits that instances in
    it give: their range, the instance and its port."""

    def __init__(self) -> None:
        self.inputs: set[str] = set()
        self.given: dict[str, list[tuple[range, str, str]]] = {}


def _modules(verilog: str) -> dict[str, _Module]:
    found: dict[str, _Module] = {}
    connections: list[tuple[_Module, str, range, str, str, str]] = []  # in what, net, bits; of what, name, port
    of, instance = "", ""
    for line in verilog.splitlines():
        if opening := re.match(r"module \\?([^\s(;#]+)", line):
            module = found[opening[1]] = _Module()
        elif port := re.match(r"  input (?:\[\d+:\d+\] )?\\?([^\s;]+)", line):
            module.inputs.add(port[1])
        elif opening := re.match(r"  \\?([\w.$]+) +\\?([\w.$]+) +\($", line):
            of, instance = opening[1], opening[2]
        elif port := re.match(r"    \.\\?([\w.$]+) ?\(\\?([\w.$]+) ?(?:\[(\d+)(?::(\d+))?\])?\)", line):
            high, low = (int(port[3]), int(port[4] or port[3])) if port[3] else (sys.maxsize - 1, 0)
            connections.append((module, port[2], range(low, high + 1), of, instance, port[1]))
    for module, net, bits, of, instance, port in connections:
        if of in found and port not in found[of].inputs:
            module.given.setdefault(net, []).append((bits, instance, port))
    return found


def _driving(name: str, place: int, instances: dict[str, _Module]) -> str:
    """The instance that drives a bit of the net of this name; "": none that the name tells."""
    instance = _innermost(name, instances)
    net = name[len(instance) :].removeprefix(".")
    if net in instances[instance].inputs:
        return ""
    while True:
        given = [each for each in instances[instance].given.get(net, ()) if place in each[0]]
        within = f"{instance}.{given[0][1]}".removeprefix(".") if given else ""
        if within not in instances or not within:
            return instance
        instance, place, net = within, place - given[0][0].start, given[0][2]


def _driver(name: str, cell: dict, netlist: dict, drivers: dict[int, str]) -> str:
    """The instance that is told to drive what a cell drives, or else what the cell is named after; "": none is."""
    outputs = [bit for port, bits in cell["connections"].items() if cell["port_directions"].get(port) == "output"
               for bit in bits]  # fmt: skip
    named_after = netlist["netnames"].get(re.sub(r"\[\d+\]$", "", signal_of(name)), {"bits": []})["bits"]
    return next((drivers[bit] for bit in [*outputs, *named_after] if bit in drivers), "")


def _innermost(name: str, instances: dict[str, _Module]) -> str:
    """The innermost of the instances that a name lies in."""
    while name and name not in instances:
        name = name.rpartition(".")[0]
    return name
