"""Registers in a row: how a value waits for its companions in a pipeline that never stalls."""

from amaranth.hdl import Module, Shape, Signal, Value, ValueLike


def delay(m: Module, signal: ValueLike, cycles: int, name: str | None = None) -> Value:
    """`signal` as it was `cycles` cycles earlier (≥ 0; 0 gives back `signal`), through `cycles` registers.

    The registers start, and restart after reset, as zeros, so a delayed `valid` needs no further care.
    """
    if cycles < 0:
        raise ValueError(f"a delay must be at least 0 cycles, not {cycles}")
    value = Value.cast(signal)
    if name is None:
        name = value.name if isinstance(value, Signal) else "value"
    for stage in range(1, cycles + 1):
        register = Signal(Shape.cast(value.shape()), name=f"{name}_{stage}")
        m.d.sync += register.eq(value)
        value = register
    return value
