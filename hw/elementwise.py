"""The datapath of VECTOR: from the operands of a group, as they come from memory, to its V values.

    acc, value ─ x ─ × scale ─ × row ─ + offset ─ function ─┬─ ± ──────┬─ o
                             operand ─┬─ × factor ─┬────────┤          │
                                      └────────────┘        ├─ choice ─┤
                                                            └─ × ──────┘

A pipeline that never stalls; steps that are not wanted pass the value on, so the latency is always the same. A lane
has one multiplier for what follows the function: it takes operand · factor, or x · operand, or both in turns. Rotation
takes two products on end, and the adder once more: (x · cosine) + (partner · sine).
"""

from amaranth import Cat, Module, Mux, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import ADD_CYCLES, MULTIPLY_CYCLES, SOURCE_CYCLES, HardwareConfig
from ..arch.functions import EVALUATE_CYCLES
from ..arch.isa import Combine, Function
from .choice import CHOICE_CYCLES, Choice
from .delay_line import DelayLine
from .drain import Factors
from .float import MINUS_ZERO, ONE, Add, Fields, Multiply, entered, resized, upper
from .functions import Functions, write_signature
from .pipeline import delay, register
from .planes import Planes

_X_CYCLES = SOURCE_CYCLES + 2 * MULTIPLY_CYCLES + ADD_CYCLES + EVALUATE_CYCLES  # until x is combined
# The product of an operand begins so much before that, an odd number before a product with x does: both can take turns
# where groups come every second, third or fourth cycle.
_OPERAND_CYCLES = MULTIPLY_CYCLES + 1
_TURN = _OPERAND_CYCLES + CHOICE_CYCLES
assert all(_TURN % interval for interval in (2, 3, 4))


