"""What can be synthesised for itself: every unit of the accelerator, and every component within one, by its path.

The names are those of hw/accelerator.py: `vector` is a unit, `vector.elementwise` what that is made of.
"""

from collections.abc import Mapping

from amaranth import ClockSignal, Module, ResetSignal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from ..arch.config import HardwareConfig
from ..arch.errors import unknown
from ..hw.accelerator import Accelerator
from ..hw.verilog import instance

WHOLE = "accelerator"  # the path of the machine itself
GLUE = "glue"  # of what joins the units
STUB = "stub_"  # what the names of modules begin with that stand for a unit and are empty


def unit_names(config: HardwareConfig) -> list[str]:
    """The units of the machine, in the order of hw/accelerator.py, and the glue."""
    return [*_components(Accelerator(config)), GLUE]


def find(config: HardwareConfig, path: str) -> wiring.Component:
    """The component at a path such as `vector.elementwise.factors`. Raises HeddleError if there is none."""
    component: wiring.Component = Glue(config) if path == GLUE else Accelerator(config)
    component._MustUse__used = True  # it may only be looked for
    if path in (WHOLE, GLUE):
        return component
    above = ""
    for name in path.split("."):
        parts = _components(component)
        if name not in parts:
            where, more = (f"part of {above}", "") if above else ("unit", f"; {WHOLE} is all of them")
            known = parts if above else [*parts, GLUE]
            raise unknown(where, name, known, f"parts of {above}" if above else "units", more)
        component, above = parts[name], f"{above}.{name}" if above else name
    return component


class Glue(Accelerator):
    """The accelerator without its units: what of logic and registers is between them."""

    def elaborate(self, platform) -> Module:
        m = super().elaborate(platform)
        for name, part in _named(m).items():
            module = STUB + name
            ports = [("input" if member.flow == In else "output", len(Value.cast(port)), "__".join(map(str, path)))
                     for path, member, port in part.signature.flatten(part)]  # fmt: skip
            lines = [f"  {direction} [{bits - 1}:0] {port}" for direction, bits, port in ports if bits]
            lines += ["  input clk", "  input rst"]
            platform.texts[module] = f"(* blackbox *) module {module} (\n" + ",\n".join(lines) + "\n);\nendmodule\n"
            stub = instance(part, module, i_clk=ClockSignal(), i_rst=ResetSignal())
            m._named_submodules[name] = stub, m._named_submodules[name][1]
        return m


class Shell(wiring.Component):
    """A component as a top of its own. If `registered`, with a register on every port: then each path from port to port
    lies between two clock edges, and the clock of the component can be told for itself."""

    def __init__(self, component: wiring.Component, registered: bool = False):
        self._component, self._registered = component, registered
        super().__init__(component.signature)

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.unit = unit = self._component
        domain = m.d.sync if self._registered else m.d.comb
        outside = (port for *_, port in self.signature.flatten(self))
        for (_, member, inner), outer in zip(unit.signature.flatten(unit), outside, strict=True):
            to, source = (inner, outer) if member.flow == In else (outer, inner)
            domain += Value.cast(to).eq(Value.cast(source))
        return m


def _components(component: wiring.Component) -> Mapping[str, wiring.Component]:
    """The components that one is made of, by name."""
    inside = component.elaborate(None)
    if not isinstance(inside, Module):
        return {}
    parts = _named(inside)
    for each in (component, inside, *parts.values()):
        each._MustUse__used = True  # what is looked at is not elaborated: no warning about that
    return parts


def _named(m: Module) -> dict[str, wiring.Component]:
    """The components in a module: Amaranth gives one by its name, and nowhere the names."""
    return {name: part for name, (part, _) in m._named_submodules.items() if isinstance(part, wiring.Component)}
