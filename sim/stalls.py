"""Why units were not working: every cycle of a run is put down to one cause for each unit."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from ..arch.config import Unit
from ..arch.isa import Instruction
from .trace import UNITS, Timing

CAUSES = ("executing", "dram", *(f"wait_{unit.name.lower()}" for unit in UNITS), "fetch", "dispatch", "finished")
_MOVERS = (Unit.LOAD, Unit.STORE, Unit.KV)


def stall_breakdown(timing: Timing, instructions: Sequence[Instruction]) -> dict[Unit, dict[str, int]]:
    """Cycles by cause for each unit; they sum to the cycles of the run.

    executing  from start to retire; for LOAD, STORE and KV, while beats of one of their bursts move
    dram       LOAD, STORE and KV between start and retire while none of their beats moves
    wait_<u>   at the head of the queue, held up last by a token of unit u
    fetch      nothing in the queue, and the instruction that dispatch needs next has not arrived
    dispatch   nothing in the queue, and dispatch is one at a time or held up by another unit's full queue
    finished   all instructions of the unit have retired, or it has none
    """
    breakdown = {unit: dict.fromkeys(CAUSES, 0) for unit in UNITS}
    covered = dict.fromkeys(UNITS, -1)  # the last cycle accounted for
    fetch_wait = _FetchWait(timing)
    for index, (instruction, dispatched) in enumerate(zip(instructions, timing.dispatched, strict=False)):
        unit = instruction.unit
        if unit is None:
            continue
        causes, start, retire = breakdown[unit], timing.start[index], timing.retire[index]
        absent = max(dispatched - covered[unit], 0)  # cycles up to and including that of dispatch
        unfetched = fetch_wait.between(covered[unit] + 1, dispatched) if absent else 0
        causes["fetch"] += unfetched
        causes["dispatch"] += absent - unfetched
        covered[unit] = max(covered[unit], dispatched)
        source = timing.last_token[index]
        if start > covered[unit] + 1:
            assert source is not None, "only a token can hold up a free unit"
            causes[f"wait_{source.name.lower()}"] += start - covered[unit] - 1
        executing = retire - max(start, covered[unit] + 1) + 1
        covered[unit] = retire
        moving = timing.beat_cycles[index] if unit in _MOVERS else executing
        causes["executing"] += moving
        causes["dram"] += executing - moving
    for unit in UNITS:
        breakdown[unit]["finished"] = timing.cycles - 1 - covered[unit]
    return breakdown


class _FetchWait:
    """Counts the cycles in which the dispatcher waits for an instruction to arrive."""

    def __init__(self, timing: Timing) -> None:
        previous = [-1, *timing.dispatched[:-1]]
        self.first = [dispatched + 1 for dispatched in previous]  # of the cycles it waits for each instruction
        waits = [
            max(0, arrived - dispatched)
            for arrived, dispatched in zip(timing.arrived, previous, strict=True)
        ]  # fmt: skip
        self.waits = waits
        self.before = [0, *accumulate(waits)]

    def between(self, first: int, last: int) -> int:
        """How many there are from cycle `first` to cycle `last`."""
        return self._until(last) - self._until(first - 1)

    def _until(self, cycle: int) -> int:
        """How many there are up to and including `cycle`."""
        index = bisect_right(self.first, cycle) - 1
        if index < 0:
            return 0
        return self.before[index] + min(self.waits[index], cycle - self.first[index] + 1)
