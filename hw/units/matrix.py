"""MATRIX: Matmul, a panel of activation rows through k_tiles × n_tiles weight tiles of the systolic array.

    WEIGHT ──► array ◄── ACT        weights of tile j    W W W W . . . W W W W . . . W W W W . . .
                 │                  rows through it              A A A A A A A A A A A A A A A A A A A A A
                 ▼                                       │ period of tile 0 …│ of tile 1 …
    ACC ──────► add ──► ACC
A tile's weights are read `rows` + 1 cycles before the first row that passes through them, while those of the tile
before still pass, so that rows follow each other without a bubble as long as there are at least
`tile_turnaround_cycles` of them. That goes for the tiles of two instructions as well: the next one starts while the
rows of the last tile pass and their sums drain. All addresses advance by adding 1 or a stride.
"""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...arch.config import INSTRUCTION_BITS, MEMORY_CYCLES, HardwareConfig, Memory
from ...arch.isa import ADDRESS, ROWS, TILES, Matmul
from ..array import Array
from ..instructions import fields_of
from ..memories import read_signature, write_signature
from ..pe import FORMATS
from ..pipeline import delay


class Matrix(wiring.Component):
    """Executes a Matmul in the duration that docs/architecture.md gives: `start` at s, last write and `retire` at
    s + D. `instruction` is the next one, and taken with `start`; `ready` tells that it may be: from s + T·P on, or a
    little later if it adds to what is in ACC. So several may be under way; they retire in order."""

    executes = (Matmul,)

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__({
            "start": In(1),
            "instruction": In(INSTRUCTION_BITS),
            "ready": Out(1),
            "retire": Out(1),
            "act_read": Out(read_signature(config, Memory.ACT)),
            "weight_read": Out(read_signature(config, Memory.WEIGHT)),
            "acc_read": Out(read_signature(config, Memory.ACC)),
            "acc_write": Out(write_signature(config, Memory.ACC)),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.tiles = tiles = TileWalk(self._config)
        m.submodules.array = array = Array(self._config)
        m.d.comb += [
            tiles.start.eq(self.start),
            tiles.instruction.eq(self.instruction),
            self.ready.eq(self._ready(m, tiles.ready)),
            self.weight_read.en.eq(tiles.weight_en),
            self.weight_read.address.eq(tiles.weight_address),
            self.act_read.en.eq(tiles.row_en),
            self.act_read.address.eq(tiles.act_address),
            # The swap token runs one cycle ahead of the activations, the capture token beside weight row 0.
            array.swap.eq(delay(m, tiles.row_en & tiles.row_first, MEMORY_CYCLES - 1, "swap")),
            array.capture.eq(delay(m, tiles.weight_en & tiles.weight_first, MEMORY_CYCLES, "capture")),
            array.weights.as_value().eq(self.weight_read.data),
            array.activations.as_value().eq(self.act_read.data),
        ]
        self._accumulate(m, tiles, array)
        return m

    def _ready(self, m: Module, walked: Value) -> Value:
        """The first row of an instruction that accumulates may add to what the last row before it writes: it starts so
        much later that the sum is there. One that does not reads no sums until a period after its first row."""
        headway = self._config.accumulation_cycles - 1
        left = Signal(range(headway + 1), name="headway_left")
        with m.If(~walked):
            m.d.sync += left.eq(headway)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        return walked & ((left == 0) | ~fields_of(Matmul, self.instruction).accumulate)

    def _accumulate(self, m: Module, tiles: "TileWalk", array: Array) -> None:
        """Read, hold, add (`array_add_cycles`), write; the sums of the array come when the addition begins."""
        config, pe = self._config, FORMATS[self._config.pe]
        layout = data.ArrayLayout(pe.sum, config.columns)
        row = Cat(tiles.row_en, tiles.row_accumulates, tiles.row_final, tiles.acc_address)
        row = delay(m, row, config.array_cycles - 1, "row")  # the sums come MEMORY_CYCLES + 1 later
        m.d.comb += [self.acc_read.en.eq(row[0] & row[1]), self.acc_read.address.eq(row[3:])]
        accumulates = delay(m, row[1], MEMORY_CYCLES, "accumulates")
        held, total = Signal(layout), Signal(layout)
        nothing = Const(pe.nothing, 32).replicate(config.columns)
        m.d.sync += held.as_value().eq(Mux(accumulates, self.acc_read.data, nothing))
        for c in range(config.columns):
            m.d.comb += total[c].eq(pe.add(m, held[c], array.sums[c], f"total_{c}"))
        row = delay(m, row, MEMORY_CYCLES + 1 + config.array_add_cycles, "written_row")
        m.d.comb += [
            self.acc_write.en.eq(row[0]),
            self.acc_write.address.eq(row[3:]),
            self.acc_write.mask.eq(-1),
            self.acc_write.data.eq(total),
            self.retire.eq(row[0] & row[2]),
        ]


class TileWalk(wiring.Component):
    """When, and at which addresses, weights and activation rows are read, tile by tile.

    Outputs. `weight_en` reads a weight row, `weight_first` is row 0 of its tile. `row_en` reads an activation row,
    `row_first` is the first of its tile and `row_final` the last of all; its sum goes to `acc_address`, and is added to
    what is there if `row_accumulates`. `ready`: the next instruction may start.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__({
            "start": In(1),
            "instruction": In(INSTRUCTION_BITS),
            "ready": Out(1),
            "weight_en": Out(1),
            "weight_first": Out(1),
            "weight_address": Out(ADDRESS),
            "row_en": Out(1),
            "row_first": Out(1),
            "row_final": Out(1),
            "row_accumulates": Out(1),
            "act_address": Out(ADDRESS),
            "acc_address": Out(ADDRESS),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.weights = weights = Periods(self._config)
        m.submodules.rows = rows = Periods(self._config)
        # The instruction given with start, that whose weights are read, and that whose rows are: the same one, but for
        # the first `rows` cycles of the next.
        given, held, passing = (Signal(INSTRUCTION_BITS, name=name) for name in ("given", "held", "passing"))
        m.d.comb += given.eq(self.instruction)
        with m.If(self.start):
            m.d.sync += held.eq(given)
        with m.If(rows.start):
            m.d.sync += passing.eq(held)
        given, held, passing = (fields_of(Matmul, each) for each in (given, held, passing))
        for periods, instruction in ((weights, given), (rows, held)):
            m.d.comb += [getattr(periods, name).eq(getattr(instruction, name)) for name in SIZES]
        m.d.comb += [
            weights.start.eq(self.start),
            rows.start.eq(weights.first_tile & (weights.position == self._config.rows - 1)),
            self.ready.eq(~weights.active | weights.ends),
        ]
        self._read_weights(m, given, held, weights)
        self._read_rows(m, held, passing, rows)
        return m

    def _read_weights(self, m: Module, given, held, tile: "Periods") -> None:
        """Read the `rows` words of each tile."""
        column_address = Signal(ADDRESS)  # of tile k = 0 of this n; those of further k follow without a gap
        next_column_address = (column_address + held.weight_stride)[:ADDRESS]
        m.d.comb += [
            self.weight_en.eq(tile.active & (tile.position < self._config.rows)),
            self.weight_first.eq(tile.position == 0),
        ]
        with m.If(self.weight_en):
            m.d.sync += self.weight_address.eq(self.weight_address + 1)
        with m.If(tile.done & tile.last_k):
            m.d.sync += [column_address.eq(next_column_address), self.weight_address.eq(next_column_address)]
        with m.If(self.start):
            m.d.sync += [column_address.eq(given.weight_address), self.weight_address.eq(given.weight_address)]

    def _read_rows(self, m: Module, held, passing, tile: "Periods") -> None:
        """Read the activation rows, in the cycle after their position."""
        act_tile, acc_tile = Signal(ADDRESS), Signal(ADDRESS)  # addresses of row 0
        row, first = Signal(), Signal()
        m.d.comb += [row.eq(tile.active & (tile.position < passing.rows)), first.eq(tile.position == 0)]
        m.d.sync += [
            self.row_en.eq(row),
            self.row_first.eq(first),
            self.row_final.eq(tile.last_tile & (tile.position == passing.rows - 1)),
            self.row_accumulates.eq(passing.accumulate | ~tile.first_k),
        ]
        with m.If(row):
            m.d.sync += [
                self.act_address.eq(Mux(first, act_tile, self.act_address + passing.act_stride)),
                self.acc_address.eq(Mux(first, acc_tile, self.acc_address + passing.acc_stride)),
            ]
        with m.If(tile.done):
            m.d.sync += [
                act_tile.eq(Mux(tile.last_k, passing.act_address, act_tile + 1)),
                acc_tile.eq(acc_tile + tile.last_k),
            ]
        with m.If(tile.start):
            m.d.sync += [act_tile.eq(held.act_address), acc_tile.eq(held.acc_address)]


SIZES = ("rows", "k_tiles", "n_tiles")


class Periods(wiring.Component):
    """Counts the periods of an instruction's tiles, from the cycle after `start` on, with which its sizes come.

    `active`: in a period, at `position`, and with `done` at its last one. Its tile is the first or the last of all
    (`first_tile`, `last_tile`), or of those that are added up (`first_k`, `last_k`). `ends`: in the last cycle of all,
    which is also the first one in which it may start again.
    """

    def __init__(self, config: HardwareConfig):
        self._turnaround = config.tile_turnaround_cycles
        super().__init__({
            "start": In(1),
            "rows": In(ROWS),
            "k_tiles": In(TILES),
            "n_tiles": In(TILES),
            "active": Out(1),
            "position": Out(ROWS),
            "done": Out(1),
            "ends": Out(1),
            "first_tile": Out(1),
            "last_tile": Out(1),
            "first_k": Out(1),
            "last_k": Out(1),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        rows, k_tiles = Signal(ROWS), Signal(TILES)
        k_left, n_left = Signal(TILES), Signal(TILES)
        # A cycle late, which does no harm: no period is so short that this is its first position.
        last_but_one = Signal(ROWS, init=self._turnaround - 2)
        length = Mux(rows >= self._turnaround, rows, self._turnaround)
        at_last_but_one = self.active & (self.position == last_but_one)
        m.d.sync += [
            last_but_one.eq(length - 2),
            self.done.eq(at_last_but_one),
            self.ends.eq(at_last_but_one & self.last_tile),
        ]
        m.d.comb += [self.last_k.eq(k_left == 0), self.last_tile.eq(self.last_k & (n_left == 0))]
        with m.If(self.active):
            m.d.sync += self.position.eq(self.position + 1)
        with m.If(self.done):
            m.d.sync += [self.position.eq(0), self.first_tile.eq(0), self.first_k.eq(self.last_k)]
            m.d.sync += [k_left.eq(Mux(self.last_k, k_tiles, k_left) - 1), n_left.eq(n_left - self.last_k)]
        with m.If(self.ends):
            m.d.sync += self.active.eq(0)
        with m.If(self.start):
            m.d.sync += [self.active.eq(1), self.position.eq(0), self.first_tile.eq(1), self.first_k.eq(1)]
            m.d.sync += [rows.eq(self.rows), k_tiles.eq(self.k_tiles)]
            m.d.sync += [k_left.eq(self.k_tiles - 1), n_left.eq(self.n_tiles - 1)]
        return m
