"""Orders a list of instructions with semaphores, so that no result and no bank port depends on timing.

Program order is the meaning. Two instructions of different units conflict if one writes words (or DRAM bytes) that the
other touches, or if both use the same port of the same bank. The later of such a pair waits for a token of the earlier,
unless tokens already ordered them: one vector clock per unit says what is known to have retired. Tokens of one
(from, to) pair are counted, never named; they match because both ends see them in program order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..arch.config import HardwareConfig, Memory, Unit
from ..arch.errors import HeddleError
from ..arch.isa import Access, Instruction, Load, Store
from ..arch.program import Period

Clock = dict[Unit, int]  # for each unit, the last instruction (by index in the program) known to have retired


@dataclass
class _Footprint:
    """What one instruction touches: word ranges on chip, byte ranges in DRAM, bank ports."""

    index: int
    unit: Unit
    accesses: list[Access]
    dram: tuple[int, int, bool] | None
    ports: dict[tuple[Memory, bool], int] = field(default_factory=dict)  # (memory, write) → mask of banks


def synchronise(config: HardwareConfig, instructions: Sequence[Instruction]) -> list[Instruction]:
    """The same instructions with `wait` and `signal` set; existing masks are replaced."""
    return synchronise_runs(config, instructions, [])[0]


def synchronise_runs(
    config: HardwareConfig, instructions: Sequence[Instruction], runs: Sequence[Period]
) -> tuple[list[Instruction], list[Period]]:
    """The same, and the periods: where copies are equal with their masks.

    runs  stretches of equal copies (but for DRAM addresses that only one of them uses, or that all read), in order.
          Once what a copy leaves known is what the copy before left, the next one has the same masks: so it is worked
          out for the first few copies and the last.
    """
    worker = _Synchroniser(config, instructions)
    periods = []
    at = 0
    for run in runs:
        worker.step(at, run.start)
        at = run.start + run.length * run.count
        if (period := worker.repeat(run)) is not None:
            periods.append(period)
    worker.step(at, len(instructions))
    masks = worker.masks(periods)
    _require_no_extra_waits(masks, instructions)
    ready = [_with_masks(each, *mask) for each, mask in zip(instructions, masks, strict=True)]
    return ready, periods


def _with_masks(instruction: Instruction, wait: int, signal: int) -> Instruction:
    if (instruction.wait, instruction.signal) == (wait, signal):
        return instruction
    ready = object.__new__(type(instruction))  # `replace` takes four times as long, and there are many
    ready.__dict__.update(instruction.__dict__, wait=wait, signal=signal)
    return ready


class _Synchroniser:
    def __init__(self, config: HardwareConfig, instructions: Sequence[Instruction]) -> None:
        self.config, self.instructions = config, instructions
        self.waits, self.signals = [0] * len(instructions), [0] * len(instructions)
        self.history: dict[Unit, list[_Footprint]] = {unit: [] for unit in Unit}
        self.clocks: dict[Unit, Clock] = {unit: {} for unit in Unit}
        self.retired: dict[int, Clock] = {}  # what is known once instruction i has retired

    def step(self, start: int, stop: int) -> None:
        """The instructions from `start` up to `stop`, in order."""
        for index in range(start, stop):
            unit = self.instructions[index].unit
            if unit is not None:
                self._order(index, unit)

    def repeat(self, run: Period) -> Period | None:
        """A run of equal copies: those that must be worked out. The others will be as the period returned."""
        before: object = None
        for copy in range(run.count):
            start = run.start + copy * run.length
            self.step(start, start + run.length)
            known = self._known_since(start, start + run.length)
            if known == before and copy + 3 <= run.count:
                # The next copy has the masks of all that follow, but for the last, whose successor is another.
                self.step(start + run.length, start + 2 * run.length)
                self.step(run.start + (run.count - 1) * run.length, run.start + run.count * run.length)
                return Period(start + run.length, run.length, run.count - copy - 2)
            before = known
        return None

    def masks(self, periods: Sequence[Period]) -> list[tuple[int, int]]:
        """(wait, signal) of each instruction."""
        masks = list(zip(self.waits, self.signals, strict=True))
        for period in periods:
            body = masks[period.start : period.start + period.length]
            masks[period.start : period.start + period.length * period.count] = body * period.count
        return masks

    def _known_since(self, start: int, stop: int) -> object:
        """What each unit knows of the instructions from `start` on, counted from `stop`."""
        return {
            unit: {source: at - stop for source, at in clock.items() if at >= start}
            for unit, clock in self.clocks.items()
        }

    def _order(self, index: int, unit: Unit) -> None:
        """Let one instruction wait for all it conflicts with and is not known to have retired."""
        footprint = self._footprint(index, unit)
        clock = self.clocks[unit]
        conflicts = {
            source: last
            for source, earlier in self.history.items()
            if source is not unit and (last := _last_conflict(earlier, footprint, clock.get(source, -1))) is not None
        }
        # The latest first: what is known once it has retired may cover the others.
        for source, last in sorted(conflicts.items(), key=lambda item: -item[1]):
            if last > clock.get(source, -1):
                self.waits[index] |= 1 << source
                self.signals[last] |= 1 << unit
                for known, at in self.retired[last].items():
                    clock[known] = max(clock.get(known, -1), at)
        self.history[unit].append(footprint)
        self.retired[index] = {**clock, unit: index}

    def _footprint(self, index: int, unit: Unit) -> _Footprint:
        instruction = self.instructions[index]
        accesses = instruction.accesses(self.config)
        ports: dict[tuple[Memory, bool], int] = {}
        for access in accesses:
            port = access.memory, access.write
            ports[port] = ports.get(port, 0) | access.bank_mask(self.config)
        return _Footprint(index, unit, accesses, _dram_range(self.config, instruction), ports)


def _require_no_extra_waits(masks: list[tuple[int, int]], instructions: Sequence[Instruction]) -> None:
    sent = sum(signal.bit_count() for _, signal in masks)
    taken = sum(wait.bit_count() for wait, _ in masks)
    if sent != taken:
        raise HeddleError(f"synchronise: {sent} tokens sent but {taken} taken in {len(instructions)} instructions")


def _last_conflict(earlier: list[_Footprint], later: _Footprint, known: int) -> int | None:
    """The latest instruction after `known` that conflicts with `later`."""
    for other in reversed(earlier):
        if other.index <= known:
            return None
        if _conflict(other, later):
            return other.index
    return None


def _conflict(a: _Footprint, b: _Footprint) -> bool:
    if any(mask & b.ports.get(port, 0) for port, mask in a.ports.items()):
        return True
    if a.dram and b.dram and (a.dram[2] or b.dram[2]) and a.dram[0] < b.dram[1] and b.dram[0] < a.dram[1]:
        return True
    return any((x.write or y.write) and x.overlaps(y) for x in a.accesses for y in b.accesses)


def _dram_range(config: HardwareConfig, instruction: Instruction) -> tuple[int, int, bool] | None:
    """(first byte, one past the last, written?). A gather may read anything from its table on. KV has the cache for
    itself, and is in order: LOAD and STORE do not go there."""
    if not isinstance(instruction, (Load, Store)):
        return None
    start = instruction.dram_address
    if isinstance(instruction, Load) and instruction.gather:
        return start, 1 << 62, False
    length = instruction.words * config.dram_word_bytes(instruction.memory)
    stop = start + (instruction.segments - 1) * instruction.dram_stride + length
    return start, stop, isinstance(instruction, Store)
