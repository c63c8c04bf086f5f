"""What operators take in of the model itself: weights, tables, numbers. All of it must be known, and finite."""

from __future__ import annotations

from torch import Tensor

from .graph import Node, constant
from .ir import OPERATORS, as_number
from .weightless import has_bytes

_BEYOND_FLOAT32 = 2.0**128


def constant_operand(user: Node, operand: Node, rule: str) -> Tensor:
    """The value of an operand that must be a constant, or a view of one, as `rule` says. Raises HeddleError where it is
    computed, or not finite."""
    found = known(operand)
    if found is None:
        raise user.refuse(f"{operand.name} is computed; {rule}")
    require_finite(user, found)
    return found.value


def known(operand: Node) -> Node | None:
    """The constant that an operand is, or is a view of, in the shape of the operand; None if it is computed."""
    if operand.op == "constant":
        return operand
    source = known(operand.inputs[0]) if operand.op == "rearrange" else None
    if source is None:
        return None
    return constant(operand.name, OPERATORS["rearrange"].meaning(operand, as_number(source.value)), source.made_of)


def scalar(operand: Node) -> float | None:
    """The number that all elements of a known operand are; None if there is no such one. Without bytes: 1."""
    source = operand.inputs[0] if operand.op == "rearrange" else operand
    if source.op != "constant" or source.size != 1:
        return None
    return float(source.value) if has_bytes(source.value) else 1.0


def require_finite(user: Node, operand: Node) -> None:
    """Raise HeddleError, with the name that the model has for it, if a constant holds NaN or what float32 does not."""
    if operand.value.is_complex():
        raise user.refuse(f"{name_of(operand)} must be real, not {operand.value.dtype}")
    if not has_bytes(operand.value):
        return
    bad = ~operand.value.float().isfinite()
    if bad.any():
        place = bad.nonzero()[0].tolist()
        raise user.refuse(f"{name_of(operand)} must be finite, but is {operand.value[tuple(place)].item()} at {place}")


def require_number(user: Node, name: str, value: float) -> float:
    """The value of a number of the model. Raises HeddleError if it is no finite number of float32."""
    if not abs(value) < _BEYOND_FLOAT32:
        raise user.refuse(f"its {name} must be a finite number of float32, not {value}")
    return value


def name_of(operand: Node) -> str:
    """That of a parameter or buffer in the model; for what is computed of some, those too."""
    names = ", ".join(operand.made_of)
    if operand.made_of == [names] and not operand.source:
        return names
    return f"{operand.name} (made of {names})" if names else operand.name
