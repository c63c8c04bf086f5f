"""Which calls of PyTorch are functions of one number, by the names that `functions.named` knows."""

from __future__ import annotations

from typing import Any

from ..arch.errors import HeddleError
from .functions import RELU, named
from .graph import Node
from .operands import require_number

_POWER = "aten.pow.Tensor_Scalar"
# Call → what may stand behind x: its name, and the number that it must be.
_GIVEN: dict[str, dict[str, float]] = {
    **{f"aten.{name}": {} for name in (
        "relu", "silu", "sigmoid", "tanh", "exp", "exp2", "log", "log2", "sqrt", "rsqrt", "reciprocal", "erf", "mish",
        "hardswish", "sin", "cos",
    )},
    "aten.softplus": {"beta": 1, "threshold": 20}, "aten.elu": {"alpha": 1, "scale": 1, "input_scale": 1},
}  # fmt: skip
_CALLS = {*_GIVEN, "aten.gelu", _POWER}


def is_function(node: Node) -> bool:
    """Whether a call is such a function of the one value that it reads. Squares and cubes are products."""
    return node.op in _CALLS and len(node.inputs) == 1 and not factors(node)


def factors(node: Node) -> int:
    """2 for a square, 3 for a cube, 0 for any other call."""
    return {2: 2, 3: 3}.get(node.args[1], 0) if node.op == _POWER else 0


def function_of(node: Node) -> str:
    """The name of the function. Raises HeddleError for one that no table can hold."""
    name = _name_of(node)
    if name != RELU:
        try:
            named(name)
        except HeddleError as error:
            raise node.refuse(str(error)) from None
    return name


def _name_of(node: Node) -> str:
    others: list[Any] = list(node.args[1:])
    if node.op == _POWER:
        return f"x^{require_number(node, 'exponent', others[0]):g}"
    if node.op == "aten.gelu":
        return "gelu_tanh" if [*others, *node.kwargs.values()] == ["tanh"] else "gelu"
    expected = _GIVEN[node.op]
    for name, value in {**dict(zip(expected, others, strict=False)), **node.kwargs}.items():
        if value != expected.get(name):
            raise node.refuse(f"its {name} must be {expected.get(name)}, not {value}")
    return node.op.removeprefix("aten.")
