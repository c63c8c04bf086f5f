"""The machine: fetch, dispatch, queues, semaphores, units and the DRAM port, as docs/architecture.md describes them.

Every cycle in which something happens is the latest of a few earlier ones plus a constant, except a grant of the DRAM
port, for which clients compete. So grants are the only events: after each, everything that follows from it is worked
out, however far in the future it lies.
"""

from __future__ import annotations

import sys
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arch.config import DISPATCH_CYCLES, FETCH_GROUP, SCALAR_COUNT, DramConfig, HardwareConfig, Unit
from ..arch.dram import Dram
from ..arch.errors import HeddleError, require_type
from ..arch.isa import Append, Halt, Instruction, Load, Store, Stream, units_in
from ..arch.program import Program, require_program
from . import addresses, check
from .dispatch import dispatched
from .dram import BankedDram, Port, make_dram
from .fetch import Fetch
from .result import Result
from .trace import UNITS, Timing
from .units import CYCLES, cycles, headway, occupied
from .units.kv import AppendRequests, StreamRequests
from .units.load import LoadRequests
from .units.store import StoreRequests
from .values import input_sets, require_engine, run_values

COMPILED_FROM = 100_000  # instructions and bursts: the plain loop takes as long for so many as the other to load
VOID_CYCLES = 1  # from start to retire of an instruction that a Guard has made void
Requests = LoadRequests | StoreRequests | AppendRequests


def simulate(
    program: Program,
    inputs: Any = None,
    *,
    timing: bool = True,
    values: bool = True,
    dram: Dram | None = None,
    cache: Any = None,
    progress: Callable[[int, int], None] | None = None,
    engine: str = "auto",
    free: Collection[Unit] = (),
) -> Result:
    """Run a program: what it computes (`values`), when (`timing`), or both.

    inputs   name → array (batch, *shape) for each input tensor; one set without the batch dimension is a batch of 1.
             Or a list of such sets.
    dram     the memory behind the port, if not that of the program's configuration: a DramConfig, a part, or the name
             of a preset, such as "HBM2", at the clock of the configuration. Changes cycles only.
    cache    what the KV cache holds at the start, if not what the program says: bytes (batch, cache_bytes) or
             (cache_bytes,), such as `Result.cache` of the run before.
    progress is called with (done, total) as instructions are executed.
    engine   what works out values and cycles: `units.execute` and `Machine` ("plain"), the same compiled ("compiled";
             a second to load, half a minute to build for the first time), or for each whichever is done sooner
             ("auto"). They agree in every bit and every cycle.
    free     units that cost nothing, to see what the run would be without their time: each of their instructions (void
             or not) retires in the cycle in which it starts, and makes no DRAM request. Dispatch, queues, tokens and
             the order within a unit stay. Ports and semaphores are not checked: no real machine takes these cycles.
    The scalar registers are those of the program: `program.at(...)` sets them for other positions.
    Raises HeddleError for an illegal program: fields out of range, two units at one port, more tokens than a semaphore
    counts, a deadlock, an access beyond the KV cache; and for the values of one that was compiled without weights.
    """
    require_engine(engine)
    require_program(program)
    memory = program.config.with_dram(dram).dram
    free = _units(free)
    program.check()
    if values:
        program.require_weights()
    if values or inputs is not None:
        program.check_inputs(input_sets(program, inputs))  # before anything runs
    result = Result(program)
    found: addresses.Addresses = {}
    banked = timing and memory.banked  # then cycles may hang on data
    if timing:
        check.check_places(program.config, result.work)
    if values and banked:
        result.final = run_values(program, inputs, progress, cache, addresses.watcher(program, found), engine)
    elif banked:
        found = addresses.loaded_addresses(program, inputs)
    elif timing and not values:
        addresses.check_addresses(program, inputs)
    if timing:
        result.timing = _timing(result, memory, found, engine, free)
        if not free:
            check.check_ports(program.config, result.work, result.timing)
            check.check_semaphores(result.work, result.timing)
    if values and not banked:
        result.final = run_values(program, inputs, progress, cache, engine=engine)
    return result


