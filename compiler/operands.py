"""What operators take in of the model itself: weights, tables, numbers. All of it must be known, and finite."""

from __future__ import annotations

from torch import Tensor

from .graph import Node
from .weightless import has_bytes

_BEYOND_FLOAT32 = 2.0**128


def constant_operand(user: Node, operand: Node, rule: str) -> Tensor:
    """The value of an operand that must be a constant, as `rule` says. Raises HeddleError where it is computed, or not
    finite."""
    if operand.op != "constant":
        raise user.refuse(f"{operand.name} is computed; {rule}")
    require_finite(user, operand)
    return operand.value


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
