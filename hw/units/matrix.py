"""MATRIX: Matmul, a panel of activation rows through k_tiles × n_tiles weight tiles of the systolic array.

    WEIGHT ──► array ◄── ACT        position in the period of tile j   0 1 2 … rows−1 …
                 │                  weights of tile j + 1              W W W … W
                 ▼                  activation rows of tile j            A A A … A
    ACC ──────► add ──► ACC
The weights of the next tile are read while the rows of the current one pass, so that rows follow each other without a
bubble as long as there are at least `tile_turnaround_cycles` of them. Before the first tile comes a period that only
reads weights. All addresses advance by adding 1 or a stride.
"""

from types import SimpleNamespace

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...arch.config import INSTRUCTION_BITS, HardwareConfig, Memory
from ...arch.isa import ADDRESS, ROWS, TILES, Matmul
from ..array import Array
from ..instructions import fields_of
from ..memories import read_signature, write_signature
from ..pe import FORMATS
from ..pipeline import delay


class Matrix(wiring.Component):
    """Executes a Matmul in the duration that docs/architecture.md gives: `start` at s, last write and `retire` at
    s + D. `instruction` is taken with `start`; `ready` tells that `start` may be given."""

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
        busy = Signal()
        m.d.comb += [
            self.ready.eq(~busy),
            tiles.start.eq(self.start),
            tiles.instruction.eq(self.instruction),
            self.weight_read.en.eq(tiles.weight_en),
            self.weight_read.address.eq(tiles.weight_address),
            self.act_read.en.eq(tiles.row_en),
            self.act_read.address.eq(tiles.act_address),
            # The swap token runs one cycle ahead of the activations, the capture token beside weight row 0.
            array.swap.eq(tiles.row_en & tiles.row_first),
            array.capture.eq(delay(m, tiles.weight_en & tiles.weight_first, 1, "capture")),
            array.weights.as_value().eq(self.weight_read.data),
            array.activations.as_value().eq(self.act_read.data),
        ]
        self._accumulate(m, tiles, array)
        with m.If(self.start):
            m.d.sync += busy.eq(1)
        with m.Elif(self.retire):
            m.d.sync += busy.eq(0)
        return m

    def _accumulate(self, m: Module, tiles: "TileWalk", array: Array) -> None:
        """Read, hold, add (`array_add_cycles`), write; the sums of the array come when the addition begins."""
        config, pe = self._config, FORMATS[self._config.pe]
        layout = data.ArrayLayout(pe.sum, config.columns)
        row = Cat(tiles.row_en, tiles.row_accumulates, tiles.row_final, tiles.acc_address)
        row = delay(m, row, config.array_cycles - 1, "row")
        m.d.comb += [self.acc_read.en.eq(row[0] & row[1]), self.acc_read.address.eq(row[3:])]
        accumulates = delay(m, row[1], 1, "accumulates")
        held, total = Signal(layout), Signal(layout)
        nothing = Const(pe.nothing, 32).replicate(config.columns)
        m.d.sync += held.as_value().eq(Mux(accumulates, self.acc_read.data, nothing))
        for c in range(config.columns):
            m.d.comb += total[c].eq(pe.add(m, held[c], array.sums[c], f"total_{c}"))
        row = delay(m, row, 2 + config.array_add_cycles, "written_row")
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
    what is there if `row_accumulates`.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__({
            "start": In(1),
            "instruction": In(INSTRUCTION_BITS),
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
        # The instruction given with start, and the one at work.
        given, held = Signal(INSTRUCTION_BITS), Signal(INSTRUCTION_BITS)
        m.d.comb += given.eq(self.instruction)
        with m.If(self.start):
            m.d.sync += held.eq(given)
        given, held = fields_of(Matmul, given), fields_of(Matmul, held)
        period = self._periods(m, held)
        tile = self._fetch_weights(m, given, held, period)
        self._stream_rows(m, given, held, period, tile)
        return m

    def _periods(self, m: Module, held) -> SimpleNamespace:
        """In each period the weights of a tile are fetched, rows stream through the tile fetched before, or both."""
        period = SimpleNamespace(fetching=Signal(), streaming=Signal(), position=Signal(ROWS), done=Signal())
        last_position = Signal(ROWS)
        active = period.fetching | period.streaming
        m.d.comb += period.done.eq(active & (period.position == last_position))
        with m.If(active):
            m.d.sync += period.position.eq(period.position + 1)
        with m.If(period.done):
            turnaround = self._config.tile_turnaround_cycles
            length = Mux(held.rows > turnaround, held.rows, turnaround)
            m.d.sync += [period.position.eq(0), last_position.eq(length - 1), period.streaming.eq(period.fetching)]
        with m.If(self.start):
            m.d.sync += [period.position.eq(0), last_position.eq(self._config.rows - 1), period.streaming.eq(0)]
        return period

    def _fetch_weights(self, m: Module, given, held, period) -> SimpleNamespace:
        """Read the `rows` words of each tile; returns where in the nest the tile being fetched is."""
        tile = SimpleNamespace(first_k=Signal(), last_k=Signal(), last=Signal())
        k_left, n_left = Signal(TILES), Signal(TILES)
        column_address = Signal(ADDRESS)  # of tile k = 0 of this n; those of further k follow without a gap
        next_column_address = (column_address + held.weight_stride)[:ADDRESS]
        m.d.comb += [
            tile.last_k.eq(k_left == 0),
            tile.last.eq(tile.last_k & (n_left == 0)),
            self.weight_en.eq(period.fetching & (period.position < self._config.rows)),
            self.weight_first.eq(period.position == 0),
        ]
        with m.If(self.weight_en):
            m.d.sync += self.weight_address.eq(self.weight_address + 1)
        with m.If(period.done):
            m.d.sync += [k_left.eq(k_left - 1), tile.first_k.eq(tile.last_k)]
            with m.If(tile.last_k):
                m.d.sync += [k_left.eq(held.k_tiles - 1), n_left.eq(n_left - 1)]
                m.d.sync += [column_address.eq(next_column_address), self.weight_address.eq(next_column_address)]
            with m.If(tile.last):
                m.d.sync += period.fetching.eq(0)
        with m.If(self.start):
            m.d.sync += [period.fetching.eq(1), tile.first_k.eq(1)]
            m.d.sync += [k_left.eq(given.k_tiles - 1), n_left.eq(given.n_tiles - 1)]
            m.d.sync += [column_address.eq(given.weight_address), self.weight_address.eq(given.weight_address)]
        return tile

    def _stream_rows(self, m: Module, given, held, period, tile) -> None:
        """Read the activation rows, in the cycle after their position, through the tile fetched before `tile`."""
        accumulates, last_k, last = Signal(), Signal(), Signal()
        act_tile, acc_tile = Signal(ADDRESS), Signal(ADDRESS)  # addresses of row 0
        row, first = Signal(), Signal()
        m.d.comb += [row.eq(period.streaming & (period.position < held.rows)), first.eq(period.position == 0)]
        m.d.sync += [
            self.row_en.eq(row),
            self.row_first.eq(first),
            self.row_final.eq(last & (period.position == held.rows - 1)),
            self.row_accumulates.eq(accumulates),
        ]
        with m.If(row):
            m.d.sync += [
                self.act_address.eq(Mux(first, act_tile, self.act_address + held.act_stride)),
                self.acc_address.eq(Mux(first, acc_tile, self.acc_address + held.acc_stride)),
            ]
        with m.If(period.done):
            m.d.sync += [accumulates.eq(held.accumulate | ~tile.first_k), last_k.eq(tile.last_k), last.eq(tile.last)]
            with m.If(period.streaming):
                m.d.sync += [act_tile.eq(Mux(last_k, held.act_address, act_tile + 1)), acc_tile.eq(acc_tile + last_k)]
        with m.If(self.start):
            m.d.sync += [act_tile.eq(given.act_address), acc_tile.eq(given.acc_address)]
