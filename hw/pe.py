"""The processing element of the systolic array: one multiplication and one addition per cycle, weight-stationary.

      activation, swap, capture ──►┌───────────┐──► to the PE on the right, a cycle later
                                   │ shadow    │
               weight, sum from ──►│ active    │──► weight, sum to the PE below
               the PE above        └───────────┘
The number format is a parameter: `FORMATS` says how wide operands and sums are and how they are multiplied and added.
"""

from collections.abc import Callable
from dataclasses import dataclass

from amaranth import Module, Shape, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


@dataclass(frozen=True)
class PeFormat:
    """What a PE computes with: shapes of its numbers, and the operations on them."""

    operand: Shape
    product: Shape
    sum: Shape
    multiply: Callable[[Value, Value], Value]
    add: Callable[[Value, Value], Value]


# HardwareConfig.pe → format. int8: products are exact in 16 bits, sums wrap around in 32.
FORMATS = {
    "int8": PeFormat(
        operand=signed(8), product=signed(16), sum=signed(32), multiply=lambda a, b: a * b, add=lambda a, b: a + b
    )
}


class Pe(wiring.Component):
    """Adds activation · weight to the sum from above.

    An `activation` at t meets the `sum_in` at t + 2, and `sum_out` shows their sum at t + 3. All `_out` ports but that
    show the `_in` port of the cycle before. Loading a weight is hidden behind the use of the last one: the `weight_in`
    that comes together with `capture_in` goes to a shadow register, and the `swap_in` that comes together with an
    activation puts the shadow into use from the next activation on. `swap_in` comes at least one cycle after the
    `capture_in` of its weight, and no later than that of the next.
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
        product = _register(m, self.format.multiply(activation, active), "product")
        total = _register(m, self.format.add(self.sum_in, product), "total", self.format.sum)
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
