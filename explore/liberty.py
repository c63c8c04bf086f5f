"""Liberty files: what is read of them is the area of each cell, and which cell is the NAND2 that areas are told in."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import product, zip_longest
from pathlib import Path
from typing import NamedTuple

from ..arch.errors import HeddleError

GATES = Path(__file__).with_name("gates.lib")  # in place of a file
_TOKEN = re.compile(r"\s*([A-Za-z_]\w*|\S)")


class Cell(NamedTuple):
    """A cell: its area, what its outputs are, and whether it is a flip-flop."""

    area: float
    functions: tuple[str, ...]
    register: bool


class Library(NamedTuple):
    """The text of a Liberty file, its cells, and the area of the smallest NAND2."""

    text: str
    cells: dict[str, Cell]
    nand2: float

    def gates(self, cell: str) -> float:
        """The area of a cell in NAND2."""
        return self.cells[cell].area / self.nand2


def read(path: str | os.PathLike[str] = GATES) -> Library:
    """The library in a file. Raises HeddleError unless it can be read, and has a NAND2 and a flip-flop."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise HeddleError(f"cannot read Liberty file {path}: {error.strerror}") from None
    cells = dict(_cells(re.sub(r"//.*", "", re.sub(r"/\*.*?\*/", "", text, flags=re.S))))
    nands = [cell.area for cell in cells.values() if len(cell.functions) == 1 and _is_nand2(cell.functions[0])]
    for there, what in ((cells, "cells with an area"), (nands, "NAND2 to count in"),
                        (any(cell.register for cell in cells.values()), "flip-flop")):  # fmt: skip
        if not there:
            raise HeddleError(f"{path} is no Liberty file to synthesise with: it has no {what}")
    return Library(text, cells, min(nands))


def _cells(text: str) -> Iterator[tuple[str, Cell]]:
    openings = [*re.finditer(r'\bcell\s*\(\s*"?([\w.$-]+)"?\s*\)\s*\{', text)]
    for opening, following in zip_longest(openings, openings[1:]):
        body = text[opening.end() : following.start() if following else None]
        area = re.search(r'\barea\s*:\s*"?([\d.eE+-]+)', body)
        if area and float(area[1]) > 0:
            functions = tuple(re.findall(r'\bfunction\s*:\s*"([^"]*)"', body))
            yield opening[1], Cell(float(area[1]), functions, bool(re.search(r"\bff\s*\(", body)))


def _is_nand2(function: str) -> bool:
    """Whether it is false only when both of two inputs are true."""
    names = sorted(set(re.findall(r"[A-Za-z_]\w*", function)))
    if len(names) != 2:
        return False
    try:
        return [_value(function, dict(zip(names, values, strict=True))) for values in product((0, 1), repeat=2)] == [
            1, 1, 1, 0,
        ]  # fmt: skip
    except (LookupError, ValueError):
        return False


def _value(function: str, inputs: dict[str, int]) -> int:
    """A function of Liberty: ! before and ' after negate; then & * or nothing between is and, then ^, then | +."""
    tokens = [*_TOKEN.findall(function), ""]

    def factor() -> int:
        token = tokens.pop(0)
        if token == "!":
            value = 1 - factor()
        elif token == "(":
            value = either()
            if tokens.pop(0) != ")":
                raise ValueError(function)
        else:
            value = int(token) if token in ("0", "1") else inputs[token]
        while tokens[0] == "'":
            tokens.pop(0)
            value = 1 - value
        return value

    def both() -> int:
        value = factor()
        while tokens[0] not in ("", ")", "|", "+", "^"):
            if tokens[0] in ("&", "*"):
                tokens.pop(0)
            value &= factor()
        return value

    def unlike() -> int:
        value = both()
        while tokens[0] == "^":
            tokens.pop(0)
            value ^= both()
        return value

    def either() -> int:
        value = unlike()
        while tokens[0] in ("|", "+"):
            tokens.pop(0)
            value |= unlike()
        return value

    value = either()
    if tokens != [""]:
        raise ValueError(function)
    return value
