"""What scalar registers change of an instruction on its way to a queue: sizes, places, and whether a guard holds."""

from amaranth import Array, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import INSTRUCTION_BITS, SCALAR_COUNT, HardwareConfig
from ..arch.isa import Append, Guard, Instruction, Matmul, OnlineSoftmax, Stream
from .instructions import fields_of, opcode_of

SCALAR_BITS = 32

# The register fields of each instruction that has any: no more than one look-up each in `first` and `second`.
LOOKUPS: dict[type[Instruction], tuple[str, ...]] = {
    Guard: ("register",),
    Matmul: ("n_register", "k_register"),
    OnlineSoftmax: ("register",),
    Append: ("block_register", "slot_register"),
    Stream: ("count_register", "first_register"),
}


class Scalars(wiring.Component):
    """`o` is the instruction word `i` as `Instruction.resolved` of arch/isa gives it, for the values in `registers`.

    `holds` is for a guard: its register is above the threshold. Combinational. Register 0 stands for no register, and
    for the value 0 in a guard.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__({
            "registers": In(SCALAR_BITS).array(SCALAR_COUNT),
            "i": In(INSTRUCTION_BITS),
            "o": Out(INSTRUCTION_BITS),
            "holds": Out(1),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        numbers = [Signal(range(SCALAR_COUNT), name=f"number_{place}") for place in range(2)]
        first, second = (Signal(SCALAR_BITS, name=f"scalar_{place}") for place in range(2))
        registers = Array(self.registers)
        m.d.comb += [self.o.eq(self.i), first.eq(registers[numbers[0]]), second.eq(registers[numbers[1]])]
        with m.Switch(opcode_of(self.i)):
            for instruction, names in LOOKUPS.items():
                view, out = fields_of(instruction, self.i), fields_of(instruction, self.o)
                with m.Case(instruction.opcode):
                    m.d.comb += [number.eq(getattr(view, name)) for number, name in zip(numbers, names, strict=False)]
                    if instruction is Guard:
                        m.d.comb += self.holds.eq(first > view.threshold)
                        continue
                    m.d.comb += [getattr(out, name).eq(0) for name in names]
                    for field, value in self._changes(m, instruction, view, first, second).items():
                        m.d.comb += getattr(out, field).eq(value)
        return m

    def _changes(self, m: Module, instruction: type[Instruction], view, first: Signal, second: Signal):
        """Field → value, for the fields of `instruction` that registers change."""
        if instruction is Matmul:
            return {
                "n_tiles": _sized(view.n_tiles, view.n_register, first, view.n_offset),
                "k_tiles": _sized(view.k_tiles, view.k_register, second, view.k_offset),
            }
        if instruction is Stream:
            return {
                "blocks": _sized(view.blocks, view.count_register, first, view.count_offset),
                "first": _advanced(view.first, view.first_register, second, (1 << len(view.first)) - 1),
            }
        if instruction is Append:
            return {
                "block": _advanced(view.block, view.block_register, first, (1 << len(view.block)) - 1),
                "slot": _advanced(view.slot, view.slot_register, second, self._config.columns - 1),
            }
        assert instruction is OnlineSoftmax
        limit = 1 << len(view.offset) - 1
        offset = Signal.like(view.offset, name="offset")
        m.d.comb += offset.eq(_clamp(view.offset + first, -limit, limit - 1))
        columns = _clamp(offset + Mux(view.together, 1, view.rows), 1, view.columns)
        chosen = view.register != 0
        return {"offset": Mux(chosen, offset, view.offset), "columns": Mux(chosen, columns, view.columns)}


def _sized(size: Value, register: Value, scalar: Value, offset: Value) -> Value:
    """A size of at most `size` by a register, at least 1."""
    return Mux(register != 0, _clamp(scalar - offset, 1, size), size)


def _advanced(place: Value, register: Value, scalar: Value, limit: int) -> Value:
    """A place moved on by a register, to `limit` at most."""
    return Mux(register != 0, _clamp(place + scalar, 0, limit), place)


def _clamp(value: Value, low: Value | int, high: Value | int) -> Value:
    """`high` also where it is below `low`."""
    least = Mux(value < low, low, value)
    return Mux(least > high, high, least)
