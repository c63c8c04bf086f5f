"""Chooses tilings: each is scheduled with the simulator's own durations, and the quickest schedule is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..arch.config import HardwareConfig, Memory
from ..arch.errors import HeddleError, NoRoomError
from ..arch.program import Choice
from .allocate import FragmentedError, allocate, pack
from .builder import Decoder, SharedDram, Tiles, Tiling, split_rows
from .evaluators import Evaluators
from .macs import count_macs
from .schedule import Schedule, one_by_one, schedule
from .segments import Segment
from .tile import groups_of, longest_panel, tile
from .work import priorities, work_of

PARTS = (1, 2, 3, 4)  # panels that rows are split into
WEIGHT_SHARES = (8, 4, 16)  # WEIGHT is loaded in chunks of at most one of so many parts
IN_ORDER = (0.35, 0.1, 1.0)  # how much the order of the program counts against the longest chain
MEMORY_SHARES = (1.0, 0.9, 0.75, 0.6, 0.45, 0.0)  # how far a memory is filled ahead; 0: one task after the other
GROUPS = (2, 3, 4, 6, 8, 16)  # rows of a group, in columns of the array
CLOSE_ENOUGH = 1.04  # cycles over the least that any tiling needs: then no more are tried
MANY_TASKS = 1000  # with fewer, all tilings are tried
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
            decoder = replace(decoder, registers=decoder.registers.copy(), table=None)
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
        best = search.quickest()
        if self.decoder and best.tiles.decoder:
            self.decoder.registers = best.tiles.decoder.registers
        node = segment.graph.outputs[-1]
        where = f" up to {node.layer or node.name}" if segment.signature else ""
        self.choices += [Choice("tiling" + where, search.chosen, search.tried), search.filled_ahead(where)]
        return best


def _has_rows(segment: Segment) -> bool:
    """Whether groups make sense: all nodes have as many rows, more than one."""
    rows = {node.rows for node in segment.graph if node.op not in ("constant", "input")}
    return len(rows) == 1 and rows != {1}


def _shares_as_text(shares: Mapping[Memory, float]) -> str:
    less = {memory.name: share for memory, share in shares.items() if share < 1}
    return ", ".join(f"{name} to {share:.0%}" for name, share in less.items()) or "all to 100%"


class _Search:
    """The best schedule of a segment so far, and the latest error."""

    def __init__(self, lowering: Lowering, segment: Segment) -> None:
        self.lowering, self.segment, self.config = lowering, segment, lowering.config
        self.moving = lowering.decoder is not None and not lowering.decoder.fixed
        self.products = count_macs(segment.graph, self.moving)[0]
        self.best: Schedule | None = None
        self.problem: HeddleError | None = None
        self.chosen = ""
        self.tried: dict[str, int | str] = {}
        self.filled: dict[str, int | str] = {}  # how far memories were tried to be filled for the best, the last chosen

    def quickest(self) -> Schedule:
        """The best. If nothing fits, the error is that of the last try, the thriftiest."""
        if self.best is None:
            assert self.problem is not None, "each try gives a schedule or an error"
            raise self.problem
        return self.best

    def filled_ahead(self, where: str) -> Choice:
        """How far the memories are filled ahead of the oldest task in the best schedule."""
        chosen = list(self.filled)[-1]
        return Choice("memories filled ahead" + where, chosen, self.filled if len(self.filled) > 1 else {})

    def panels(self) -> None:
        """All rows at once: first the best number of panels, then the best size of chunks, then the best weight of
        program order."""
        for through_value in (False, True) if self._has_codes() else (False,):
            simple = Tiling(1, WEIGHT_SHARES[0], through_value=through_value)
            self._descend([replace(simple, parts=parts) for parts in self._useful_parts(simple)])
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
        self._descend([Tiling(1, WEIGHT_SHARES[0], size) for size in sizes.values()])
        if self.best is None:
            self.take(Tiling(1, WEIGHT_SHARES[-1], self.config.columns))
        if self._has_codes() and not self._close_enough():
            thrifty = Tiling(1, WEIGHT_SHARES[-1], self.config.columns)
            self.take(replace(self.best.tiles.tiling if self.best else thrifty, through_value=True))
        if self.best is not None:
            tiling = self.best.tiles.tiling
            self._descend([replace(tiling, parts=parts) for parts in PARTS[1:]])
            tiling = self.best.tiles.tiling
            self._descend([replace(tiling, weight_share=share) for share in WEIGHT_SHARES[1:]])

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
        loading = tiles.data_bytes / config.dram.bytes_per_cycle(config.axi_bytes)
        return self.best.cycles <= CLOSE_ENOUGH * max(self.products / (config.rows * config.columns), loading)

    def _has_codes(self) -> bool:
        """Whether there are results that are needed as codes only: made of values, they need less of ACC."""
        return any("codes" in node.attributes for node in self.segment.graph)

    def take(self, tiling: Tiling, in_order: float = IN_ORDER[0]) -> None:
        """Try one way."""
        name = str(tiling) if in_order == IN_ORDER[0] else f"{tiling}, program order counting {in_order:g}"
        try:
            found, filled = self._fitting(tiling, in_order)
        except HeddleError as error:
            self.problem = error
            self.tried[name] = str(error)
            return
        self.tried[name] = found.cycles
        if self.best is None or found.cycles < self.best.cycles:
            self.best, self.chosen, self.filled = found, name, filled

    def _fitting(self, tiling: Tiling, in_order: float) -> tuple[Schedule, dict[str, int | str]]:
        """A schedule whose buffers find their places: memories are filled less far ahead until they do; a thrifty one
        at last has the largest placed first, and then its tasks one by one. And how far, each try with what was wrong
        with it."""
        tiles = self.lowering.tile(self.segment, tiling)
        work, shares = work_of(tiles, self.config), dict.fromkeys(Memory, MEMORY_SHARES[0])
        priority, filled = priorities(work, in_order), {}
        while True:
            try:
                found = allocate(schedule(tiles, self.config, shares, in_order, work, priority), self.config)
                return found, filled | {_shares_as_text(shares): found.cycles}
            except FragmentedError as error:
                problem = error
                filled[_shares_as_text(shares)] = str(error)
                if any(shares[memory] == MEMORY_SHARES[-1] for memory in error.memories):
                    break
                for memory in error.memories:
                    shares[memory] = MEMORY_SHARES[MEMORY_SHARES.index(shares[memory]) + 1]
        if not tiling.thrifty:
            raise problem
        least = schedule(tiles, self.config, dict.fromkeys(Memory, 0.0), in_order, work, priority)
        for how, each in (("the largest placed first", least), ("one task after the other", one_by_one(least))):
            try:
                return pack(each, self.config), filled | {how: each.cycles}
            except FragmentedError as error:
                problem, filled[how] = error, str(error)
        raise problem

    def _useful_parts(self, tiling: Tiling) -> list[int]:
        """Those of PARTS that split the rows of this model differently."""
        graph, config = self.segment.graph, self.config
        longest = longest_panel(graph, config, tiling)
        rows = sorted({node.rows for node in graph if node.shape})
        splits = {parts: str([split_rows(each, parts, longest, config.columns) for each in rows]) for parts in PARTS}
        return [parts for parts in PARTS if splits[parts] not in [splits[fewer] for fewer in PARTS if fewer < parts]]
