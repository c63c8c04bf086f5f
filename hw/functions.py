"""The functions of VECTOR's lanes: that of a table, the same in all of them, or relu, or none.

    a ─┬─ evaluators ─────────────────┬─ o
       └─ delay line ─ 0 below 0? ────┘
"""

from amaranth import Cat, Const, Module, Mux, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import HardwareConfig
from ..arch.functions import EVALUATE_CYCLES, HEADER_PLACE, PLACE_COUNT, TABLE_COUNT, WORD_BITS, WORD_COUNT, WORD_PLACE
from ..arch.isa import Function
from .delay_line import DelayLine
from .float import upper
from .function import HEADER, Evaluator
from .ram import Ram

_IN_PART = (WORD_COUNT - 1).bit_length()
assert (WORD_PLACE, HEADER_PLACE) == (WORD_COUNT, 2 * WORD_COUNT), "the upper bits of a place tell what is there"


def write_signature() -> wiring.Signature:
    """An entry for `place` (`arch/functions.py`), if `en`."""
    return wiring.Signature({"en": Out(1), "place": Out(range(PLACE_COUNT)), "data": Out(WORD_BITS)})


class Functions(wiring.Component):
    """o[lane] = f(a[lane]), EVALUATE_CYCLES later, a group every cycle.

    `function` is an `isa.Function`; it holds still from the cycle before the first group on, while groups are under
    way. No entry that they need is written meanwhile. `a` is clean, as every operator leaves it.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        floats = data.ArrayLayout(unsigned(config.vector_bits), config.vector_lanes)
        super().__init__({"a": In(floats), "function": In(Function), "write": In(write_signature()), "o": Out(floats)})

    def elaborate(self, platform) -> Module:
        m = Module()
        config, write, bits = self._config, self.write, self._config.vector_bits
        m.submodules.headers = headers = Ram(HEADER.size, TABLE_COUNT)
        m.submodules.passed = passed = DelayLine(len(self.a.as_value()), EVALUATE_CYCLES)
        table = (Value.cast(self.function) - Function.TABLE_0)[: len(headers.read_address)]
        is_header, is_word = write.place[_IN_PART + 1], write.place[_IN_PART]
        is_relu = Value.cast(self.function) == Function.RELU
        by_table = ~is_relu & (Value.cast(self.function) != Function.NONE)
        m.d.comb += [
            headers.read_en.eq(1),
            headers.read_address.eq(table),
            headers.write_mask.eq(write.en & is_header),
            headers.write_address.eq(write.place),
            headers.write_data.eq(write.data),
            passed.i.eq(self.a),
        ]
        for lane in range(config.vector_lanes):
            evaluator = Evaluator(config.function_fraction_bits, config.function_bits)
            m.submodules[f"evaluator_{lane}"] = evaluator
            x = passed.o.word_select(lane, bits)
            m.d.comb += [
                evaluator.a.eq(Cat(Const(0, 32 - bits), self.a[lane])),
                evaluator.header.eq(headers.read_data),
                evaluator.table.eq(table),
                evaluator.write_en.eq(write.en & ~is_header),
                evaluator.write_word.eq(is_word),
                evaluator.write_address.eq(write.place),
                evaluator.write_data.eq(write.data),
                self.o[lane].eq(Mux(by_table, upper(evaluator.o, bits), Mux(is_relu & x[-1], 0, x))),
            ]
        return m
