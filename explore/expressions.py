"""Arithmetic on named numbers, as a space and its constraints state it: `min(columns, 64)`, `area_ge <= 2e6`.

A text is parsed once; what is in it is a closed list, so that a file from elsewhere is data and never code.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..arch.errors import HeddleError, require_type, unknown

MOST_LETTERS = 500
_MOST_BITS = 256  # of a number on the way
_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip
_COMPARE: dict[type, Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
}  # fmt: skip
_ORDERED = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "min": min, "max": max, "abs": abs, "round": round, "log2": math.log2, "ceil": math.ceil, "floor": math.floor,
}  # fmt: skip
_NUMBERS = "numbers, texts, names, + - * / // % **, comparisons, and, or, not, " + ", ".join(_FUNCTIONS)


@dataclass(frozen=True)
class Expression:
    """A text, such as "columns // 2". Raises HeddleError for what is no arithmetic."""

    text: str

    def __post_init__(self) -> None:
        require_type("an expression", self.text, str, "text, such as 'columns // 2'")
        if len(self.text) > MOST_LETTERS:
            raise HeddleError(f"an expression must have at most {MOST_LETTERS} letters, not {len(self.text)}")
        _ = self.names  # parses it

    @cached_property
    def _tree(self) -> ast.expr:
        try:
            return ast.parse(self.text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise HeddleError(f"{self.text!r} must be an expression, such as 'columns // 2' or 'rows <= 8'") from None

    @cached_property
    def names(self) -> frozenset[str]:
        """What it depends on."""
        called = {id(each.func) for each in ast.walk(self._tree) if isinstance(each, ast.Call)}
        for each in ast.walk(self._tree):
            self._require_plain(each)
        return frozenset(
            each.id for each in ast.walk(self._tree) if isinstance(each, ast.Name) and id(each) not in called
        )

    @property
    def is_condition(self) -> bool:
        """Whether its value is yes or no."""
        return isinstance(self._tree, ast.Compare | ast.BoolOp) or (
            isinstance(self._tree, ast.UnaryOp) and isinstance(self._tree.op, ast.Not)
        )

    def value(self, names: Mapping[str, Any]) -> Any:
        """With these values of names. Whole numbers stay whole. Raises HeddleError for a name that there is not, and
        for what has no value."""
        try:
            found = self._value(self._tree, names)
        except (ArithmeticError, TypeError, ValueError) as error:
            raise HeddleError(f"{self.text!r} has no value: {error}") from None
        return int(found) if isinstance(found, float) and found.is_integer() and abs(found) < 2**53 else found

    def excess(self, names: Mapping[str, Any]) -> float:
        """How far a condition is from true, as a part of its limit: above 0 where it is false. 1 or 0 where that
        cannot be measured."""
        true, tree = bool(self.value(names)), self._tree
        if isinstance(tree, ast.Compare) and len(tree.ops) == 1 and isinstance(tree.ops[0], _ORDERED):
            left, right = (self._value(each, names) for each in (tree.left, tree.comparators[0]))
            if isinstance(left, int | float) and isinstance(right, int | float):
                over = (left - right if isinstance(tree.ops[0], ast.Lt | ast.LtE) else right - left) / (abs(right) or 1)
                return min(over, 0.0) if true else max(over, 1e-9)
        return float(not true)

    def _require_plain(self, node: ast.AST) -> None:
        plain = (ast.Name, ast.Load, ast.BinOp, ast.Compare, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.USub,
                 ast.Not, *_ARITHMETIC, *_COMPARE)  # fmt: skip
        is_number = isinstance(node, ast.Constant) and isinstance(node.value, int | float | str)
        is_call = isinstance(node, ast.Call) and not node.keywords and isinstance(node.func, ast.Name) and (
            node.func.id in _FUNCTIONS
        )  # fmt: skip
        if not (isinstance(node, plain) or is_number or is_call):
            raise HeddleError(f"{self.text!r} must be made of {_NUMBERS}")

    def _value(self, node: ast.AST, names: Mapping[str, Any]) -> Any:
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            if node.id not in names:
                raise unknown(f"name in {self.text!r}:", node.id, sorted(names), "names")
            return names[node.id]
        if isinstance(node, ast.Call):
            assert isinstance(node.func, ast.Name)
            return _FUNCTIONS[node.func.id](*(self._value(each, names) for each in node.args))
        if isinstance(node, ast.UnaryOp):
            value = self._value(node.operand, names)
            return not value if isinstance(node.op, ast.Not) else -value
        if isinstance(node, ast.BoolOp):
            values = (self._value(each, names) for each in node.values)
            return all(values) if isinstance(node.op, ast.And) else any(values)
        if isinstance(node, ast.Compare):
            sides = [self._value(each, names) for each in (node.left, *node.comparators)]
            pairs = zip(node.ops, sides, sides[1:], strict=False)
            return all(_COMPARE[type(op)](left, right) for op, left, right in pairs)
        assert isinstance(node, ast.BinOp)
        left, right = self._value(node.left, names), self._value(node.right, names)
        if isinstance(left, str) or isinstance(right, str):
            raise TypeError("texts can only be compared")
        if isinstance(node.op, ast.Pow) and abs(right) * math.log2(max(abs(left), 2)) > _MOST_BITS:
            raise ArithmeticError("a number is too large")
        return _ARITHMETIC[type(node.op)](left, right)
