"""cosim/proofs: all are proved, all covers are reached, and a fault in each file that they are about makes one fail."""

import importlib
import json
import types
from pathlib import Path

import pytest
from click.testing import CliRunner
from heddle.cosim.proofs import PROOFS
from heddle.cosim.proofs.__main__ import main
from heddle.cosim.proofs.document import proofs_page
from heddle.cosim.proofs.engine import Design, prove

ROOT = Path(__file__).parents[2]
ALL = [pytest.param(each, marks=pytest.mark.long if each.slow else (), id=name) for name, each in PROOFS.items()]


@pytest.mark.parametrize("proof", ALL)
def test_it_is_proved(proof):
    verdict = proof.run()
    assert verdict.proved, verdict.log[-3000:]
    assert None not in verdict.covers.values()


# Proof, what it is about, a text of that, and what takes its place.
FAULTS = [
    ("queue of 4", "queue", "first.eq(first + self.take)", "first.eq(first + 1)"),
    ("queue of 1", "queue", "self.put | (self.level & ~self.take)", "self.put | self.level"),
    ("phases", "phases", "remaining == 1", "remaining == 2"),
    ("delay line of 5", "delay_line", "place == depth - 1", "place == depth - 2"),
    ("cut into bursts", "bursts", "short + given < burst_beats + 1", "short + given < burst_beats + 2"),
    ("arbiter of the DRAM port", "axi", "Mux(held.any(), held, chosen)", "chosen"),
    ("write data", "axi", "order.take.eq(self.wvalid & self.wready & self.wlast)",
     "order.take.eq(self.wvalid & self.wlast)"),
    ("region gate", "region", "self.offset[low:block] + self.beats <= 1 << (block - low)",
     "self.offset[low:block] + self.beats <= 1 + (1 << (block - low))"),
    ("register behind the gate", "region", "self.offered & (~self.holds | self.request.granted)",
     "self.offered & (~self.holds | self.request.granted | self.refused)"),
    ("choice of two numbers, tf32", "choice", "second.eq(less ^ ordered)", "second.eq(~less)"),
    ("banks", "memories", "if name is not unit", "if name < unit"),
]  # fmt: skip
SLOW_FAULTS = [
    ("semaphores", "semaphores", "with m.If(sent ^ taken)", "with m.If(sent | taken)"),
    ("control port", "csr", "~bus.bvalid & ready", "ready"),
    ("int8 processing element", "pe", "with m.If(swap)", "with m.If(swap | capture)"),
    ("lane of STORE, queue of 4", "lane", "Mux(waiting.level == 0, self.put, started)",
     "Mux(waiting.level == 0, self.put, self.starts)"),
    ("lane of STORE, queue of 4", "lane", "running.i.eq(Cat(header.signal, index, self.cycle))",
     "running.i.eq(Cat(self.wait, index, self.cycle))"),
    ("dispatch", "dispatch", "semaphores.take[unit].eq(lane.starts)", "semaphores.take[unit].eq(lane.put)"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "about", "text", "fault"), [
    *FAULTS, *(pytest.param(*each, marks=pytest.mark.long) for each in SLOW_FAULTS)])  # fmt: skip
def test_a_fault_is_not_proved(monkeypatch, name, about, text, fault):
    path = ROOT / "hw" / f"{about}.py"
    source = path.read_text()
    assert source.count(text) == 1, "the text of the fault has changed"
    faulty = types.ModuleType(f"heddle.hw.{about}")
    faulty.__package__ = "heddle.hw"
    faulty.__file__ = str(path)
    exec(compile(source.replace(text, fault), path, "exec"), faulty.__dict__)
    proofs = importlib.import_module(f"heddle.cosim.proofs.{about}")
    for key, value in vars(faulty).items():
        if isinstance(value, type) and value.__module__ == faulty.__name__ and hasattr(proofs, key):
            monkeypatch.setattr(proofs, key, value)
    verdict = PROOFS[name].run()
    assert not verdict.proved and "Executing SAT pass" in verdict.log


def test_each_file_has_a_fault():
    assert {about for _, about, *_ in [*FAULTS, *SLOW_FAULTS]} == {Path(each.about).stem for each in PROOFS.values()}
    assert all((ROOT / each.about).is_file() for each in PROOFS.values())


def test_what_is_never_met_is_told():
    design = Design()
    port = design.any(4, "port")
    design.assume(port < 3)
    design.properties["it is small"] = port < 3
    design.covers["it is 5"] = port == 5
    verdict = prove(design)
    assert verdict.proved and not verdict.holds and verdict.covers == {"it is 5": None}


def test_what_does_not_stay_true_is_not_proved():
    design = Design()
    count = design.register(4, "count", 0)
    design.m.d.sync += count.eq(count + 1)
    design.properties["it stays small"] = count < 12
    assert not prove(design, depth=4).proved


def test_the_command_prints_a_table_for_programs():
    result = CliRunner().invoke(main, ["queue of 1", "--json"])
    (row,) = json.loads(result.stdout)
    assert result.exit_code == 0 and row["depth"] == "unbounded" and len(row["properties"]) == 5


def test_an_unknown_name_is_told():
    result = CliRunner().invoke(main, ["quue"])
    assert result.exit_code == 2 and "there is no proof 'quue'" in result.stderr


def test_the_page_is_that_of_the_code():
    assert (ROOT / "docs/proofs.md").read_text() == proofs_page(), "run make generated"
