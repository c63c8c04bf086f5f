"""Writes docs/isa.md: the instruction set as a page, from the definitions in arch/isa.py."""

from __future__ import annotations

import inspect
from enum import IntEnum

from . import isa
from .config import INSTRUCTION_BYTES
from .encoding import OPCODE_BITS, encoding


def document() -> str:
    """The page as Markdown."""
    introduction = inspect.getdoc(isa) or ""
    parts = [
        "# Instruction set\n",
        "Generated from `arch/isa.py` by `make docs`; do not edit.\n",
        introduction + "\n",
        f"Each takes {INSTRUCTION_BYTES} bytes, little-endian; bits 0–{OPCODE_BITS - 1} hold the opcode.\n",
        "| opcode | instruction | unit | bits used |\n|---|---|---|---|",
    ]
    for each in isa.INSTRUCTIONS:
        position, field = list(encoding(each).values())[-1]
        unit = each.unit.name if each.unit is not None else "dispatch"
        parts.append(f"| {each.opcode} | [{each.__name__.lower()}](#{each.__name__.lower()}) | {unit} "
                     f"| {position + field.bits} |")  # fmt: skip
    for each in isa.INSTRUCTIONS:
        parts.append(_section(each))
    return "\n".join(parts) + "\n"


def _section(instruction: type[isa.Instruction]) -> str:
    lines = [f"\n## {instruction.__name__.lower()}\n", "```text", *_equations(instruction), "```\n"]
    lines += ["| bits | field | stands for |", "|---|---|---|"]
    for name, (position, field) in encoding(instruction).items():
        lines.append(f"| {position}–{position + field.bits - 1} | `{name}` | {_meaning(field)} |")
    return "\n".join(lines)


def _equations(instruction: type[isa.Instruction]) -> list[str]:
    """The docstrings of the class and of the shared fronts it extends."""
    lines: list[str] = []
    for parent in reversed(instruction.__mro__):
        if issubclass(parent, isa.Instruction) and parent is not isa.Instruction:
            lines += ([""] if lines else []) + (inspect.getdoc(parent) or "").splitlines()
    return lines


def _meaning(field: isa.Field) -> str:
    if field.kind is float:
        return "IEEE single"
    if field.only:
        return ", ".join(f"{each.value} {each.name.lower()}" if isinstance(each, IntEnum) else str(each)
                         for each in field.only)  # fmt: skip
    if field.least:
        return f"unsigned, at least {field.least}"
    return "signed" if field.signed else "flag" if field.bits == 1 else "unsigned"


if __name__ == "__main__":
    print(document(), end="")
