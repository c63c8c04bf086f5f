"""What VECTOR finds out about rows: the scale and multiplier of their codes, or the place of their greatest number.

values ─ row maximum ─┬─ row scale ─┬─ ROW, PARAM
                      │             └─ table of multipliers
                      └─ INDEX
"""

from amaranth import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import INSTRUCTION_BITS, HardwareConfig, Memory
from ..arch.isa import ADDRESS, ROWS, Argmax, Digit, Quantise, Scales
from .float import magnitude, resized
from .instructions import fields_of
from .memories import write_signature
from .panel import count, count_in, spread
from .quantise import RowScale
from .ram import Ram
from .reduce import RowMaximum


class RowResults(wiring.Component):
    """Takes the groups of a walk, `valid`, as RowMaximum does, for an Argmax if `is_argmax`, else for a Quantise.

    `row_maximum_cycles` after the last group of a row, plus `row_scale_cycles` − 1, its scale is written; or plus one
    cycle its place. `scales_done` comes the cycle after the last scale of the walk, `places_done` with the last place.
    `multiplier` is that of row `read_row`, given with `read`, a cycle later (bf16 PEs need none). `start` comes before
    the first group; `instruction` and `is_argmax` hold still. Columns that do not count are +0, or for an Argmax −inf.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__({
            "start": In(1),
            "instruction": In(INSTRUCTION_BITS),
            "is_argmax": In(1),
            "valid": In(1),
            "first": In(1),
            "last": In(1),
            "values": In(data.ArrayLayout(unsigned(config.vector_bits), config.vector_lanes)),
            "read": In(1),
            "read_row": In(ROWS),
            "multiplier": Out(config.vector_bits),
            "scales_done": Out(1),
            "places_done": Out(1),
            "param_write": Out(write_signature(config, Memory.PARAM, 32)),
            "row_write": Out(write_signature(config, Memory.ROW)),
            "index_write": Out(write_signature(config, Memory.INDEX, 32)),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self._config
        m.submodules.greatest = greatest = RowMaximum(config.vector_lanes, config.vector_bits)
        m.submodules.row_scale = row_scale = RowScale(config)
        quantise, argmax = fields_of(Quantise, self.instruction), fields_of(Argmax, self.instruction)
        m.d.comb += [
            greatest.valid.eq(self.valid),
            greatest.first.eq(self.first),
            greatest.last.eq(self.last),
            *(data.eq(Mux(self.is_argmax, value, magnitude(value)))
              for data, value in zip(greatest.data, self.values, strict=True)),
            row_scale.valid.eq(greatest.o_valid & ~self.is_argmax),
            row_scale.greatest.eq(greatest.o),
            row_scale.wide.eq(quantise.digit != Digit.WHOLE),
        ]  # fmt: skip

        found = greatest.o_valid & self.is_argmax
        row, next_row, last_row = Signal(range(config.panel_rows)), Signal(), Signal()
        m.d.comb += [next_row.eq(row_scale.o_valid | found), last_row.eq(row + 1 == quantise.rows)]
        count(m, row, clear=self.start, step=next_row)
        m.d.sync += self.scales_done.eq(row_scale.o_valid & last_row)
        if config.pe == "int8":
            self._keep_multiplier(m, row_scale, row)
        self._write_scale(m, row_scale, row, quantise)
        self._write_place(m, found, argmax.address + row, greatest.place)
        m.d.sync += self.places_done.eq(found & last_row)
        return m

    def _keep_multiplier(self, m: Module, row_scale: RowScale, row: Value) -> None:
        m.submodules.table = table = Ram(self._config.vector_bits, self._config.panel_rows)
        m.d.comb += [
            table.write_mask.eq(row_scale.o_valid),
            table.write_address.eq(row),
            table.write_data.eq(row_scale.multiplier),
            table.read_en.eq(self.read),
            table.read_address.eq(self.read_row),
            self.multiplier.eq(table.read_data),
        ]

    def _write_scale(self, m: Module, row_scale: RowScale, row: Value, fields) -> None:
        config = self._config
        row_word, row_slot = Signal(range(config.panel_rows)), Signal(range(config.columns))
        count_in(m, row_word, row_slot, config.columns, clear=self.start, step=row_scale.o_valid)
        to_row, scale = fields.scales == Scales.ROW, resized(m, row_scale.scale, 32)
        halves = Cat(fields.scales != Scales.PARAM_OFFSET, fields.scales != Scales.PARAM_SCALE)
        m.d.comb += [
            self.row_write.en.eq(row_scale.o_valid & to_row),
            self.row_write.address.eq(fields.scales_address + row),
            self.row_write.mask.eq(1),
            self.row_write.data.eq(scale),
            self.param_write.en.eq(row_scale.o_valid & ~to_row),
            self.param_write.address.eq(fields.scales_address + row_word),
            self.param_write.mask.eq(spread(m, row_slot, halves, config.columns, name="half_mask")),
            self.param_write.data.eq(scale),
        ]

    def _write_place(self, m: Module, found: Value, element: Value, place: Value) -> None:
        """From a register, into one element of a word of INDEX."""
        per_word = self._config.word_elements(Memory.INDEX)
        slot_bits = per_word.bit_length() - 1
        number = Signal(ADDRESS)
        m.d.comb += number.eq(element)
        m.d.sync += [
            self.index_write.en.eq(found),
            self.index_write.address.eq(number >> slot_bits),
            self.index_write.mask.eq(spread(m, number[:slot_bits], Const(1, 1), per_word, name="element_mask")),
            self.index_write.data.eq(place),
        ]
