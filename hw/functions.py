"""The functions of VECTOR's lanes: that of a table, the same in all of them, or relu, or none.

    a ─┬─ evaluators ───────────────── found
       └─ 0 below 0? ─ delay line ──── passed
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
from .pipeline import register
from .ram import Ram

_IN_PART = (WORD_COUNT - 1).bit_length()
assert (WORD_PLACE, HEADER_PLACE) == (WORD_COUNT, 2 * WORD_COUNT), "the upper bits of a place tell what is there"


def write_signature() -> wiring.Signature:
    """An entry for `place` (`arch/functions.py`), if `en`."""
    return wiring.Signature({"en": Out(1), "place": Out(range(PLACE_COUNT)), "data": Out(WORD_BITS)})


class Functions(wiring.Component):
    """f(a[lane]), EVALUATE_CYCLES later, a group every cycle: `by_table` it is found[lane], otherwise what is
    passed[lane] a cycle before.

    `function` is an `isa.Function`; it holds still from the cycle before the first group on, while groups are under
    way. No entry that they need is written meanwhile. `a` is clean, as every operator leaves it.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        floats = data.ArrayLayout(unsigned(config.vector_bits), config.vector_lanes)
        super().__init__({
            "a": In(floats),
            "function": In(Function),
            "write": In(write_signature()),
            "by_table": Out(1),
            "found": Out(floats),
            "passed": Out(floats),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        config, write, bits = self._config, self.write, self._config.vector_bits
        m.submodules.headers = headers = Ram(HEADER.size, TABLE_COUNT)
        m.submodules.passed = passed = DelayLine(len(self.a.as_value()), EVALUATE_CYCLES - 1)
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
            self.by_table.eq(register(m, by_table, "by_table")),
            self.passed.as_value().eq(passed.o),
            passed.i.eq(Cat(Mux(is_relu & x[-1], 0, x) for x in self.a)),
        ]
        for lane in range(config.vector_lanes):
            evaluator = Evaluator(config.function_fraction_bits, config.function_bits)
            m.submodules[f"evaluator_{lane}"] = evaluator
            m.d.comb += [
                evaluator.a.eq(Cat(Const(0, 32 - bits), self.a[lane])),
                evaluator.header.eq(headers.read_data),
                evaluator.table.eq(table),
                evaluator.write_en.eq(write.en & ~is_header),
                evaluator.write_word.eq(is_word),
                evaluator.write_address.eq(write.place),
                evaluator.write_data.eq(write.data),
                self.found[lane].eq(upper(evaluator.o, bits)),
            ]
        return m
