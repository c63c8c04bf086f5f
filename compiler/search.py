"""Chooses tilings: each is scheduled with the simulator's own durations, and the quickest schedule is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from ..arch.config import HardwareConfig, Memory
from ..arch.errors import HeddleError, NoRoomError
from ..arch.program import Choice
from .allocate import FragmentedError, allocate, pack
from .builder import Decoder, SharedDram, Tiles, Tiling, split_rows
from .evaluators import Evaluators
from .macs import count_macs
from .rehearse import rehearse
from .schedule import Schedule, one_by_one, schedule
from .segments import Segment
from .slices import FEW_SLICES, MOST_SLICES, mlps, slices_of
from .tile import groups_of, longest_panel, tile
from .work import Work, priorities, work_of

PARTS = (1, 2, 3, 4)  # panels that rows are split into
WEIGHT_SHARES = (8, 4, 16)  # WEIGHT is loaded in chunks of at most one of so many parts
IN_ORDER = (0.35, 0.1, 1.0, 0.25)  # how much the order of the program counts against the longest chain
MEMORY_SHARES = (1.0, 0.9, 0.75, 0.6, 0.45, 0.0)  # how far a memory is filled ahead; 0: one task after the other
GROUPS = (2, 3, 4, 6, 8, 16)  # rows of a group, in columns of the array
CLOSE_ENOUGH = 1.04  # cycles over the least that any tiling needs: then no more are tried
MANY_TASKS = 1000  # with fewer, all tilings are tried
PORT_PRICE = 1 / 64  # of a cycle in which the DRAM port moves data, in cycles of the run
OTHER_PLACES = ", filled less far ahead"  # of a schedule where another has WEIGHT packed
FINALISTS = 3  # schedules that are run in the simulator before one is chosen: the best by their estimates,
IN_REACH = 1.05  # those that are at most so many times as long as the best
_WIDEST_THRIFTY = 4  # rows of the largest group that is tried when nothing else fits, in columns of the array


@dataclass
class Lowering:
    """What all segments of one program share while they are lowered."""

    config: HardwareConfig
    shared: SharedDram
    decoder: Decoder | None = None
    thrifty: bool = False  # a segment that fits in no other way goes in ever fewer rows and smaller pieces
    choices: list[Choice] = field(default_factory=list)
    evaluators: Evaluators = field(default_factory=Evaluators)  # what they hold where a segment begins

    def tile(self, segment: Segment, tiling: Tiling) -> Tiles:
        """The tasks of a segment. Its decoder has registers of its own, which count only if the tiling is chosen."""
        decoder = self.decoder
        if decoder:
            decoder = replace(decoder, registers=decoder.registers.copy(), table=None, source_table=None)
        return tile(segment.graph, self.config, tiling, decoder, self.shared, self.evaluators)

    def set_functions(self, evaluators: Evaluators) -> Schedule:
        """Tasks that let evaluators hold these functions, for all segments that come after."""
        tiles = Tiles(self.config, Tiling(), 1, shared=self.shared, evaluators=evaluators)
        for name in evaluators.held:
            tiles.set_tables(name)
        self.evaluators = evaluators
        work = work_of(tiles, self.config)
        return allocate(one_by_one(schedule(tiles, self.config, work=work)), self.config)

    def lower(self, segment: Segment, tiling: Tiling | None, streamed: bool) -> Schedule:
        """The quickest schedule found for a segment, or that of a given tiling."""
        search = _Search(self, segment)
        if tiling:
            grouped = tiling if _has_rows(segment) else replace(tiling, group_rows=0)
            search.take(grouped)
        elif streamed and _has_rows(segment):
            search.groups()
        else:
            search.panels()
        if self.thrifty and not tiling and search.best is None:
            search.thriftily(streamed)
        best = search.cheapest()
        decoder = best.schedule.tiles.decoder
        if self.decoder and decoder:
            self.decoder.registers = decoder.registers
        node = segment.graph.outputs[-1]
        where = f" up to {node.layer or node.name}" if segment.signature else ""
        chosen, filled = list(best.filled)[-1], best.filled if len(best.filled) > 1 else {}
        self.choices += [Choice("tiling" + where, best.name, search.tried),
                         Choice("memories filled ahead" + where, chosen, filled)]  # fmt: skip
        if search.simulated:
            self.choices.append(Choice("simulated" + where, best.name, search.simulated))
        return best.settle()


def _cost(schedule: Schedule, cycles: int) -> float:
    """What a schedule of so many cycles costs: of two that take as long, the one that moves fewer bytes is better."""
    return cycles + PORT_PRICE * int(schedule.work.moving.sum())


def _has_rows(segment: Segment) -> bool:
    """Whether groups make sense: all nodes have as many rows, more than one."""
    rows = {node.rows for node in segment.graph if node.op not in ("constant", "input")}
    return len(rows) == 1 and rows != {1}


def _shares_as_text(shares: Mapping[Memory, float]) -> str:
    less = {memory.name: share for memory, share in shares.items() if share < 1}
    return ", ".join(f"{name} to {share:.0%}" for name, share in less.items()) or "all to 100%"


@dataclass(frozen=True)
class _Candidate:
    """A schedule, and where its buffers are; others of the same tiling have them elsewhere."""

    name: str
    schedule: Schedule
    filled: dict[str, int | str]  # how far memories were tried to be filled, the last chosen
    cost: float
    places: list[int]

    def settle(self) -> Schedule:
        """The schedule, with its buffers where they are."""
        for buffer, place in zip(self.schedule.tiles.buffers, self.places, strict=True):
            buffer.address = place
        return self.schedule

    def equals(self, other: _Candidate) -> bool:
        """Whether both start as many tasks in the same cycles: a tiling may be another in name only."""
        return self.cost == other.cost and np.array_equal(self.schedule.start, other.schedule.start)


class _Search:
    """The best schedules of a segment so far, and the latest error."""

    def __init__(self, lowering: Lowering, segment: Segment) -> None:
        self.lowering, self.segment, self.config = lowering, segment, lowering.config
        self.moving = lowering.decoder is not None and not lowering.decoder.fixed
        self.products = count_macs(segment.graph, self.moving)[0]
        self.problem: HeddleError | None = None
        self.tried: dict[str, int | str] = {}
        self.simulated: dict[str, int | str] = {}
        self.found: list[_Candidate] = []  # the best few, the best first

    @property
    def best(self) -> Schedule | None:
        """The best so far, if there is any."""
        return self.found[0].schedule if self.found else None

    def cheapest(self) -> _Candidate:
        """The best as the simulator finds. If nothing fits, the error is that of the last try, the thriftiest."""
        if not self.found:
            assert self.problem is not None, "each try gives a schedule or an error"
            raise self.problem
        finalists = [each for each in self.found if each.cost <= IN_REACH * self.found[0].cost]
        if len(finalists) == 1:
            return finalists[0]
        costs = []
        for each in finalists:
            cycles = rehearse(each.settle(), self.config, self.lowering.shared)
            self.simulated[each.name] = cycles
            costs.append(_cost(each.schedule, cycles))
        return finalists[costs.index(min(costs))]

    def panels(self) -> None:
        """All rows at once: first the best number of panels, then the best size of chunks, then the best weight of
        program order."""
        for through_value in (False, True) if self._has_codes() else (False,):
            simple = Tiling(1, WEIGHT_SHARES[0], through_value=through_value)
            self._descend([replace(simple, parts=parts) for parts in self._useful_parts(simple)])
        if self.best is None:
            self._sliced([0])
        tiling = self.best.tiles.tiling if self.best else Tiling(PARTS[-1])
        self._descend([replace(tiling, weight_share=share) for share in WEIGHT_SHARES[1:]])
        if self.best is None:
            self.take(Tiling(4 * PARTS[-1], WEIGHT_SHARES[-1]))
        if self.best is not None and not self._close_enough():
            tiling = self.best.tiles.tiling
            for in_order in IN_ORDER[1:]:
                self.take(tiling, in_order)
        if self._rows_are_alone() and _has_rows(self.segment) and self.lowering.decoder is None:
            self.groups()

    def groups(self) -> None:
        """Rows in groups: first the best size of groups, then the best size of chunks."""
        rows = next(node.rows for node in self.segment.graph if node.op not in ("constant", "input"))
        sizes = {}
        for each in GROUPS:
            size = min(each * self.config.columns, self.config.panel_rows)
            sizes.setdefault(str(groups_of(rows, size, self.config)), size)
        self._sliced(sorted(sizes.values(), reverse=True))
        self._descend([Tiling(1, WEIGHT_SHARES[0], size) for size in sizes.values()])
        if self.best is None:
            self.take(Tiling(1, WEIGHT_SHARES[-1], self.config.columns))
        if self._has_codes() and not self._close_enough():
            thrifty = Tiling(1, WEIGHT_SHARES[-1], self.config.columns)
            tiling = self.best.tiles.tiling if self.best else thrifty
            self.take(replace(tiling, through_value=True))
            wider = [size for size in sizes.values() if size > tiling.group_rows]
            self._descend([Tiling(1, WEIGHT_SHARES[0], size, through_value=True) for size in wider])
        if self.best is not None:
            tiling = self.best.tiles.tiling
            self._descend([replace(tiling, parts=parts) for parts in PARTS[1:]])
            tiling = self.best.tiles.tiling
            self._descend([replace(tiling, weight_share=share) for share in WEIGHT_SHARES[1:]])

    def _sliced(self, sizes: Sequence[int]) -> None:
        """Groups of so many rows (0: all at once) that ACT cannot hold the hidden codes of an MLP, which is sliced: the
        first size that fits, of those with few slices, then of all."""
        found = list(mlps(self.segment.graph))
        if not found:
            return
        needed = {size: max(slices_of(each, size or each.up.rows, self.config) for each in found) for size in sizes}
        for size in sorted(sizes, key=lambda size: needed[size] > FEW_SLICES):
            for slices in (needed[size], 2 * needed[size]):
                if needed[size] > 1 and slices <= MOST_SLICES and not self._close_enough():
                    self.take(Tiling(PARTS[-1], WEIGHT_SHARES[1], size, slices=slices))
            if self.best is not None:
                return

    def thriftily(self, streamed: bool) -> None:
        """Fewer and fewer rows at a time, all else in small pieces: the first way that fits. The last is the thriftiest
        there is: one row at a time, or where an attention makes blocks of the rows, one block, or all."""
        config, graph = self.config, self.segment.graph
        alone = self._rows_are_alone()
        rows = max(node.rows for node in graph if node.op not in ("constant", "input"))
        tiling = Tiling(through_value=self._has_codes(), thrifty=True)
        if _has_rows(self.segment) and (alone or streamed):
            least = 1 if alone else config.columns
            sizes = [max(min(_WIDEST_THRIFTY * config.columns, config.panel_rows, rows), least)]
            while sizes[-1] > least:
                sizes.append(max(sizes[-1] // 2, least))
            tilings = [replace(tiling, group_rows=size) for size in sizes]
            how = f"even if no more than {least} row{'s' * (least > 1)} at a time are computed"
        else:
            tilings, how = [tiling], "even in the smallest pieces"
            if not self.moving:  # each panel of a decoder takes registers
                tilings.append(replace(tiling, parts=-(-rows // config.columns)))
        for each in tilings:
            for share in (WEIGHT_SHARES[0], WEIGHT_SHARES[-1]):
                self.take(replace(each, weight_share=share))
                if self.best is not None:
                    return
        self.problem = NoRoomError(f"{self.problem} ({how})")

    def _rows_are_alone(self) -> bool:
        """Whether no row of the segment needs another one."""
        return not any("attention" in node.op for node in self.segment.graph)

    def _descend(self, tilings: Sequence[Tiling]) -> None:
        """Try tilings in their order, until one is no better than the best so far, or that is close enough."""
        for tiling in tilings:
            before = self.best
            if self._close_enough():
                return
            self.take(tiling)
            if before is not None and self.best is before:
                return

    def _close_enough(self) -> bool:
        """Whether the best schedule of many tasks is hardly longer than its products take on the whole array, or its
        constants at the port of DRAM."""
        if self.best is None or len(self.best.tiles.tasks) < MANY_TASKS:
            return False
        tiles, config = self.best.tiles, self.config
        loaded = tiles.data_bytes - sum(tiles.gathered.values())
        loading = loaded / config.dram.bytes_per_cycle(config.axi_bytes)
        return self.best.cycles <= CLOSE_ENOUGH * max(self.products / (config.rows * config.columns), loading)

    def _has_codes(self) -> bool:
        """Whether there are results that are needed as codes only: made of values, they need less of ACC."""
        return any("codes" in node.attributes for node in self.segment.graph)

    def take(self, tiling: Tiling, in_order: float = IN_ORDER[0]) -> None:
        """Try one way."""
        name = str(tiling) if in_order == IN_ORDER[0] else f"{tiling}, program order counting {in_order:g}"
        try:
            for found, filled in self._fitting(tiling, in_order):
                self._enter(name, found, filled)
                name += OTHER_PLACES
        except HeddleError as error:
            self.problem = error
            self.tried.setdefault(name, str(error))

    def _enter(self, name: str, found: Schedule, filled: dict[str, int | str]) -> None:
        """Keep a schedule, as its buffers are placed now, if it is among the best."""
        self.tried[name] = found.cycles
        places = [buffer.address for buffer in found.tiles.buffers]
        candidate = _Candidate(name, found, filled, _cost(found, found.cycles), places)
        if not any(candidate.equals(each) for each in self.found):
            self.found = sorted([*self.found, candidate], key=lambda each: each.cost)[:FINALISTS]

    def _fitting(self, tiling: Tiling, in_order: float) -> Iterator[tuple[Schedule, dict[str, int | str]]]:
        """A schedule whose buffers find their places: memories are filled less far ahead until they do; a thrifty one
        at last has the largest placed first, and then its tasks one by one. And how far, each try with what was wrong
        with it. If it is WEIGHT alone that is to be filled less, first one with those buffers packed."""
        tiles, work = self._tiled(tiling)
        shares = dict.fromkeys(Memory, MEMORY_SHARES[0])
        priority, filled, packed = priorities(work, in_order), {}, False
        while True:
            found = schedule(tiles, self.config, shares, in_order, work, priority)
            try:
                yield allocate(found, self.config), filled | {_shares_as_text(shares): found.cycles}
                return
            except FragmentedError as error:
                problem = error
            if not packed and problem.memories == [Memory.WEIGHT]:
                with suppress(FragmentedError):
                    how = f"{_shares_as_text(shares)}, WEIGHT packed"
                    yield allocate(found, self.config, [Memory.WEIGHT]), filled | {how: found.cycles}
                    packed = True
            filled[_shares_as_text(shares)] = str(problem)
            if any(shares[memory] == MEMORY_SHARES[-1] for memory in problem.memories):
                break
            for memory in problem.memories:
                shares[memory] = MEMORY_SHARES[MEMORY_SHARES.index(shares[memory]) + 1]
        if not tiling.thrifty:
            raise problem
        least = schedule(tiles, self.config, dict.fromkeys(Memory, 0.0), in_order, work, priority)
        for how, each in (("the largest placed first", least), ("one task after the other", one_by_one(least))):
            try:
                yield pack(each, self.config), filled | {how: each.cycles}
                return
            except FragmentedError as error:
                problem, filled[how] = error, str(error)
        raise problem

    def _tiled(self, tiling: Tiling) -> tuple[Tiles, Work]:
        """The tasks of a tiling; those of the best are there already."""
        for each in self.found[:1]:
            if each.schedule.tiles.tiling == tiling:
                return each.schedule.tiles, each.schedule.work
        tiles = self.lowering.tile(self.segment, tiling)
        return tiles, work_of(tiles, self.config)

    def _useful_parts(self, tiling: Tiling) -> list[int]:
        """Those of PARTS that split the rows of this model differently."""
        graph, config = self.segment.graph, self.config
        longest = longest_panel(graph, config, tiling)
        rows = sorted({node.rows for node in graph if node.shape})
        splits = {parts: str([split_rows(each, parts, longest, config.columns) for each in rows]) for parts in PARTS}
        return [parts for parts in PARTS if splits[parts] not in [splits[fewer] for fewer in PARTS if fewer < parts]]
