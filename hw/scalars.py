"""The scalar registers, and what they change of an instruction on its way to a queue: sizes, places, whether a guard
holds.

    word ─ adjustments ─► numbers ─► registers ─► fetch buffer ─ Adjust ─► replacements ─► queue ─ Replace ─► unit

Whatever a register changes becomes clamp(scalar + addend, least, limit), the last three of which the word says. So they
are found out as it arrives, and what is left for the cycle of its dispatch are three additions side by side.
"""

from types import SimpleNamespace
from typing import NamedTuple

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..arch.config import INSTRUCTION_BITS, SCALAR_COUNT, HardwareConfig, Unit
from ..arch.encoding import encoding
from ..arch.isa import Append, Guard, IndexMap, Instruction, Matmul, OnlineSoftmax, Stream
from .instructions import fields_of

SCALAR_BITS = 32
NUMBER = range(SCALAR_COUNT)
LOOKUPS = 2  # registers that one instruction names, at most

# What registers change of each instruction; the register of a guard changes nothing, it decides.
ADJUSTED: dict[type[Instruction], tuple[str, ...]] = {
    Matmul: ("n_tiles", "k_tiles"),
    OnlineSoftmax: ("offset", "columns"),
    Append: ("block", "slot"),
    Stream: ("blocks", "first"),
    IndexMap: ("number",),
}
TARGETS = [(instruction, place) for instruction, names in ADJUSTED.items() for place, _ in enumerate(names)]

PLACE_BITS = 20  # of the widest field that changes
ADDEND = signed(PLACE_BITS + 1)
KEPT_BITS = PLACE_BITS + 2  # of a scalar; the highest one stands for all above, with any of which it is beyond limits
ADJUSTMENT = data.StructLayout({
    "scalar": unsigned(KEPT_BITS),
    "lack": ADDEND,  # addend − least
    "excess": ADDEND,  # addend − limit − 1
    "least": unsigned(1),
})  # fmt: skip
ADJUSTMENTS = data.StructLayout({
    "changes": unsigned(len(TARGETS)),  # bit i: the field of TARGETS[i] is the one that changes
    "values": data.ArrayLayout(ADJUSTMENT, LOOKUPS),
})  # fmt: skip
REPLACEMENTS = data.StructLayout({
    "changes": unsigned(len(TARGETS)),  # bit i: the field of TARGETS[i] becomes
    "values": data.ArrayLayout(PLACE_BITS, LOOKUPS),  # … this
})  # fmt: skip


class Change(NamedTuple):
    """A field becomes clamp(scalar[register] + addend, least, limit), if the number of the register is not 0."""

    register: Value
    lack: Value  # addend − least
    excess: Value | int  # addend − limit − 1
    limit: Value | int
    least: int


