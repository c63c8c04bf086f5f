"""The scalar registers, and what they change of an instruction on its way to a queue: sizes, places, whether a guard
holds.

    word ─ adjustments ─► numbers ─► registers ─► beside the word in the fetch buffer ─ Adjust ─► queue

Whatever a register changes becomes clamp(scalar + addend, least, limit), the last three of which the word says. So they
are found out as it arrives, and what is left for the cycle of its dispatch are three additions side by side.
"""

from types import SimpleNamespace
from typing import NamedTuple

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..arch.config import INSTRUCTION_BITS, SCALAR_COUNT, HardwareConfig
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

ADDEND = signed(21)  # places have 20 bits
ADJUSTMENT = data.StructLayout({
    "scalar": unsigned(SCALAR_BITS),
    "addend": ADDEND,
    "lack": ADDEND,  # addend − least
    "excess": ADDEND,  # addend − limit − 1
    "least": unsigned(1),
})  # fmt: skip
ADJUSTMENTS = data.StructLayout({
    "changes": unsigned(len(TARGETS)),  # bit i: the field of TARGETS[i] is the one that changes
    "values": data.ArrayLayout(ADJUSTMENT, LOOKUPS),
})  # fmt: skip


class Change(NamedTuple):
    """A field becomes clamp(scalar[register] + addend, least, limit), if the number of the register is not 0."""

    register: Value
    addend: Value
    lack: Value  # addend − least
    excess: Value | int  # addend − limit − 1
    limit: Value | int
    least: int


class ScalarFile(wiring.Component):
    """SCALAR_COUNT registers: parts of `data` that `mask` selects go to number `number`; `values[i]` is `numbers[i]`.

    Number 0 stays 0. They are a small RAM, which a reset does not reach, so after one they are zeroed one by one:
    until then `ready` is low, and nothing is written.
    """

    def __init__(self, ports: int):
        super().__init__({
            "ready": Out(1),
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
        zeroed = Signal(range(SCALAR_COUNT + 1))  # registers that are since the reset
        m.d.comb += self.ready.eq(zeroed[-1])
        with m.If(self.ready):
            m.d.comb += [
                write.addr.eq(self.number),
                write.data.eq(self.data),
                write.en.eq(Mux(self.number == 0, 0, self.mask)),
            ]
        with m.Else():
            m.d.comb += [write.addr.eq(zeroed), write.en.eq(~0)]
            m.d.sync += zeroed.eq(zeroed + 1)
        for number, value in zip(self.numbers, self.values, strict=True):
            read = words.read_port(domain="comb")
            m.d.comb += [read.addr.eq(number), value.eq(read.data)]
        return m


def adjustments(config: HardwareConfig, instruction: type[Instruction], word: Value) -> list[Change]:
    """What registers change of `instruction`, or decide, in the order of ADJUSTED. A field that is signed counts from
    its least value on."""
    view = fields_of(instruction, word)
    if instruction is Guard:  # it holds if it is above the least
        return [Change(view.register, -view.threshold, _inverse(view.threshold), 0, 0, 1)]
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
        Change(view.register, columns, columns - 1, columns + _inverse(view.columns), view.columns, 1),
    ]


def _size(register: Value, size: Value, offset: Value) -> Change:
    return Change(register, -offset, _inverse(offset), _inverse(offset + size), size, 1)


def _inverse(value: Value) -> Value:
    """−value − 1, without a carry."""
    return ~Cat(value, Const(0, 1)).as_signed()


def _place(register: Value, place: Value, limit: int = 0) -> Change:
    """A place of so many bits that may go on to `limit`, or to the greatest there is."""
    limit = limit or (1 << len(place)) - 1
    return Change(register, place, place, place - (limit + 1), limit, 0)


def _signed_place(register: Value, place: Value) -> Change:
    return _place(register, (place + (1 << len(place) - 1))[: len(place)])


class Adjust(wiring.Component):
    """`o` is the instruction word `i` as `Instruction.resolved` of arch/isa gives it, but that it still names the
    registers, which no unit looks at; `holds` is for a guard: its register is above the threshold. Combinational.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__({
            "i": In(INSTRUCTION_BITS),
            "adjustments": In(ADJUSTMENTS),
            "o": Out(INSTRUCTION_BITS),
            "holds": Out(1),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        found = [self._sum(m, place) for place in range(LOOKUPS)]
        m.d.comb += [self.o.eq(self.i), self.holds.eq(~found[0].low)]
        for bit, (instruction, place) in enumerate(TARGETS):
            name = ADJUSTED[instruction][place]
            field = getattr(fields_of(instruction, self.o), name)
            limit = adjustments(self._config, instruction, self.i)[place].limit
            value = Mux(found[place].high, limit, found[place].value)[: len(field)]
            least = 1 << len(field) - 1 if encoding(instruction)[name][1].signed else 0
            with m.If(self.adjustments.changes[bit]):
                m.d.comb += field.eq(value ^ least)
        return m

    def _sum(self, m: Module, place: int) -> SimpleNamespace:
        """scalar + addend, held to its least value (`low`: it is that), and whether it is at its limit, or beyond."""
        adjustment = self.adjustments["values"][place]
        wide = signed(SCALAR_BITS + 2)
        above, beyond = Signal(wide, name=f"above_{place}"), Signal(wide, name=f"beyond_{place}")
        total, low = Signal(ADDEND.width - 1, name=f"total_{place}"), Signal(name=f"low_{place}")
        m.d.comb += [
            total.eq(adjustment.scalar + adjustment.addend),
            above.eq(adjustment.scalar + adjustment.lack),
            beyond.eq(adjustment.scalar + adjustment.excess),
            low.eq(above < 0),
        ]
        value = Mux(low, adjustment.least, total)
        return SimpleNamespace(value=value, low=low, high=beyond >= 0)
