"""Activations of VECTOR: one form, y = gate · rcp(1 + exp2(x · P(min(x², limit)))) + constant, covers all but relu.

P is a polynomial of four Horner steps; `numerics.ACTIVATION_COEFFICIENTS` has the numbers of each function. `none` and
`relu` take the delay line that carries x past the form, so every function takes ACTIVATION_CYCLES.
"""

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import ACTIVATION_CYCLES, ADD_CYCLES, MULTIPLY_CYCLES, TABLE_CYCLES
from ..arch.isa import Activation
from ..arch.numerics import ACTIVATION_COEFFICIENTS
from .float import ONE, Add, Exp2, Multiply, Reciprocal, constant, upper
from .pipeline import delay

_STEPS = 4  # of Horner's rule
_STEP_CYCLES = MULTIPLY_CYCLES + ADD_CYCLES
_SQUARE_CYCLES = MULTIPLY_CYCLES + 1  # x² and its limit
_POLYNOMIAL_CYCLES = _SQUARE_CYCLES + _STEPS * _STEP_CYCLES
_GATE_CYCLES = _POLYNOMIAL_CYCLES + MULTIPLY_CYCLES + TABLE_CYCLES + ADD_CYCLES + TABLE_CYCLES


def setting_layout(precision: int) -> data.StructLayout:
    """What the lanes need to know of a function; numbers are the bits of floats."""
    bits = 8 + precision
    return data.StructLayout({
        "coefficients": data.ArrayLayout(bits, _STEPS + 1),  # of u⁴, u³, u², u, 1
        "limit": bits,
        "gate": bits,
        "gate_is_x": 1,
        "constant": bits,
        "bypass": 1,  # relu or none
        "relu": 1,
    })  # fmt: skip


def setting_of(m: Module, kind: Value, precision: int) -> data.View:
    """The setting for the function with code `kind`, decoded once for all lanes."""
    layout = setting_layout(precision)
    setting = data.View(layout, Signal(layout.size, name="setting"))
    with m.Switch(kind):
        for function, c in ACTIVATION_COEFFICIENTS.items():
            with m.Case(function):
                m.d.comb += [setting.coefficients[i].eq(constant(p, precision)) for i, p in enumerate(c.p)]
                m.d.comb += [
                    setting.limit.eq(constant(c.limit, precision)),
                    setting.gate.eq(0 if c.gate is None else constant(c.gate, precision)),
                    setting.gate_is_x.eq(c.gate is None),
                    setting.constant.eq(constant(c.constant, precision)),
                ]
        with m.Case(Activation.RELU):
            m.d.comb += [setting.bypass.eq(1), setting.relu.eq(1)]
        with m.Default():
            m.d.comb += setting.bypass.eq(1)
    return setting


class ActivationLane(wiring.Component):
    """o = f(a), ACTIVATION_CYCLES later, one value a cycle. `setting` holds still while values are under way.

    `a` and `o` are the bits of floats of `precision` significand bits; `a` is clean (no subnormals, one NaN), as every
    operator leaves it.
    """

    def __init__(self, precision: int):
        self._precision = precision
        bits = 8 + precision
        super().__init__({"a": In(bits), "setting": In(setting_layout(precision)), "o": Out(bits)})

    def elaborate(self, platform) -> Module:
        m = Module()
        setting, precision = self.setting, self._precision
        m.submodules.square = square = Multiply(precision)
        # x² is not negative, or it is NaN, which the bits order last: they compare like integers.
        u = Signal.like(self.a)
        m.d.comb += [square.a.eq(self.a), square.b.eq(self.a)]
        m.d.sync += u.eq(Mux(square.o < setting.limit, square.o, setting.limit))

        polynomial: Value = setting.coefficients[0]
        for step in range(_STEPS):
            m.submodules[f"times_{step}"] = times = Multiply(precision)
            m.submodules[f"plus_{step}"] = plus = Add(precision)
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

        m.submodules.exponent = exponent = Multiply(precision)
        m.submodules.exp2 = exp2 = Exp2(precision)
        m.submodules.one_plus = one_plus = Add(precision)
        m.submodules.rcp = rcp = Reciprocal(precision)
        m.submodules.gate = gate = Multiply(precision)
        m.submodules.plus = plus = Add(precision)
        relu_negative = setting.relu & x_at_end[-1]
        m.d.comb += [
            exponent.a.eq(polynomial),
            exponent.b.eq(x_at_polynomial),
            exp2.a.eq(exponent.o),
            one_plus.a.eq(exp2.o),
            one_plus.b.eq(upper(ONE, len(self.a))),
            rcp.a.eq(one_plus.o),
            gate.a.eq(rcp.o),
            gate.b.eq(Mux(setting.gate_is_x, x_at_gate, setting.gate)),
            plus.a.eq(gate.o),
            plus.b.eq(setting.constant),
            self.o.eq(Mux(setting.bypass, Mux(relu_negative, 0, x_at_end), plus.o)),
        ]
        return m
