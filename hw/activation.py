"""Activations of VECTOR: one form, y = gate · rcp(1 + exp2(x · P(min(x², limit)))) + constant, covers all but relu.

P is a polynomial of four Horner steps; `numerics.ACTIVATION_COEFFICIENTS` has the numbers of each function. `none` and
`relu` take the delay line that carries x past the form, so every function takes ACTIVATION_CYCLES.
"""

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import ACTIVATION_CYCLES, ADD_CYCLES, MULTIPLY_CYCLES, TABLE_CYCLES
from ..arch.isa import Activation
from ..arch.numerics import ACTIVATION_COEFFICIENTS, to_bits
from .float import ONE, Add, Exp2, Multiply, Reciprocal
from .pipeline import delay

_STEPS = 4  # of Horner's rule
_STEP_CYCLES = MULTIPLY_CYCLES + ADD_CYCLES
_SQUARE_CYCLES = MULTIPLY_CYCLES + 1  # x² and its limit
_POLYNOMIAL_CYCLES = _SQUARE_CYCLES + _STEPS * _STEP_CYCLES
_GATE_CYCLES = _POLYNOMIAL_CYCLES + MULTIPLY_CYCLES + TABLE_CYCLES + ADD_CYCLES + TABLE_CYCLES


# What the lanes need to know of a function; numbers are the bits of float32.
SETTING = data.StructLayout({
    "coefficients": data.ArrayLayout(32, _STEPS + 1),  # of u⁴, u³, u², u, 1
    "limit": 32,
    "gate": 32,
    "gate_is_x": 1,
    "constant": 32,
    "bypass": 1,  # relu or none
    "relu": 1,
})  # fmt: skip


def setting_of(m: Module, kind: Value) -> data.View:
    """The setting for the function with code `kind`, decoded once for all lanes."""
    setting = data.View(SETTING, Signal(SETTING.size, name="setting"))
    with m.Switch(kind):
        for function, c in ACTIVATION_COEFFICIENTS.items():
            with m.Case(function):
                m.d.comb += [setting.coefficients[i].eq(int(to_bits(p))) for i, p in enumerate(c.p)]
                m.d.comb += [
                    setting.limit.eq(int(to_bits(c.limit))),
                    setting.gate.eq(0 if c.gate is None else int(to_bits(c.gate))),
                    setting.gate_is_x.eq(c.gate is None),
                    setting.constant.eq(int(to_bits(c.constant))),
                ]
        with m.Case(Activation.RELU):
            m.d.comb += [setting.bypass.eq(1), setting.relu.eq(1)]
        with m.Default():
            m.d.comb += setting.bypass.eq(1)
    return setting


class ActivationLane(wiring.Component):
    """o = f(a), ACTIVATION_CYCLES later, one value a cycle. `setting` holds still while values are under way.

    `a` and `o` are the bits of float32; `a` is clean (no subnormals, one NaN), as every float32 operator leaves it.
    """

    def __init__(self):
        super().__init__({"a": In(32), "setting": In(SETTING), "o": Out(32)})

    def elaborate(self, platform) -> Module:
        m = Module()
        setting = self.setting
        m.submodules.square = square = Multiply()
        # x² is not negative, or it is NaN, which the bits order last: they compare like integers.
        u = Signal(32)
        m.d.comb += [square.a.eq(self.a), square.b.eq(self.a)]
        m.d.sync += u.eq(Mux(square.o < setting.limit, square.o, setting.limit))

        polynomial: Value = setting.coefficients[0]
        for step in range(_STEPS):
            m.submodules[f"times_{step}"] = times = Multiply()
            m.submodules[f"plus_{step}"] = plus = Add()
            m.d.comb += [
                times.a.eq(polynomial),
                times.b.eq(u),
                plus.a.eq(times.o),
                plus.b.eq(setting.coefficients[step + 1]),
            ]
            polynomial = plus.o
            if step < _STEPS - 1:
                u = delay(m, u, _STEP_CYCLES, name=f"u_{step + 1}", reset_less=True)

        # x is needed again beside the polynomial, as the gate, and at the end if it is to pass: one line, three taps.
        x_at_polynomial = delay(m, self.a, _POLYNOMIAL_CYCLES, name="x_at_polynomial", reset_less=True)
        x_at_gate = delay(m, x_at_polynomial, _GATE_CYCLES - _POLYNOMIAL_CYCLES, name="x_at_gate", reset_less=True)
        x_at_end = delay(m, x_at_gate, ACTIVATION_CYCLES - _GATE_CYCLES, name="x_at_end", reset_less=True)

        m.submodules.exponent = exponent = Multiply()
        m.submodules.exp2 = exp2 = Exp2()
        m.submodules.one_plus = one_plus = Add()
        m.submodules.rcp = rcp = Reciprocal()
        m.submodules.gate = gate = Multiply()
        m.submodules.plus = plus = Add()
        relu_negative = setting.relu & x_at_end[31]
        m.d.comb += [
            exponent.a.eq(polynomial),
            exponent.b.eq(x_at_polynomial),
            exp2.a.eq(exponent.o),
            one_plus.a.eq(exp2.o),
            one_plus.b.eq(ONE),
            rcp.a.eq(one_plus.o),
            gate.a.eq(rcp.o),
            gate.b.eq(Mux(setting.gate_is_x, x_at_gate, setting.gate)),
            plus.a.eq(gate.o),
            plus.b.eq(setting.constant),
            self.o.eq(Mux(setting.bypass, Mux(relu_negative, 0, x_at_end), plus.o)),
        ]
        return m
