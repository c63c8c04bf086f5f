"""What a new instruction costs: a trial one of VECTOR, written into a copy of the sources, is everywhere at once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from heddle.cosim.mutations import Fault, copy_package, plant

# A reduction of −x, in four files: what it is, what it does and how long it takes, how the RTL does it, and how it is
# drawn at random. (file, text, text in its place)
TRIAL = [
    ("arch/isa/vector.py", "INSTRUCTIONS: list[type[Instruction]] = [Tables, Map, Quantise, Reduce]", '''\
@dataclass(frozen=True)
class Negated(Reduce):
    """What `reduce` does of x, of -x."""

    opcode: ClassVar[int] = 13


INSTRUCTIONS: list[type[Instruction]] = [Tables, Map, Quantise, Reduce, Negated]'''),
    ("sim/units/vector.py", "    Map,\n", "    Map,\n    Negated,\n"),
    ("sim/units/vector.py", "def _values(", '''\
def negated_panel(i: Negated, state: State, config: HardwareConfig) -> None:
    """Write what rows or columns of -x come to."""
    reduce_values(i, state, config, -_values(i, state, config))


def _values('''),
    ("sim/units/vector.py", "    Reduce: Meaning(", """\
    Negated: Meaning(negated_panel, kernel=False, cycles=reduce_cycles),
    Reduce: Meaning("""),
    ("hw/units/vector.py", "    Map,\n", "    Map,\n    Negated,\n"),
    ("hw/units/vector.py", "Reduce: Phase.REDUCE}", "Reduce: Phase.REDUCE, Negated: Phase.REDUCE}"),
    ("hw/units/vector.py", "            writer.values.eq(elementwise.o),\n", """\
            *(mine.eq(value ^ (other << 31)) for mine, value in zip(writer.values, elementwise.o, strict=True)),
"""),
    ("hw/units/vector.py", "        steps = self._steps(m)\n", """\
        steps, other = self._steps(m), opcode_of(instruction) == Negated.opcode
"""),
    ("cosim/random_instructions.py", "    Reduce: Maker(", """\
    Negated: Maker(lambda those: Negated(**vars(those.reduce())), 4),
    Reduce: Maker("""),
    ("cosim/random_instructions.py", "    Matmul,\n    Norm,", "    Matmul,\n    Negated,\n    Norm,"),
]  # fmt: skip
CHECK = """
import dataclasses, json, sys
import heddle
import numpy as np
from heddle.arch import isa
from heddle.arch.accesses import access_table
from heddle.arch.config import PRESETS, Memory
from heddle.arch.document import document
from heddle.arch.encoding import decode, encode
from heddle.arch.operands import address_fields
from heddle.compiler.tasks import Buffers
from heddle.cosim.lockstep import lockstep
from heddle.cosim.random_programs import random_program
from heddle.hw.accelerator import UNIT_COMPONENTS, require_all_executed
from heddle.sim.machine import simulate
from heddle.sim.races import find_races
from heddle.sim.state import State, Words, in_words
from heddle.sim.traffic import words
from heddle.sim.units import execute

def places(sums):
    state = State(nano, 1, Words(1, (nano.axi_bytes,), np.uint8, 1))
    state[Memory.ACC].write(0, 2, in_words(sums[None].astype(np.int32), nano.columns))
    execute(dataclasses.replace(one, source_stride=2), state, nano)
    return state[Memory.INDEX].read(5, 0, 1, 3).reshape(-1).tolist()


nano = PRESETS["nano"]
one = isa.Negated(rows=3, columns=7, kind=isa.Reduction.MAXIMUM, placed=1, index_address=5)
engine, seeds = sys.argv[1], range(int(sys.argv[2]))
programs = [random_program(nano, seed, 60) for seed in seeds]
buffers = Buffers()
buffers.add("sums", Memory.ACC, 8).address = 40
buffers.add("places", Memory.INDEX, 8).address = 3
(placed,) = buffers.place([one], nano)
require_all_executed(UNIT_COMPONENTS)
found = {
    "package": heddle.__file__,
    "decodes": decode(encode(one)) == one,
    "documented": "of -x" in document().split("## negated")[1] and "writes INDEX" in document(),
    "accesses": [[each.memory.name, each.write, each.start, each.length] for each in one.accesses(nano)],
    "table": access_table([one], nano).stop.tolist(),
    "traffic": sorted([memory.name, write, count] for (memory, write), count in words(one, nano).items()),
    "fields": list(address_fields(one)),
    "placed": [placed.source_address, placed.index_address],
    "drawn": sum(isinstance(each, isa.Negated) for program in programs for each in program.instructions),
    "races": sum(len(list(find_races(program))) for program in programs),
    "cycles": [simulate(program).cycles for program in programs[:3]],
    "places": places(np.array([[3, -5, 8, 1, 0, 7, -5], [0, 0, 0, 0, 0, 0, 0], [9, 8, 7, 6, 5, 4, 3]])),
}
if engine != "none":
    comparison = lockstep(programs, engine=engine)
    found |= {"agrees": comparison.agrees, "difference": str(comparison.first_difference)}
print(json.dumps(found))
"""


def trial(folder: Path, engine: str, programs: int) -> dict:
    """What the copy with the trial instruction says of it."""
    copy_package(folder / "heddle")
    for path, before, after in TRIAL:
        plant(Fault("the trial instruction", path, before, after), folder / "heddle")
    result = subprocess.run(
        [sys.executable, "-c", CHECK, engine, str(programs)], capture_output=True, text=True, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "HEDDLE_CACHE": str(folder / "cache")},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


def test_a_trial_instruction_costs_four_files():
    assert len({path for path, _, _ in TRIAL}) <= 4
    added = [after.count("\n") - before.count("\n") for _, before, after in TRIAL]
    assert sum(added) <= 25, "lines, besides those that are changed"


def test_and_is_in_all_that_follows_from_its_operands(tmp_path):
    """Seven columns of nano are two words; places from 5 on are in the words of INDEX from the sixth on."""
    found = trial(tmp_path, "none", 8)
    assert Path(found["package"]).parents[1] == tmp_path
    assert found["decodes"] and found["documented"]
    assert found["accesses"] == [["ACC", False, 0, 2], ["INDEX", True, 5, 3]] and found["table"] == [2, 8]
    assert found["traffic"] == [["ACC", False, 6], ["INDEX", True, 3]]
    assert found["fields"] == ["source_address", "index_address"] and found["placed"] == [40, 8]
    assert found["drawn"] > 5 and found["races"] == 0 and all(found["cycles"])
    assert found["places"] == [1, 0, 6]


@pytest.mark.long
def test_and_does_the_same_in_the_rtl(tmp_path):
    found = trial(tmp_path, "verilator", 12)
    assert found["agrees"], found["difference"]
    assert found["drawn"] > 8