class Elementwise(wiring.Component):
    """o = function(x · scale · row + offset) combined with operand · factor, x what `Planes` makes of acc or value.

    The operands of a group come with `valid`, planes but the last in the cycles before it; `o` is valid
    `vector_map_cycles` − 1 later. The lower group of inputs says which steps are wanted (see `isa.VectorInstruction`),
    and holds still while groups are under way. Operands are bits as the memories hold them, subnormals and any NaN
    included; `o` has the format of vector arithmetic, to which they are rounded. `row` and `factor` come a cycle after
    them, `entered` already. `chosen`, in the cycle of `o`, is down
    where SELECT leaves the old value. `table_write` sets the tables of functions.

    ROTATE takes x with its cosine, and two cycles later the partner of x with the sine; `o` is valid ADD_CYCLES later
    than otherwise. An operand that is scaled can be multiplied with x only if groups come every second cycle at most.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        floats = data.ArrayLayout(unsigned(32), config.vector_lanes)
        stored = data.ArrayLayout(unsigned(config.value_bits), config.vector_lanes)
        super().__init__({
            "valid": In(1),
            "acc": In(floats),
            "first_plane": In(1),
            "value": In(stored),
            "scale": In(floats),
            "offset": In(floats),
            "row": In(config.vector_bits),
            "operand": In(stored),
            "factor": In(config.vector_bits),
            "o": Out(data.ArrayLayout(unsigned(config.vector_bits), config.vector_lanes)),
            "from_value": In(1),
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
        config, bits = self._config, self._config.vector_bits
        m.submodules.planes = planes = Planes(config)
        m.submodules.factors = factors = Factors(config, config.precision)
        m.submodules.functions = functions = Functions(config)
        one, minus_zero = upper(ONE, bits), upper(MINUS_ZERO, bits)
        row = delay(m, Mux(self.row_scaled, self.row, one), SOURCE_CYCLES - 1, "row", reset_less=True)
        m.d.comb += [
            planes.acc.eq(self.acc),
            planes.first.eq(self.first_plane),
            planes.value.eq(self.value),
            planes.from_value.eq(self.from_value),
            factors.x.eq(planes.o),
            factors.row.eq(row),
            functions.function.eq(self.function),
        ]
        wiring.connect(m, wiring.flipped(self.table_write), functions.write)
        offsets = [entered(m, offset, config, f"offset_{lane}") for lane, offset in enumerate(self.offset)]
        offsets = [Mux(self.scaled, offset, minus_zero) for offset in offsets]
        offsets = self._line(m, offsets, SOURCE_CYCLES + 2 * MULTIPLY_CYCLES - 1, "offsets")
        for lane, offset in enumerate(offsets):
            scale = entered(m, self.scale[lane], config, f"scale_{lane}")
            scale = delay(m, Mux(self.scaled, scale, one), SOURCE_CYCLES - 1, f"scale_{lane}", reset_less=True)
            m.submodules[f"plus_offset_{lane}"] = plus_offset = Add(config.precision)
            m.d.comb += [
                factors.scale[lane].eq(scale),
                plus_offset.a.eq(factors.o[lane]),
                plus_offset.b.eq(offset),
                functions.a[lane].eq(plus_offset.o),
            ]
        self._combine(m, functions)
        return m

    def _line(self, m: Module, numbers: list[Value], cycles: int, name: str) -> list[Value]:
        """Numbers so many cycles later."""
        bits = self._config.vector_bits
        m.submodules[name] = line = DelayLine(bits * len(numbers), cycles)
        m.d.comb += line.i.eq(Cat(numbers))
        return [line.o.word_select(i, bits) for i in range(len(numbers))]

    def _combine(self, m: Module, functions: Functions) -> None:
        """What becomes of each x by its operand."""
        precision, bits = self._config.precision, self._config.vector_bits
        combine = Value.cast(self.combine)
        # From registers: it is known long before the first x comes.
        subtracts, subtracts_from, rotates, multiplies, selects = (
            register(m, combine == kind, kind.name.lower())
            for kind in (Combine.SUBTRACT, Combine.SUBTRACT_FROM, Combine.ROTATE, Combine.MULTIPLY, Combine.SELECT)
        )
        sums = (Combine.ADD, Combine.SUBTRACT, Combine.SUBTRACT_FROM)
        adds = register(m, Cat(combine == kind for kind in sums).any(), "adds")
        before = _X_CYCLES - _OPERAND_CYCLES
        operands = [entered(m, resized(m, each, 32), self._config, f"operand_{lane}")
                    for lane, each in enumerate(self.operand)]  # fmt: skip
        operands = [Mux(self.operand_is_factor, self.factor, each) for each in operands]
        *operands, factor = self._line(m, [*operands, self.factor], before - 1, "operands")
        valid = delay(m, self.valid, before - 1, "operand_valid")
        of_operand = register(m, self.operand_scaled & (valid | ~multiplies), "of_operand")
        minus_zero = upper(MINUS_ZERO, bits)
        # The first operand of a sum is x, or to rotate the product before. What there is of it early is chosen early.
        sum_by_table = register(m, ~rotates & functions.by_table, "sum_by_table")
        for lane, operand in enumerate(operands):
            m.submodules[f"times_{lane}"] = times = Multiply(precision)
            m.submodules[f"plus_{lane}"] = plus = Add(precision)
            m.submodules[f"choice_{lane}"] = choice = Choice(precision)
            operand_later = delay(m, operand, MULTIPLY_CYCLES, f"operand_{lane}", reset_less=True)
            next_y = Mux(self.operand_scaled, times.o, operand_later)
            y = register(m, next_y, f"y_{lane}")
            addend = register(m, Mux(adds, Cat(next_y[:-1], next_y[-1] ^ subtracts), minus_zero), f"addend_{lane}")
            found, passed = functions.found[lane], functions.passed[lane]
            x = Mux(functions.by_table, found, register(m, passed, f"passed_{lane}"))
            early = register(m, Mux(rotates, register(m, times.o, f"product_{lane}"), passed), f"early_{lane}")
            augend = Mux(sum_by_table, found, early)
            picked = delay(m, choice.a, ADD_CYCLES - CHOICE_CYCLES, f"picked_{lane}", reset_less=True)
            not_zero = delay(m, ~Fields(y).zero, ADD_CYCLES, name=f"not_zero_{lane}", reset_less=True)
            m.d.comb += [
                times.a.eq(Mux(of_operand, operand, choice.first)),
                times.b.eq(Mux(of_operand, factor, choice.second)),
                choice.combine.eq(combine),
                choice.x.eq(x),
                choice.y.eq(y),
                plus.a.eq(Cat(augend[:-1], augend[-1] ^ subtracts_from)),
                plus.b.eq(Mux(rotates, times.o, addend)),
                self.o[lane].eq(Mux(multiplies, times.o, Mux(choice.counts, picked, plus.o))),
                self.chosen[lane].eq(~selects | not_zero),
            ]