def _timing(
    result: Result, dram: DramConfig | None, found: addresses.Addresses, engine: str, free: Collection[Unit]
) -> Timing:
    program = result.program
    if engine == "auto":
        bursts = sum(result.bytes.values()) // program.config.burst_bytes
        many = len(program.instructions) + bursts >= COMPILED_FROM
        engine = "compiled" if many or loop_is_loaded() else "plain"
    if engine == "compiled":
        from .engine import timing_of  # numba takes half a second to load

        return timing_of(program.config, result.work, program.groups, dram, found, free)
    instructions, scalars = program.instructions, program.scalar_values
    return Machine(program.config, instructions, program.groups, dram, scalars, found, free).run()


def _units(free: Collection[Unit]) -> tuple[Unit, ...]:
    require_type("free", free, (tuple, list, set, frozenset), "a tuple of units, such as (Unit.LOAD,)")
    for each in free:
        require_type("each of free", each, Unit, f"a Unit: {', '.join(unit.name for unit in Unit)}")
    return tuple(free)


def loop_is_loaded() -> bool:
    """Whether the compiled event loop may be used without loading it."""
    return f"{__package__}.engine" in sys.modules


class _Unit:
    """One unit: its queue, and when it may go on."""

    def __init__(self) -> None:
        self.queue: deque[int] = deque()  # instructions dispatched and not started
        self.starts: list[int] = []  # cycles
        self.next_start: int | None = 0  # first cycle in which it may start another, None while that is open
        self.retired = -1  # the cycle in which the last one to have started retires


