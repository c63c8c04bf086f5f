"""Why units were not working: every cycle of a run is put down to one cause for each unit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..arch.config import DISPATCH_CYCLES, Unit
from .trace import UNITS, Timing

CAUSES = ("executing", "dram", *(f"wait_{unit.name.lower()}" for unit in UNITS), "fetch", "dispatch", "finished")
_MOVERS = (Unit.LOAD, Unit.STORE, Unit.KV)


def stall_breakdown(timing: Timing, units: NDArray[np.int64]) -> dict[Unit, dict[str, int]]:
    """Cycles by cause for each unit, in sum those of the run. `units` are those of the instructions, −1: none.

    executing  from start to retire; for LOAD, STORE and KV, while beats of one of their bursts move
    dram       LOAD, STORE and KV between start and retire while none of their beats moves
    wait_<u>   at the head of the queue, held up last by a token of unit u
    fetch      nothing in the queue, and the instruction that dispatch needs next has not arrived
    dispatch   nothing in the queue, and dispatch is one at a time or held up by another unit's full queue
    finished   all instructions of the unit have retired, or it has none
    """
    breakdown = {unit: dict.fromkeys(CAUSES, 0) for unit in UNITS}
    fetch_wait = _FetchWait(timing)
    passages = [timing.array(name) for name in ("dispatched", "start", "retire", "beat_cycles")]
    last_token = np.array([-1 if each is None else each for each in timing.last_token])
    for unit in UNITS:
        causes, places = breakdown[unit], np.flatnonzero(units == unit)
        dispatched, start, retire, beat_cycles = (each[places] for each in passages)
        before = np.concatenate([[-1], retire[:-1]])[: len(places)]  # the last cycle accounted for
        absent = np.maximum(dispatched - before, 0)  # cycles up to and including that of dispatch
        unfetched = fetch_wait.between(before + 1, dispatched)[absent > 0].sum()
        causes["fetch"] = int(unfetched)
        causes["dispatch"] = int(absent.sum() - unfetched)
        queued = np.maximum(before, dispatched)
        waits = np.maximum(start - queued - 1, 0)  # only a token can hold up a free unit
        for source in UNITS:
            causes[f"wait_{source.name.lower()}"] = int(waits[last_token[places] == source].sum())
        executing = retire - np.maximum(start, queued + 1) + 1
        moving = beat_cycles if unit in _MOVERS else executing
        causes["executing"] = int(moving.sum())
        causes["dram"] = int((executing - moving).sum())
        causes["finished"] = timing.cycles - 1 - int(retire[-1] if len(places) else -1)
    return breakdown


class _FetchWait:
    """Counts the cycles in which the dispatcher waits for an instruction to arrive."""

    def __init__(self, timing: Timing) -> None:
        previous = np.concatenate([[-1], timing.array("dispatched")[:-1]])
        self.first = previous + 1  # of the cycles it waits for each instruction
        self.waits = np.maximum(timing.array("arrived") + DISPATCH_CYCLES - 1 - previous, 0)
        self.before = np.concatenate([[0], np.cumsum(self.waits)])

    def between(self, first: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many there are from cycle `first` to cycle `last`."""
        return self._until(last) - self._until(first - 1)

    def _until(self, cycle: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many there are up to and including `cycle`."""
        index = np.maximum(np.searchsorted(self.first, cycle, "right") - 1, 0)
        since = cycle - self.first[index] + 1
        return self.before[index] + np.clip(since, 0, self.waits[index])
