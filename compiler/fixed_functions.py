"""Writes arch/fixed_functions.py, the tables that SOFTMAX, NORM and row scales are built with:

    python -m heddle.compiler.fixed_functions > arch/fixed_functions.py
"""

from ..arch.functions import DESCRIPTOR_COUNT, WORD_BITS, Table
from .functions import named

FIXED = {"EXP2": "exp2", "RECIPROCAL": "reciprocal", "RSQRT": "rsqrt"}  # constant → function
_HEAD = '''\
"""2^x, 1/x and 1/√x by table (arch/functions.py): those of SOFTMAX, NORM and the scales of rows, which are built in.

Written by `python -m heddle.compiler.fixed_functions > arch/fixed_functions.py`.
"""

from .functions import Table
'''
_A_LINE = 9  # numbers of a table in a line


def text() -> str:
    """The module."""
    return "\n".join([_HEAD, *(_constant(name, named(function)) for name, function in FIXED.items())]).rstrip() + "\n"


def _constant(name: str, table: Table) -> str:
    header, *numbers = table.to_ints()
    parts = {"header": [header], "descriptors": numbers[:DESCRIPTOR_COUNT], "words": numbers[DESCRIPTOR_COUNT:]}
    lines = [f"{name} = Table.from_ints(["]
    for part, some in parts.items():
        lines.append(f"    # {part}")
        for i in range(0, len(some), _A_LINE):
            lines.append(f"    {', '.join(f'0x{number:0{WORD_BITS // 4}X}' for number in some[i : i + _A_LINE])},")
    return "\n".join([*lines, "])  # fmt: skip", ""])


if __name__ == "__main__":
    print(text(), end="")