class Machine:
    """When each instruction of a program is dispatched, starts and retires."""

    def __init__(
        self,
        config: HardwareConfig,
        instructions: Sequence[Instruction],
        groups: int,
        dram: DramConfig | None = None,
        scalars: Sequence[int] = (0,) * SCALAR_COUNT,
        found: Mapping[int, NDArray[np.int64]] | None = None,
        free: Collection[Unit] = (),
    ) -> None:
        self.config = config
        self.free = free  # units that cost nothing
        self.found = found or {}  # for a banked DRAM, addresses that hang on data
        padding = groups * FETCH_GROUP - len(instructions)
        self.dispatches = dispatched((*instructions, *[Halt()] * padding), scalars, config)
        self.timing = Timing()
        self.fetch = Fetch(config, groups, self.timing.dispatched)
        self.load, self.store = LoadRequests(config), StoreRequests(config)
        append, stream = AppendRequests(config), StreamRequests(config)
        self.requests: dict[type[Instruction], Requests] = {
            Load: self.load, Store: self.store, Append: append, Stream: stream
        }  # fmt: skip
        self.port = Port(make_dram(config, dram or config.dram), (self.fetch, self.store, append, stream, self.load))
        self.units = {unit: _Unit() for unit in UNITS}
        self.active: dict[object, int] = {}  # for each client, the instruction for which it asks
        self.tokens: dict[tuple[Unit, Unit], deque[int]] = defaultdict(deque)  # first cycle of use, sent and not taken
        self.halted = False

    def run(self) -> Timing:
        """Run to the end. Raises HeddleError for a deadlock."""
        self._settle()
        while (client := self.port.grant()) is not None:
            if isinstance(client, Fetch):
                self._settle()
            elif client.up is None:  # its instruction has all its bursts
                assert isinstance(client, Requests)
                index = self.active[client]
                self.timing.beat_cycles[index] = client.beats_cycles
                self._retire(index, client.retire, self.load.last_grant + 1 if client is self.load else None)
                self._settle()
        if not self.halted or any(unit.queue for unit in self.units.values()):
            raise self._deadlock()
        timing = self.timing
        timing.arrived = self.fetch.arrivals[: len(timing.dispatched)]
        if isinstance(self.port.dram, BankedDram):
            timing.dram = self.port.dram.statistics
        timing.cycles = max(timing.dispatched[-1], max(timing.retire) + 1)
        timing.fetch_beats = self.fetch.beats_by(timing.cycles, self.port.dram.config.cycles_per_beat)
        return timing

    def _deadlock(self) -> HeddleError:
        waiting = []
        for kind, unit in self.units.items():
            if unit.queue:
                instruction = self.dispatches[unit.queue[0]].instruction
                missing = [source for source in units_in(instruction.wait) if not self.tokens[source, kind]]
                waiting.append(check.Waiting(kind, unit.queue[0], instruction, missing))
        index = len(self.timing.dispatched)
        blocked = self.dispatches[index].instruction if index < len(self.dispatches) else None
        return check.deadlock(waiting, None if self.halted else (index, blocked))

    def _settle(self) -> None:
        """Work out all that follows from the grants so far."""
        while self._dispatch() or any([self._start(unit) for unit in UNITS]):
            pass

    def _dispatch(self) -> bool:
        """Dispatch the next instruction, if it has been requested and there is a place for it in its queue."""
        index = len(self.timing.dispatched)
        if self.halted or index >= len(self.fetch.arrivals):
            return False
        cycle = self.fetch.arrivals[index] + DISPATCH_CYCLES
        if index:
            cycle = max(cycle, self.timing.dispatched[-1] + 1)
        instruction = self.dispatches[index].instruction
        kind = instruction.unit
        if kind is None:  # Halt or Guard
            self.halted = isinstance(instruction, Halt)
        else:
            unit = self.units[kind]
            if len(unit.queue) >= self.config.queue_depth:
                return False
            ordinal = len(unit.starts) + len(unit.queue)
            if ordinal >= self.config.queue_depth:  # the place of the one that started so many before
                cycle = max(cycle, unit.starts[ordinal - self.config.queue_depth] + 1)
            unit.queue.append(index)
        self.timing.dispatched.append(cycle)
        self.timing.start.append(-1)
        self.timing.retire.append(-1)
        self.timing.last_token.append(None)
        self.timing.beat_cycles.append(0)
        return True

    def _start(self, kind: Unit) -> bool:
        """Start the head of a queue, if its tokens have been sent and the unit is known to become free."""
        unit = self.units[kind]
        if not unit.queue or unit.next_start is None:
            return False
        index = unit.queue[0]
        instruction, void = self.dispatches[index]
        sources = [self.tokens[source, kind] for source in units_in(instruction.wait)]
        if not all(sources):
            return False
        cycle = max(self.timing.dispatched[index] + 1, unit.next_start)
        if void or (isinstance(instruction, Load) and instruction.gather):
            cycle = max(cycle, unit.retired + 1)  # when nothing is under way
        else:
            cycle = max(cycle, min(unit.next_start + headway(instruction, self.config), unit.retired + 1))
        for source in units_in(instruction.wait):
            usable = self.tokens[source, kind].popleft()
            if usable > cycle:
                cycle, self.timing.last_token[index] = usable, source
        unit.queue.popleft()
        unit.starts.append(cycle)
        unit.next_start = None
        self.timing.start[index] = cycle
        if kind in self.free:
            self.timing.beat_cycles[index] = 1  # the one cycle that it takes
            self._retire(index, cycle)
        elif void:
            self.timing.beat_cycles[index] = 1 + VOID_CYCLES  # it does not wait for DRAM
            self._retire(index, cycle + VOID_CYCLES)
        elif type(instruction) in CYCLES:
            retire = cycle + cycles(instruction, self.config)
            self.timing.beat_cycles[index] = retire - cycle + 1  # it does not wait for DRAM
            self._retire(index, retire, cycle + occupied(instruction, self.config))
        else:
            client = self.requests[type(instruction)]
            self.active[client] = index
            client.begin(cycle, instruction)  # type: ignore[arg-type]
            if index in self.found:
                client.bursts = addresses.place_bursts(client.bursts, self.found[index])
        return True

    def _retire(self, index: int, cycle: int, next_start: int | None = None) -> None:
        """An instruction retires and sends its tokens. Its unit may start another after that, or from `next_start`."""
        instruction = self.dispatches[index].instruction
        kind = instruction.unit
        assert kind is not None
        self.timing.retire[index] = self.units[kind].retired = cycle
        self.units[kind].next_start = cycle + 1 if next_start is None else next_start
        for target in units_in(instruction.signal):
            self.tokens[kind, target].append(cycle + 1)
