"""How long a schedule takes by itself in the simulator, and what it costs: the judge of the best that the search finds.

A schedule's own estimate knows neither dispatch nor semaphores, of the DRAM port only who asks first, and of a decoder
only the longest context. Timing without values takes less than to make the schedule.
"""

from __future__ import annotations

from copy import copy

from ..arch.config import HardwareConfig
from ..arch.program import Program
from ..sim.dispatch import dispatched_kinds
from .builder import SharedDram
from .emit import Step, emit
from .schedule import Schedule


def rehearse(schedule: Schedule, config: HardwareConfig, shared: SharedDram) -> int:
    """Cycles of a segment by itself. Of a decoder whose tokens come at any position: the mean of its first position,
    its last and the one between."""
    from ..sim.engine import timing_of  # numba takes half a second to load

    program = _without_data(schedule, config, shared)
    cycles = []
    for each in _at_positions(schedule, program):
        work = dispatched_kinds(each.kinds, each.scalar_values, config)
        cycles.append(timing_of(config, work, program.groups).cycles)
    return sum(cycles) // len(cycles)


def _without_data(schedule: Schedule, config: HardwareConfig, shared: SharedDram) -> Program:
    """The program of the segment alone; what DRAM holds changes no cycle of it."""
    tiles, others = copy(schedule.tiles), copy(shared)
    tiles.data, others.data = [], []
    return emit([Step(schedule, tiles)], config, "rehearsal", others, tiles.decoder)


def _at_positions(schedule: Schedule, program: Program) -> list[Program]:
    decoder = schedule.tiles.decoder
    if decoder is None or decoder.fixed or not program.scalars:
        return [program]
    last = decoder.layout.plan.tokens - decoder.tokens
    return [program.at(*[position] * decoder.sequences) for position in sorted({0, last // 2, last})]
