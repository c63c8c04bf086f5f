"""The processing element of the systolic array: one multiplication and one addition per cycle, weight-stationary.

      activation, swap, capture ──►┌───────────┐──► to the PE on the right, a cycle later
                                   │ shadow    │
               weight, sum from ──►│ active    │──► weight, sum to the PE below
               the PE above        └───────────┘
The number format is a parameter: `FORMATS` says how wide operands and sums are and how they are multiplied and added.
"""

from collections.abc import Callable
from dataclasses import dataclass

from amaranth import Cat, Const, Module, Shape, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .float import Add, Multiply


@dataclass(frozen=True)
class PeFormat:
    """What a PE computes with: shapes of its numbers, and the operations on them.

    `multiply` and `add` put a pipeline into a module and return its result, which is valid `array_multiply_cycles` and
    `array_add_cycles` of `HardwareConfig` after the operands. To add `nothing` leaves a sum as it is, bit for bit.
    """

    operand: Shape
    sum: Shape
    nothing: int
    multiply: Callable[[Module, Value, Value, str], Value]
    add: Callable[[Module, Value, Value, str], Value]


def _multiply_int8(m: Module, a: Value, b: Value, name: str) -> Value:
    return _register(m, a * b, name)


def _add_int32(m: Module, a: Value, b: Value, name: str) -> Value:
    return _register(m, a + b, name, signed(32))


def _multiply_bf16(m: Module, a: Value, b: Value, name: str) -> Value:
    m.submodules[name] = times = Multiply()
    m.d.comb += [times.a.eq(Cat(Const(0, 16), a)), times.b.eq(Cat(Const(0, 16), b))]  # the upper half of a float32
    return times.o


def _add_float32(m: Module, a: Value, b: Value, name: str) -> Value:
    m.submodules[name] = plus = Add()
    m.d.comb += [plus.a.eq(a), plus.b.eq(b)]
    return plus.o


# HardwareConfig.pe → format. int8: products are exact in 16 bits, sums wrap around in 32. bf16: products are exact in
# float32 (but for those below 2⁻¹²⁶, which are zeros), sums are rounded one by one; −0 is what leaves −0 as it is.
FORMATS = {
    "int8": PeFormat(operand=signed(8), sum=signed(32), nothing=0, multiply=_multiply_int8, add=_add_int32),
    "bf16": PeFormat(
        operand=unsigned(16), sum=unsigned(32), nothing=0x8000_0000, multiply=_multiply_bf16, add=_add_float32
    ),
}


class Pe(wiring.Component):
    """Adds activation · weight to the sum from above.

    An `activation` at t meets the `sum_in` at t + 1 + `array_multiply_cycles`, and `sum_out` shows their sum
    `array_add_cycles` later. All `_out` ports but that show the `_in` port of the cycle before.

    Loading a weight is hidden behind the use of the last one: the `weight_in` that comes together with `capture_in`
    goes to a shadow register, and the `swap_in` that comes together with an activation puts the shadow into use from
    the next activation on. `swap_in` comes at least one cycle after the `capture_in` of its weight, and no later than
    that of the next.
    """

    def __init__(self, pe: str = "int8"):
        self.format = FORMATS[pe]
        super().__init__({
            "activation_in": In(self.format.operand),
            "activation_out": Out(self.format.operand),
            "swap_in": In(1),
            "swap_out": Out(1),
            "capture_in": In(1),
            "capture_out": Out(1),
            "weight_in": In(self.format.operand),
            "weight_out": Out(self.format.operand),
            "sum_in": In(self.format.sum),
            "sum_out": Out(self.format.sum),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        activation = _register(m, self.activation_in, "activation")
        swap = _register(m, self.swap_in, "swap")
        capture = _register(m, self.capture_in, "capture")
        weight = _register(m, self.weight_in, "weight")
        shadow = Signal(self.format.operand, reset_less=True)
        active = Signal(self.format.operand, reset_less=True)
        with m.If(capture):
            m.d.sync += shadow.eq(weight)
        with m.If(swap):
            m.d.sync += active.eq(shadow)
        # The product has a register of its own, so that a cycle holds a multiplication or an addition, not both.
        product = self.format.multiply(m, activation, active, "product")
        total = self.format.add(m, self.sum_in, product, "total")
        m.d.comb += [
            self.activation_out.eq(activation),
            self.swap_out.eq(swap),
            self.capture_out.eq(capture),
            self.weight_out.eq(weight),
            self.sum_out.eq(total),
        ]
        return m


def _register(m: Module, value: Value, name: str, shape: Shape | None = None) -> Signal:
    """`value` a cycle later. Without reset, for area: what a PE holds at reset is never part of a result."""
    register = Signal(shape or value.shape(), name=name, reset_less=True)
    m.d.sync += register.eq(value)
    return register
