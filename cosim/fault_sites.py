"""Where the sources of hw/ may have generated faults: finds the places, and rewrites them to calls of switches.py.

A place is an expression or assignment in a function; its kind says which faults it may have. Their numbers follow each
other through all files. What is left out, by rule: shapes and widths of signals, resets and initial values (none can be
chosen while a design runs; instead of a narrower signal there is a value without its top bit), signedness, the cases of
m.Switch, the targets of assignments, what Python alone computes, and the Verilog text in hw/ram.py.
"""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Operator → the operators that a fault has in its place, and by how much more or less its constant operand may be. Not
# both of what is the same: x < 3 + 1 is x <= 3.
EXCHANGED: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    "+": (("-",), (1, -1)), "-": (("+",), (1, -1)), "*": (("+",), (1, -1)), "&": (("|",), (1,)), "|": (("&",), (1,)),
    "^": (("|",), (1,)), "<<": ((">>",), (1, -1)), ">>": (("<<",), (1, -1)), "==": (("!=",), (1, -1)),
    "!=": (("==",), (1, -1)), "<": (("<=", ">="), (-1,)), "<=": (("<", ">"), (1,)), ">": ((">=", "<="), (1,)),
    ">=": ((">", "<"), (-1,)),
}  # fmt: skip

_SYMBOLS = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^", ast.LShift: "<<",
    ast.RShift: ">>", ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.Invert: "~", ast.USub: "-",
}  # fmt: skip
_DELAYS = ("delay", "register", "_register")
# How the faults of a place are called, in the order of switches.py.
_FAULTS = {
    **{f"binary {symbol}": (*others, *(f"constant {step:+d}" for step in steps))
       for symbol, (others, steps) in EXCHANGED.items()},
    "unary": ("left out",),
    "reduction": ("any and all exchanged",),
    "mux": ("arms exchanged", "first arm +1", "second arm +1"),
    "item": ("a bit up", "a bit down"),
    "delayed": ("a cycle less", "a cycle more"),
    "condition": ("negated", "always", "never", "a cycle late"),
    "assignment": ("dropped", "constant +1", "constant -1", "top bit cut"),
}  # fmt: skip
WITHOUT_DESIGN = ("__init__.py", "verilog.py", "accelerator_verilog.py")  # files of hw/ that describe no hardware


@dataclass(frozen=True)
class GeneratedFault:
    """One fault that the program made. `key` names it as long as the text of its place does not change."""

    number: int
    path: str  # of its file: hw/pe.py
    line: int
    function: str
    text: str  # of its place
    kind: str

    key: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.kind}: {self.text}"


def rewrite(package: Path, active: set[int] | None = None) -> list[GeneratedFault]:
    """Rewrite hw/ of a copy of the package, so that it has the faults of `active` (None: all that there may be), which
    its input `fault` chooses; returns all that there may be."""
    faults: list[GeneratedFault] = []
    for path in sorted((package / "hw").rglob("*.py")):
        if path.name in WITHOUT_DESIGN:
            continue
        places = _Places(path.relative_to(package).as_posix(), faults)
        tree = ast.fix_missing_locations(places.visit(ast.parse(path.read_text())))
        imports = 1 if ast.get_docstring(tree) is not None else 0
        tree.body.insert(imports, ast.parse("from heddle.hw import switches as _switches").body[0])
        path.write_text(ast.unparse(tree))
    choose(package, active)
    return faults


def choose(package: Path, active: set[int] | None) -> None:
    """Let a rewritten package have the faults of `active` alone."""
    text = Path(__file__).with_name("switches.py").read_text()
    whole = "ACTIVE: Any = range(1, 1 << 16)"
    assert text.count(whole) == 1
    if active is not None:
        text = text.replace(whole, f"ACTIVE: Any = frozenset({sorted(active)})")
    (package / "hw" / "switches.py").write_text(text)


