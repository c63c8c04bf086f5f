"""What can be synthesised for itself: every unit of the accelerator, and every component within one, by its path.

The names are those of hw/accelerator.py: `vector` is a unit, `vector.elementwise` what that is made of.
"""

from collections.abc import Mapping

from amaranth import Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from ..arch.config import HardwareConfig
from ..arch.errors import unknown
from ..hw.accelerator import Accelerator

WHOLE = "accelerator"  # the path of the machine itself


def unit_names(config: HardwareConfig) -> list[str]:
    """The units of the machine, in the order of hw/accelerator.py."""
    return [*_components(Accelerator(config))]


def find(config: HardwareConfig, path: str) -> wiring.Component:
    """The component at a path such as `vector.elementwise.factors`. Raises HeddleError if there is none."""
    component: wiring.Component = Accelerator(config)
    component._MustUse__used = True  # it may only be looked for
    if path == WHOLE:
        return component
    above = ""
    for name in path.split("."):
        parts = _components(component)
        if name not in parts:
            where, more = (f"part of {above}", "") if above else ("unit", f"; {WHOLE} is all of them")
            raise unknown(where, name, parts, f"parts of {above}" if above else "units", more)
        component, above = parts[name], f"{above}.{name}" if above else name
    return component


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
    # Amaranth gives a submodule by its name, and nowhere the names.
    parts = {name: part for name, (part, _) in inside._named_submodules.items() if isinstance(part, wiring.Component)}
    for each in (component, inside, *parts.values()):
        each._MustUse__used = True  # what is looked at is not elaborated: no warning about that
    return parts
