"""Writes docs/isa.md: the instruction set as a page, from the definitions in arch/isa."""

from __future__ import annotations

import inspect
from enum import IntEnum

from . import isa
from .config import INSTRUCTION_BYTES, Memory
from .encoding import OPCODE_BITS, encoding

OPERANDS = """An operand is so many blocks of words, the first words of which are so far apart; each word goes through
the port of its memory once, or as often as said. All this is given in Python over the fields of the instruction:
`in_words(n)` are the words that n columns take in ACC, VALUE, WEIGHT and PARAM, `in_act_words(n)` those in ACT,
`word_bytes(m)` the bytes of DRAM that a word of memory m takes.
"""


def document() -> str:
    """The page as Markdown."""
    introduction = inspect.getdoc(isa) or ""
    parts = [
        "# Instruction set\n",
        "Generated from `arch/isa` by `make docs`; do not edit.\n",
        introduction + "\n",
        OPERANDS,
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
    return "\n".join([*lines, *_operands(instruction)])


def _operands(instruction: type[isa.Instruction]) -> list[str]:
    """What it touches on chip, and what of DRAM."""
    if not instruction.operands:
        return []
    lines = ["\n| operand | from | words | blocks | apart | through the port | if |", "|---|---|---|---|---|---|---|"]
    for each in instruction.operands:
        memory = each.memory.name if isinstance(each.memory, Memory) else f"`{each.memory}`"
        words = f"those of `{each.elements}` elements" if each.elements else f"`{each.words}`"
        moved = f"`{each.moved}`" if each.moved else "each element" if each.elements else "each word"
        cells = [
            f"{'writes' if each.write else 'reads'} {memory}", f"`{each.at}`", words, _unless("1", each.count),
            _unless("0", each.stride), f"{moved}{_unless('1', each.passes, ' × ')}", _unless("", each.when),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    if dram := instruction.dram:
        verb, chosen = "Writes" if dram.write else "Reads", _unless("1", dram.chosen, " if ")
        lines.append(f"\n{verb} DRAM: `{dram.pieces}` pieces of `{dram.piece_bytes}` bytes"
                     f"{_unless('0', dram.stride, ', apart by ')}"
                     f"{'' if dram.chosen == '0' else f', where data say{chosen}'}.")  # fmt: skip
    return lines


def _unless(usual: str, expression: str, before: str = "") -> str:
    """An expression, if it is not the usual one."""
    return "" if expression == usual else f"{before}`{expression}`"


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
