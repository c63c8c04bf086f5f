"""Lock-step: the same programs on the simulator and on the RTL; what differs, and where first.

Compared are the whole retire trace (unit, instruction, start, retire), the length of the run, the performance counters
and every byte of DRAM. The simulator knows nothing of the RTL's run, nor the RTL of the simulator's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

import numpy as np

from ..arch.config import DRAM_LIMIT, Unit
from ..arch.encoding import listing
from ..arch.errors import HeddleError, require_type, unknown
from ..arch.notebook import page_table
from ..arch.program import Program, require_program
from ..arch.ranges import require_range
from ..arch.registers import Register, error_text
from ..sim.machine import simulate
from ..sim.result import Result
from .engines.job import Job, Outcome

ENGINES = ("verilator", "icarus", "amaranth")
RUNS_AT_ONCE = 100
SLACK_CYCLES = 2000  # that the RTL may take longer than the simulator before it is stopped


@dataclass(frozen=True)
class Difference:
    """One place where simulator and RTL disagree. Cycles count from the start pulse."""

    run: int  # place among the runs
    what: str  # start, retire, unit's next record, byte, cycles, a counter, an error of the RTL
    cycle: int
    simulator: str
    rtl: str
    unit: str = ""
    instruction: int | None = None
    listing: str = ""
    address: int | None = None  # of DRAM

    def __str__(self) -> str:
        where = f"run {self.run}, cycle {self.cycle}"
        if self.instruction is not None:
            where += f", instruction {self.instruction} of {self.unit} ({self.listing})"
        if self.address is not None:
            where += f", DRAM address {self.address:#x}"
        return f"{where}: {self.what} is {self.simulator} in the simulator, {self.rtl} in the RTL"


@dataclass(frozen=True)
class Comparison:
    """What a lock-step run found. It agrees if all that is `different` is zero."""

    engine: str
    machine: str  # its title; of several machines, all
    programs: int
    runs: int  # programs × sets of inputs
    instructions: int  # retired in the simulator
    cycles: int  # in the simulator
    different_bytes: int  # of DRAM after the run
    different_cycles: int  # starts and retirements in another cycle, and runs of another length
    different_counters: int  # performance counters, and runs stopped by an error
    first_difference: Difference | None

    @property
    def agrees(self) -> bool:
        """Whether nothing differs."""
        return self.first_difference is None

    def _repr_html_(self) -> str:
        """What a notebook shows of it."""
        content = {"agrees": "yes" if self.agrees else f"no: {self.first_difference}", "runs": f"{self.runs:,}",
                   "instructions": f"{self.instructions:,}", "cycles": f"{self.cycles:,}",
                   "different bytes": f"{self.different_bytes:,}", "different cycles": f"{self.different_cycles:,}",
                   "different counters": f"{self.different_counters:,}"}  # fmt: skip
        return page_table(f"Lock-step with {self.engine} on {self.machine}", content)

    def to_dict(self) -> dict:
        """Plain values under the names of docs/json.md. The machine is not among them: a report says more of it."""
        content = {name: value for name, value in asdict(self).items() if name != "machine"}
        return {**content, "agrees": self.agrees,
                "first_difference": str(self.first_difference) if self.first_difference else None}  # fmt: skip


def lockstep(
    programs: Program | Sequence[Program],
    inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    engine: str = "verilator",
    *,
    progress: Callable[[int, int], None] | None = None,
    dram_base: int = 0,
) -> Comparison:
    """Run programs on simulator and RTL, each from reset, and compare.

    inputs    name → array for one run, or a list of such for several runs of the one program
    engine    verilator, icarus or amaranth
    progress  called with (runs done, runs in all)
    dram_base where the RTL's DRAM stands, a multiple of 4096, of which the simulator knows nothing. An ideal DRAM takes
              the same cycles wherever it is; a banked one only if its banks and rows fall alike

    The DRAM is that of each program's configuration; all of it must lie below 2^40. Raises HeddleError for an unknown
    or missing engine, inputs that do not fit, and programs that the simulator finds illegal.
    """
    require_type("programs", programs, (Program, list, tuple), "a Program, or a list of them")
    programs = [programs] if isinstance(programs, Program) else list(programs)
    for each in programs:
        require_program(each)
    dram_base = _base_address(dram_base, programs)
    runs = list(_runs(programs, inputs))
    if not runs:
        raise HeddleError("lockstep: there is nothing to run: give at least one program and one set of inputs")
    run_engine = engine_named(engine)
    for program, given in runs:  # before anything runs
        program.require_weights()
        program.check()
        program.check_inputs([given])
    tally = Tally()
    for _, group in groupby(enumerate(runs), lambda each: _build_key(each[1][0])):
        members = list(group)
        for start in range(0, len(members), RUNS_AT_ONCE):
            chunk = members[start : start + RUNS_AT_ONCE]
            results = [simulate(program, given) for _, (program, given) in chunk]
            jobs = [
                make_job(program, given, result, dram_base)
                for (_, (program, given)), result in zip(chunk, results, strict=True)
            ]
            config, depth = chunk[0][1][0].config, trace_depth(chunk[0][1][0])
            for (number, _), result, outcome in zip(chunk, results, run_engine(config, jobs, depth), strict=True):
                tally.add(number, result, outcome)
            if progress:
                progress(tally.runs, len(runs))
    return Comparison(
        engine, ", ".join(dict.fromkeys(program.config.title for program in programs)), len(programs), tally.runs,
        tally.instructions, tally.cycles, tally.different_bytes, tally.different_cycles, tally.different_counters,
        tally.first,
    )  # fmt: skip


def _base_address(dram_base: int, programs: Sequence[Program]) -> int:
    """`dram_base` as a plain number. Raises HeddleError unless the DRAM of all programs can stand there."""
    last = DRAM_LIMIT - max((program.dram_bytes for program in programs), default=4096)
    require_range("dram_base", dram_base, 0, last)
    if dram_base % 4096:
        raise HeddleError(f"dram_base must be a multiple of 4096, not {dram_base:#x}")
    return int(dram_base)


def engine_named(name: str):
    """The `run` of an engine. Raises HeddleError for an unknown one, or one that is not installed."""
    if name not in ENGINES:
        raise unknown("engine", name, ENGINES, "engines")
    from .engines import MODULES  # late: loading the RTL takes a second

    MODULES[name].require()
    return MODULES[name].run


def _runs(programs: list[Program], inputs: Any) -> Iterator[tuple[Program, Mapping[str, Any]]]:
    require_type("inputs", inputs, (Mapping, list, tuple, type(None)), "name → array, or a list of such")
    sets = [inputs or {}] if inputs is None or isinstance(inputs, Mapping) else list(inputs)
    if len(programs) > 1 and sets != [{}]:
        raise HeddleError("lockstep: inputs can be given for one program only")
    return ((program, given) for program in programs for given in sets)


def trace_depth(program: Program) -> int:
    """Records that the bench has room for."""
    return 1 << max(10, (len(program.instructions) - 1).bit_length())


def _build_key(program: Program) -> tuple:
    config = program.config
    return config.fingerprint, config.dram.structure, program.dram_bytes, trace_depth(program)


def make_job(program: Program, given: Mapping[str, Any], result: Result, dram_base: int = 0) -> Job:
    """The run of `result` for an engine."""
    image = program.image.copy()
    for address, content in program.input_bytes(dict(given)):
        image[address : address + len(content)] = np.frombuffer(content, np.uint8)
    dram = program.config.dram
    return Job(
        image=image, groups=program.groups, limit=result.cycles + SLACK_CYCLES, scalars=program.registers,
        cache_address=program.cache_address, cache_bytes=program.cache_bytes, dram_base=dram_base,
        latency=dram.latency_cycles, cycles_per_beat=dram.cycles_per_beat,
    )  # fmt: skip


class Tally:
    """Adds up what the runs show."""

    def __init__(self) -> None:
        self.runs = self.instructions = self.cycles = 0
        self.different_bytes = self.different_cycles = self.different_counters = 0
        self.first: Difference | None = None

    def add(self, run: int, result: Result, outcome: Outcome) -> None:
        self.runs += 1
        self.instructions += len(result.trace)
        self.cycles += result.cycles
        late = list(_cycle_differences(run, result, outcome))
        counters = list(_counter_differences(run, result, outcome))
        first, count = _byte_differences(run, result, outcome)
        self.different_cycles += len(late)
        self.different_counters += len(counters)
        self.different_bytes += count
        if self.first is None:
            # Timing goes first: data that come late are wrong data too.
            found = sorted(late, key=lambda each: each.cycle) + ([first] if first else []) + counters
            self.first = found[0] if found else None


def _cycle_differences(run: int, result: Result, outcome: Outcome) -> Iterator[Difference]:
    instructions = result.program.instructions
    for unit in Unit:
        expected = [record for record in result.trace if record.unit is unit]
        actual = outcome.trace.get(unit.name.lower(), ())
        for place in range(max(len(expected), len(actual))):
            mine = expected[place] if place < len(expected) else None
            theirs = actual[place] if place < len(actual) else None
            index = mine.index if mine else int(theirs["index"])  # type: ignore[index]
            text = listing(instructions[index]) if index < len(instructions) else "?"
            about = {"run": run, "unit": unit.name, "instruction": index, "listing": text}
            if mine is None or theirs is None:
                known = mine.retire if mine else int(theirs["retire"])  # type: ignore[index]
                there = f"retired in cycle {known}"
                yield Difference(what="the instruction", cycle=known, simulator=there if mine else "not retired",
                                 rtl="not retired" if mine else there, **about)  # fmt: skip
                continue
            for field in ("index", "start", "retire"):
                ours, other = getattr(mine, field), int(theirs[field])
                if ours != other:
                    cycle = min(mine.start, int(theirs["start"])) if field != "retire" else min(ours, other)
                    yield Difference(what=field, cycle=cycle, simulator=str(ours), rtl=str(other), **about)
    cycles = outcome.registers[Register.CYCLES_LOW] | outcome.registers[Register.CYCLES_HIGH] << 32
    if cycles != result.cycles:
        yield Difference(run, "the length of the run", min(cycles, result.cycles), str(result.cycles), str(cycles))


def _counter_differences(run: int, result: Result, outcome: Outcome) -> Iterator[Difference]:
    registers, cycles = outcome.registers, result.cycles
    status = registers[Register.STATUS]
    if status & Register.STATUS.mask("error"):
        instructions = [registers[offset] for offset in Register.ERROR_INSTRUCTIONS.offsets]
        found = error_text(registers[Register.ERROR], instructions)
        yield Difference(run, "the error register", cycles, "none", found)
    if not (outcome.finished and status & Register.STATUS.mask("done")):
        yield Difference(run, "the run", cycles, "done", f"not done after {cycles + SLACK_CYCLES} cycles")
    if outcome.violation:
        yield Difference(run, "the AXI port", cycles, "legal", "in violation of AXI or of its timing")
    for name, offset, expected in expected_counters(result):
        if expected != registers[offset]:
            yield Difference(run, name, cycles, str(expected), str(registers[offset]))


def expected_counters(result: Result) -> Iterator[tuple[str, int, int]]:
    """Name, CSR offset and expected value of each performance counter."""
    yield "INSTRUCTIONS", Register.INSTRUCTIONS, len(result.trace)
    yield "READ_BEATS", Register.READ_BEATS, result.beats["read"]
    yield "WRITE_BEATS", Register.WRITE_BEATS, result.beats["written"]
    for name, busy in result.busy.items():
        yield f"BUSY of {name}", Register.BUSY + 4 * Unit[name.upper()], busy
        waiting = sum(cycles for cause, cycles in result.stalls[name].items() if cause.startswith("wait_"))
        yield f"WAITING of {name}", Register.WAITING + 4 * Unit[name.upper()], waiting


def _byte_differences(run: int, result: Result, outcome: Outcome) -> tuple[Difference | None, int]:
    expected = result.image_of(0)
    places = np.flatnonzero(expected != outcome.image)
    if not len(places):
        return None, 0
    address = int(places[0])
    index = _last_writer(result, address)
    about: dict[str, Any] = {}
    cycle = result.cycles
    if index is not None:
        writer = result.program.instructions[index]
        assert writer.unit is not None
        about = {"unit": writer.unit.name, "instruction": index, "listing": listing(writer)}
        cycle = next(record.retire for record in result.trace if record.index == index)
    ours, theirs = (f"{int(image[address]):#04x}" for image in (expected, outcome.image))
    return Difference(run, "the byte", cycle, ours, theirs, address=address, **about), len(places)


def _last_writer(result: Result, address: int) -> int | None:
    """The last STORE that writes a DRAM byte, or may; within the KV cache, the last APPEND, whatever it writes."""
    program = result.program
    for index, (each, void) in reversed(list(enumerate(result.dispatched))):
        if void or not each.dram or not each.dram.write:
            continue
        moved = each.transfer(program.config)
        if moved.cache:
            if 0 <= address - program.cache_address < program.cache_bytes:
                return index
        elif moved.chosen:  # a scatter may write anything from its table on
            if address >= moved.address:
                return index
        elif any(0 <= address - start < moved.piece_bytes for start in moved.starts):
            return index
    return None