class ScalarFile(wiring.Component):
    """SCALAR_COUNT registers: parts of `data` that `mask` selects go to number `number`; `values[i]` is `numbers[i]`.

    They are a small RAM, which a reset does not reach: whoever writes must zero them after one, and leave number 0.
    """

    def __init__(self, ports: int):
        super().__init__({
            "mask": In(SCALAR_BITS // 8),
            "number": In(NUMBER),
            "data": In(SCALAR_BITS),
            "numbers": In(NUMBER).array(ports),
            "values": Out(SCALAR_BITS).array(ports),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.words = words = Memory(shape=unsigned(SCALAR_BITS), depth=SCALAR_COUNT, init=[])
        write = words.write_port(granularity=8)
        m.d.comb += [write.addr.eq(self.number), write.data.eq(self.data), write.en.eq(self.mask)]
        for number, value in zip(self.numbers, self.values, strict=True):
            read = words.read_port(domain="comb")
            m.d.comb += [read.addr.eq(number), value.eq(read.data)]
        return m


def adjustments(config: HardwareConfig, instruction: type[Instruction], word: Value) -> list[Change]:
    """What registers change of `instruction`, or decide, in the order of ADJUSTED. A field that is signed counts from
    its least value on."""
    view = fields_of(instruction, word)
    if instruction is Guard:  # it holds if it is above the least
        return [Change(view.register, _inverse(view.threshold), 0, 0, 1)]
    if instruction is Matmul:
        return [
            _size(view.n_register, view.n_tiles, view.n_offset),
            _size(view.k_register, view.k_tiles, view.k_offset),
        ]
    if instruction is Stream:
        return [_size(view.count_register, view.blocks, view.count_offset), _place(view.first_register, view.first)]
    if instruction is Append:
        return [
            _place(view.block_register, view.block),
            _place(view.slot_register, view.slot, config.columns - 1),
        ]
    if instruction is IndexMap:
        return [_signed_place(view.register, view.number)]
    assert instruction is OnlineSoftmax
    # The columns follow from the offset before it is clamped, too: beyond its ends they are all, or one.
    columns = view.offset + Mux(view.together, 1, view.rows)
    return [
        _signed_place(view.register, view.offset),
        Change(view.register, columns - 1, columns + _inverse(view.columns), view.columns, 1),
    ]


def _size(register: Value, size: Value, offset: Value) -> Change:
    return Change(register, _inverse(offset), _inverse(offset + size), size, 1)


def _inverse(value: Value) -> Value:
    """−value − 1, without a carry."""
    return ~Cat(value, Const(0, 1)).as_signed()


def _place(register: Value, place: Value, limit: int = 0) -> Change:
    """A place of so many bits that may go on to `limit`, or to the greatest there is."""
    limit = limit or (1 << len(place)) - 1
    return Change(register, place, place - (limit + 1), limit, 0)


def _signed_place(register: Value, place: Value) -> Change:
    return _place(register, (place + (1 << len(place) - 1))[: len(place)])


def kept(scalar: Value) -> Value:
    """What `Adjust` needs to know of a scalar."""
    return Cat(scalar[: KEPT_BITS - 1], scalar[KEPT_BITS - 1 :].any())


class Adjust(wiring.Component):
    """`o` is what of an instruction becomes another than its word says, as `Instruction.resolved` of arch/isa has it.
    A signed field counts from its least value on. `holds` is for a guard: its register is above the threshold.
    Combinational.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__({"adjustments": In(ADJUSTMENTS), "o": Out(REPLACEMENTS), "holds": Out(1)})

    def elaborate(self, platform) -> Module:
        m = Module()
        found = [self._sum(m, place) for place in range(LOOKUPS)]
        m.d.comb += [self.o["values"][place].eq(each.value) for place, each in enumerate(found)]
        m.d.comb += [self.o.changes.eq(self.adjustments.changes), self.holds.eq(~found[0].low)]
        for bit, (instruction, place) in enumerate(TARGETS):
            limit = adjustments(self._config, instruction, Const(0, INSTRUCTION_BITS))[place].limit
            with m.If(self.adjustments.changes[bit] & found[place].high):
                if isinstance(limit, int):
                    m.d.comb += self.o["values"][place].eq(limit)
                else:  # that is the field as it stands
                    m.d.comb += self.o.changes[bit].eq(0)
        return m

    def _sum(self, m: Module, place: int) -> SimpleNamespace:
        """scalar + addend, held to its least value (`low`: it is that), and whether it is beyond its limit."""
        adjustment = self.adjustments["values"][place]
        wide = signed(KEPT_BITS + 2)
        above, beyond = Signal(wide, name=f"above_{place}"), Signal(wide, name=f"beyond_{place}")
        total, low = Signal(PLACE_BITS, name=f"total_{place}"), Signal(name=f"low_{place}")
        scalar_and_carry = Cat(Const(1, 1), adjustment.scalar)
        m.d.comb += [
            total.eq((scalar_and_carry + Cat(adjustment.least, adjustment.lack)) >> 1),
            above.eq(adjustment.scalar + adjustment.lack),
            beyond.eq(adjustment.scalar + adjustment.excess),
            low.eq(above < 0),
        ]
        return SimpleNamespace(value=Mux(low, adjustment.least, total), low=low, high=beyond >= 0)


class Replace(wiring.Component):
    """`o` is the instruction word `i` of `unit` with what `replacements` change of it. It still names the registers,
    which no unit looks at. Combinational.

    Of REPLACEMENTS a unit needs but a few bits: `packed` has them, in `layout`.
    """

    def __init__(self, unit: Unit):
        self.targets = [(bit, *target) for bit, target in enumerate(TARGETS) if target[0].unit is unit]
        self._widths = [0] * LOOKUPS
        for _, instruction, place in self.targets:
            _, field = encoding(instruction)[ADJUSTED[instruction][place]]
            self._widths[place] = max(self._widths[place], field.bits)
        values = {str(place): unsigned(width) for place, width in enumerate(self._widths)}
        self.layout = data.StructLayout(
            {"changes": unsigned(len(self.targets)), "values": data.StructLayout(values)}
        )  # fmt: skip
        super().__init__({"i": In(INSTRUCTION_BITS), "replacements": In(self.layout), "o": Out(INSTRUCTION_BITS)})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.d.comb += self.o.eq(self.i)
        for number, (_, instruction, place) in enumerate(self.targets):
            name = ADJUSTED[instruction][place]
            field = getattr(fields_of(instruction, self.o), name)
            least = 1 << len(field) - 1 if encoding(instruction)[name][1].signed else 0
            with m.If(self.replacements.changes[number]):
                m.d.comb += field.eq(self.replacements["values"][str(place)][: len(field)] ^ least)
        return m

    def packed(self, replacements) -> Value:
        """The bits of `replacements` that the unit has instructions for."""
        changes = [replacements.changes[bit] for bit, *_ in self.targets]
        return Cat(changes, (replacements["values"][place][:width] for place, width in enumerate(self._widths)))
