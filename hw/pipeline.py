"""Registers in a row: how a value waits for its companions in a pipeline that never stalls."""

from amaranth import Module, Shape, Signal, Value


def delay(
    m: Module, signal, cycles: int, name: str | None = None, *, reset_less: bool = False, src_loc_at: int = 0
) -> Value:
    """`signal` as it was `cycles` cycles earlier (≥ 0; 0 gives back `signal`), through `cycles` registers.

    The registers start as zeros, and return to zeros with a reset, so a delayed `valid` needs no further care; data
    can do without reset and save its gates. They stand, for reports, in the line of the call, or of one that is
    `src_loc_at` calls further out.
    """
    if cycles < 0:
        raise ValueError(f"a delay must be at least 0 cycles, not {cycles}")
    value = Value.cast(signal)
    if name is None:
        name = value.name if isinstance(value, Signal) else "value"
    for stage in range(1, cycles + 1):
        register = Signal(
            Shape.cast(value.shape()), name=f"{name}_{stage}", reset_less=reset_less, src_loc_at=src_loc_at + 1
        )
        m.d.sync += register.eq(value)
        value = register
    return value


def register(m: Module, value, name: str) -> Value:
    """`value` one cycle later, in a register that is not reset."""
    return delay(m, value, 1, name, reset_less=True, src_loc_at=1)