class _Places(ast.NodeTransformer):
    """Rewrites one file, and adds its faults to `faults`."""

    def __init__(self, path: str, faults: list[GeneratedFault]) -> None:
        self._path = path
        self._faults = faults
        self._inside: list[str] = []
        self._seen: Counter[str] = Counter()

    # -- where to look -------------------------------------------------------------------------------------------------

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self._inside.append(node.name)
        node.body = [self.visit(each) if isinstance(each, ast.FunctionDef | ast.ClassDef) else each
                     for each in node.body]  # fmt: skip
        self._inside.pop()
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self._inside.append(node.name)
        node.body = [self.visit(each) for each in node.body]  # neither defaults nor annotations
        self._inside.pop()
        return node

    def visit_Module(self, node: ast.Module) -> ast.Module:
        node.body = [self.visit(each) if isinstance(each, ast.FunctionDef | ast.ClassDef) else each
                     for each in node.body]  # fmt: skip
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def _as_it_is(self, node: ast.AST) -> ast.AST:
        return node

    visit_Assert = visit_Raise = visit_JoinedStr = visit_Lambda = _as_it_is  # noqa: N815

    def visit_Return(self, node: ast.Return) -> ast.AST:
        self.generic_visit(node)
        if self._inside[-1] in ("elaborate", "logic") and node.value is not None:
            node.value = _call("finished", [node.value])
        return node

    # -- places --------------------------------------------------------------------------------------------------------

    def _place(self, node: ast.AST, kind: str, function: str, arguments: list[Any], text: str) -> ast.Call:
        """The call of switches.`function` in the place of `node`, whose faults are those of `kind`."""
        first = len(self._faults) + 1
        where = ".".join(self._inside)
        for fault in _FAULTS[kind]:
            key = f"{self._path}:{where}: {text}: {fault}"
            self._seen[key] += 1
            if self._seen[key] > 1:
                key += f" #{self._seen[key]}"
            number = len(self._faults) + 1
            self._faults.append(GeneratedFault(number, self._path, node.lineno, where, text, fault, key))  # type: ignore[attr-defined]
        return ast.copy_location(_call(function, [ast.Constant(first), *arguments]), node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        text = ast.unparse(node)
        self.generic_visit(node)
        symbol = _SYMBOLS.get(type(node.op), "")
        if symbol not in EXCHANGED:
            return node
        return self._place(node, f"binary {symbol}", "binary", [ast.Constant(symbol), node.left, node.right], text)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        text = ast.unparse(node)
        self.generic_visit(node)
        symbol = _SYMBOLS.get(type(node.ops[0]), "")
        if len(node.ops) > 1 or symbol not in EXCHANGED:
            return node
        arguments = [ast.Constant(symbol), node.left, node.comparators[0]]
        return self._place(node, f"binary {symbol}", "binary", arguments, text)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        text = ast.unparse(node)
        self.generic_visit(node)
        symbol = _SYMBOLS.get(type(node.op), "")
        if not symbol or isinstance(node.operand, ast.Constant):
            return node
        return self._place(node, "unary", "unary", [ast.Constant(symbol), node.operand], text)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        text = ast.unparse(node)
        self.generic_visit(node)
        if not isinstance(node.ctx, ast.Load):
            return node
        index: Any = node.slice
        if isinstance(index, ast.Slice):
            parts = [part or ast.Constant(None) for part in (index.lower, index.upper, index.step)]
            index = ast.Call(ast.Name("slice", ast.Load()), parts, [])
        return self._place(node, "item", "item", [node.value, index], text)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        """m.d.sync += …: what is added may be left out."""
        node.value = self.visit(node.value)
        module, domain = _domain(node.target)
        if module is None or not isinstance(node.op, ast.Add):
            return node
        return ast.copy_location(ast.Expr(_call("add", [module, domain, node.value])), node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        text = ast.unparse(node)
        function, count = node.func, len(node.args)
        name = function.id if isinstance(function, ast.Name) else ""
        method = function.attr if isinstance(function, ast.Attribute) else ""
        if method == "eq" and count == 1:
            value = self.visit(node.args[0])
            return self._place(node, "assignment", "assignment", [function.value, value], text)  # type: ignore[attr-defined]
        self.generic_visit(node)
        if method in ("If", "Elif") and count == 1:
            module, begins = function.value, ast.Constant(method == "If")  # type: ignore[attr-defined]
            node.args = [self._place(node, "condition", "condition", [module, node.args[0], begins], text)]
        elif method in ("any", "all") and count == 0:
            return self._place(node, "reduction", "reduction", [function.value, ast.Constant(method)], text)  # type: ignore[attr-defined]
        elif name == "Mux" and count == 3:
            return self._place(node, "mux", "mux", node.args, text)
        elif name in _DELAYS:
            place = self._place(node, "delayed", "delayed", [ast.Name(name, ast.Load()), *node.args], text)
            place.keywords = node.keywords
            return place
        return node


def _call(function: str, arguments: list[Any]) -> ast.Call:
    return ast.Call(ast.Attribute(ast.Name("_switches", ast.Load()), function, ast.Load()), arguments, [])


def _domain(target: ast.AST) -> tuple[Any, Any]:
    """The m and the name of its domain in m.d.sync or m.d[name]; (None, None): it is something else."""
    if isinstance(target, ast.Attribute):
        owner, name = target.value, ast.Constant(target.attr)
    elif isinstance(target, ast.Subscript):
        owner, name = target.value, target.slice
    else:
        return None, None
    return (owner.value, name) if isinstance(owner, ast.Attribute) and owner.attr == "d" else (None, None)
