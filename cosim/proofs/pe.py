"""A processing element multiplies and adds: the sums of a long multiplication by hand."""

from __future__ import annotations

from amaranth import Const, Mux, Signal, Value, signed
from amaranth.hdl import Fragment

from ...hw.pe import Pe
from .engine import Design, inner
from .registry import proof


@proof("int8 processing element", slow=True)
def int8() -> Design:
    """Beside it weights that are captured and swapped, and products bit by bit."""
    d = Design()
    pe = Pe("int8")
    fragment = Fragment.get(pe, None)
    d.place(pe, fragment=fragment)
    weight, activation = (d.register(signed(8), name, port) for name, port in (
        ("weight", pe.weight_in), ("activation", pe.activation_in)))  # fmt: skip
    capture, swap = (d.register(1, name, port) for name, port in (("capture", pe.capture_in), ("swap", pe.swap_in)))
    shadow, active = Signal(signed(8)), Signal(signed(8))
    with d.m.If(capture):
        d.m.d.sync += shadow.eq(weight)
    with d.m.If(swap):
        d.m.d.sync += active.eq(shadow)
    product = d.register(signed(16), "product", _long_multiplication(activation, active))
    total = d.register(signed(32), "total", pe.sum_in + product)
    d.properties |= {
        "the weights that wait and that are in use": (inner(fragment, "shadow") == shadow) & (
            inner(fragment, "active") == active
        ),
        "a product of 8 × 8 bits": inner(fragment, "product") == product,
        "the sum from above, and the product of the weight in use": pe.sum_out == total,
        "what comes from the left goes on to the right": (pe.activation_out == activation) & (pe.swap_out == swap),
        "what comes from above goes on below": (pe.weight_out == weight) & (pe.capture_out == capture),
    }
    d.covers |= {"−128 times −128": product == 1 << 14}
    return d


def _long_multiplication(a: Value, b: Value) -> Value:
    """a·b of signed numbers: a row for each bit of b, the last of which counts for less than nothing."""
    rows = [Mux(b[bit], a << bit if bit < 7 else -(a << 7), Const(0)) for bit in range(8)]
    return sum(rows[1:], rows[0])
