"""What the host makes of inputs before a launch: of whole numbers and truth alone, by a closed set of operators.

Padding masks, positions, shifted ids: a program says how each is made of its arguments, in steps that are data. So a
program file never holds code, and the accelerator computes with numbers only.

    operator    operands  attributes             what it gives
    argument              shape                  the argument of that name
    constant              values, shape, type    known numbers
    rearrange   x         sizes, strides, offset, shape   elements of x, as strides say
    cat         x, …      dim                    one behind the other
    combine     x, y      kind                   add … minimum of each pair; less, less_equal, equal: 1 or 0
    choose      c, x, y                          x where c is not 0, else y
    reduce      x         kind, dim              sum, maximum or minimum along a dimension, which has size 1 then
    cumsum      x         dim                    sums of all up to each
    gather      table, x                         rows of the table
    quotient    x, y                             x / y of whole numbers, rounded down
    remainder   x, y                             what is left of that, with the sign of y
    integer     x                                whole numbers of numbers
    number      x                                numbers (float32) of whole ones

Numbers are int64 or float32; truth is 1 or 0 in float32. Whole numbers are added as those of PyTorch are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import HeddleError, require_type

_TYPES = {"integer": np.int64, "number": np.float32}
_PAIRS: dict[str, Callable[..., NDArray]] = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "maximum": np.maximum, "minimum": np.minimum,
    "less": np.less, "less_equal": np.less_equal, "equal": np.equal,
}  # fmt: skip
_COMPARE = ("less", "less_equal", "equal")
_REDUCTIONS: dict[str, Callable[..., NDArray]] = {"sum": np.sum, "maximum": np.max, "minimum": np.min}


@dataclass(frozen=True)
class Argument:
    """What a caller gives: `kind` is integer, truth or number."""

    name: str
    shape: tuple[int, ...]
    kind: str

    def __post_init__(self) -> None:
        require_type("the name of an argument", self.name, str, "text")
        object.__setattr__(self, "shape", tuple(self.shape))
        if self.kind not in ("integer", "truth", "number"):
            raise HeddleError(f"an argument must be integer, truth or number, not {self.kind!r}")

    def checked(self, given: Any) -> NDArray:
        """The array, as the operators take it. Raises HeddleError for another shape or type."""
        array = np.asarray(given)
        if array.shape != self.shape:
            raise HeddleError(f"input {self.name!r} must have shape {self.shape}, not {array.shape}")
        wanted = {"integer": "iu", "truth": "b", "number": "biuf"}[self.kind]
        if array.dtype.kind not in wanted and not (self.kind == "truth" and np.isin(array, (0, 1)).all()):
            what = {"integer": "whole numbers", "truth": "truth (bool)", "number": "numbers"}[self.kind]
            raise HeddleError(f"input {self.name!r} must hold {what}, not {array.dtype}")
        return array.astype(np.int64 if self.kind == "integer" else np.float32)


@dataclass(frozen=True)
class Step:
    """One value that the host makes, `name`, of values before it."""

    name: str
    operator: str
    operands: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "operands", tuple(self.operands))
        if self.operator not in OPERATORS:
            raise HeddleError(f"{self.operator!r} is no operator of the host: compile the program again")


def prepared(steps: Sequence[Step], arguments: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """The value of each step. Raises HeddleError for a step that does not fit, in a program that was altered."""
    known: dict[str, NDArray] = {}
    for step in steps:
        try:
            if step.operator == "argument":
                known[step.name] = arguments[step.name].reshape(step.attributes["shape"])
            else:
                known[step.name] = OPERATORS[step.operator](step, *(known[each] for each in step.operands))
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise HeddleError(f"the step {step.name!r} of the host cannot be computed ({error}): compile the program "
                              f"again") from None  # fmt: skip
    return known


def _constant(step: Step) -> NDArray:
    values = np.array(step.attributes["values"], _TYPES[step.attributes["type"]])
    return values.reshape(step.attributes["shape"])


def _rearranged(step: Step, x: NDArray) -> NDArray:
    numbers = np.array(step.attributes["offset"])
    for size, stride in zip(step.attributes["sizes"], step.attributes["strides"], strict=True):
        numbers = numbers[..., None] + np.arange(size) * stride
    return x.reshape(-1)[numbers].reshape(step.attributes["shape"])


def _combined(step: Step, x: NDArray, y: NDArray) -> NDArray:
    kind = step.attributes["kind"]
    found = _PAIRS[kind](x, y)
    return found.astype(np.float32) if kind in _COMPARE else found


def _reduced(step: Step, x: NDArray) -> NDArray:
    return _REDUCTIONS[step.attributes["kind"]](x, axis=step.attributes["dim"], keepdims=True)


def _divided(function: Callable[..., NDArray]) -> Callable[..., NDArray]:
    def divide(step: Step, x: NDArray, y: NDArray) -> NDArray:
        if not y.all():
            raise ValueError("it divides by 0")
        return function(x, y)

    return divide


OPERATORS: dict[str, Callable[..., NDArray]] = {
    "argument": lambda step: np.zeros(0),
    "constant": _constant,
    "rearrange": _rearranged,
    "cat": lambda step, *xs: np.concatenate(xs, step.attributes["dim"]),
    "combine": _combined,
    "choose": lambda step, c, x, y: np.where(c != 0, x, y),
    "reduce": _reduced,
    "cumsum": lambda step, x: np.cumsum(x, step.attributes["dim"]),
    "gather": lambda step, table, x: table[x],
    "quotient": _divided(np.floor_divide),
    "remainder": _divided(np.remainder),
    "integer": lambda step, x: np.trunc(x).astype(np.int64),
    "number": lambda step, x: x.astype(np.float32),
}
