"""The datapath of VECTOR: from the operands of a group, as they come from memory, to its V values.

    acc ─┬─ planes ─ narrowed ─ × scale ─ × row ─ + offset ─ function ─┬─ ± ────────────┬─ o
    value ┘                                        operand ─ × factor ─┴─ compare ─ × ──┘

A pipeline that never stalls; steps that are not wanted pass the value on, so the latency is always the same.
"""

from amaranth import Cat, Const, Module, Mux, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import ADD_CYCLES, CONVERT_CYCLES, MULTIPLY_CYCLES, PLANES_CYCLES, HardwareConfig
from ..arch.functions import EVALUATE_CYCLES
from ..arch.isa import Combine, Function
from .choice import Choice
from .delay_line import DelayLine
from .drain import Factors
from .float import MINUS_ZERO, ONE, Add, Fields, Multiply, narrowed, upper
from .functions import Functions, write_signature
from .pipeline import delay
from .planes import Planes

_X_CYCLES = CONVERT_CYCLES + PLANES_CYCLES  # until x is there to be narrowed
_OPERAND_CYCLES = _X_CYCLES + 2 * MULTIPLY_CYCLES + ADD_CYCLES + EVALUATE_CYCLES  # that is, until x is combined


class Elementwise(wiring.Component):
    """o = function(x · scale · row + offset) combined with operand · factor, x = value if `from_value`, else that of
    the planes of acc (`Planes`).

    The operands of a group come in one cycle, planes but the last in the cycles before it; `o` is valid
    `vector_map_cycles` − 1 later. The lower group of inputs says which steps are wanted (see `isa.VectorInstruction`;
    combine ROTATE is none), and holds still while groups are under way. Operands are bits as the memories hold them,
    those of VALUE widened to float32, subnormals and any NaN included; `o` has the format of vector arithmetic, to
    which they are rounded. `chosen`, in the cycle of `o`, is down where SELECT leaves the old value. `table_write` sets
    the tables of functions.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        floats = data.ArrayLayout(unsigned(32), config.vector_lanes)
        stored = data.ArrayLayout(unsigned(config.value_bits), config.vector_lanes)
        super().__init__({
            "acc": In(floats),
            "value": In(floats),
            "scale": In(floats),
            "offset": In(floats),
            "row": In(32),
            "operand": In(stored),
            "factor": In(32),
            "o": Out(data.ArrayLayout(unsigned(config.vector_bits), config.vector_lanes)),
            "from_value": In(1),
            "planes": In(2),
            "scaled": In(1),
            "row_scaled": In(1),
            "function": In(Function),
            "combine": In(Combine),
            "operand_scaled": In(1),
            "operand_is_factor": In(1),  # it has no other part
            "chosen": Out(config.vector_lanes),
            "table_write": In(write_signature()),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        config, lanes = self._config, self._config.vector_lanes
        m.submodules.planes = planes = Planes(config)
        m.submodules.factors = factors = Factors(config, config.precision)
        m.submodules.scales = scales = DelayLine(2 * 32 * lanes + 32, _X_CYCLES)
        m.submodules.operands = operands = DelayLine(config.value_bits * lanes + 32, _OPERAND_CYCLES - MULTIPLY_CYCLES)
        m.d.comb += [
            planes.acc.eq(self.acc),
            planes.value.eq(self.value),
            planes.from_value.eq(self.from_value),
            planes.planes.eq(self.planes),
            scales.i.eq(Cat(self.scale, self.offset, self.row)),
            operands.i.eq(Cat(self.operand, self.factor)),
        ]

        def narrow(x: Value, name: str) -> Value:
            return narrowed(m, x, config, name)

        precision, bits = config.precision, config.vector_bits
        one, minus_zero = upper(ONE, bits), upper(MINUS_ZERO, bits)
        m.d.comb += factors.row.eq(Mux(self.row_scaled, narrow(scales.o[-32:], "row"), one))
        factor = Mux(self.operand_scaled | self.operand_is_factor, narrow(operands.o[-32:], "factor"), one)
        combine = Value.cast(self.combine)
        subtracts, subtracts_from = combine == Combine.SUBTRACT, combine == Combine.SUBTRACT_FROM
        adds, selects = subtracts | subtracts_from | (combine == Combine.ADD), combine == Combine.SELECT
        m.submodules.functions = functions = Functions(config)
        m.d.comb += functions.function.eq(self.function)
        wiring.connect(m, wiring.flipped(self.table_write), functions.write)
        widen = Const(0, 32 - config.value_bits)  # a bf16 is the upper half of a float32
        for lane in range(lanes):
            scale = narrow(scales.o.word_select(lane, 32), f"scale_{lane}")
            offset = narrow(scales.o.word_select(lanes + lane, 32), f"narrow_offset_{lane}")
            offset = delay(m, offset, 2 * MULTIPLY_CYCLES, name=f"offset_{lane}", reset_less=True)
            operand = Cat(widen, operands.o.word_select(lane, config.value_bits))
            m.submodules[f"plus_offset_{lane}"] = plus_offset = Add(precision)
            m.submodules[f"times_factor_{lane}"] = times_factor = Multiply(precision)
            m.submodules[f"plus_operand_{lane}"] = plus = Add(precision)
            m.submodules[f"times_operand_{lane}"] = times = Multiply(precision)
            x, y = functions.o[lane], times_factor.o
            m.submodules[f"choice_{lane}"] = choice = Choice(precision)
            not_zero = delay(m, ~Fields(y).zero, ADD_CYCLES, name=f"not_zero_{lane}", reset_less=True)
            m.d.comb += [
                factors.x[lane].eq(narrow(planes.o[lane], f"x_{lane}")),
                factors.scale[lane].eq(Mux(self.scaled, scale, one)),
                plus_offset.a.eq(factors.o[lane]),
                plus_offset.b.eq(Mux(self.scaled, offset, minus_zero)),
                functions.a[lane].eq(plus_offset.o),
                times_factor.a.eq(Mux(self.operand_is_factor, one, narrow(operand, f"operand_{lane}"))),
                times_factor.b.eq(factor),
                plus.a.eq(Cat(x[:-1], x[-1] ^ subtracts_from)),
                plus.b.eq(Mux(adds, Cat(y[:-1], y[-1] ^ subtracts), minus_zero)),
                choice.combine.eq(combine),
                choice.x.eq(x),
                choice.y.eq(y),
                times.a.eq(choice.a),
                times.b.eq(choice.b),
                self.o[lane].eq(Mux(choice.counts, times.o, plus.o)),
                self.chosen[lane].eq(~selects | not_zero),
            ]
        return m
