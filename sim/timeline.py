"""A picture of a run: one lane per unit, a bar per instruction, coloured by what it does."""

from __future__ import annotations

import os
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ..arch.errors import HeddleError
from ..arch.isa import Instruction
from .trace import UNITS, Record

COLOURS = {
    "load": "#4e79a7", "store": "#76b7b2", "append": "#9c755f", "stream": "#86bcb6", "matmul": "#e15759",
    "map": "#59a14f", "quantise": "#edc948", "argmax": "#8cd17d", "softmax": "#b07aa1", "onlinesoftmax": "#d4a6c8",
    "norm": "#f28e2b",
}  # fmt: skip


def timeline(trace: Sequence[Record], instructions: Sequence[Instruction], title: str) -> Figure:
    """The figure. A bar reaches from start to retire; a LOAD that overlaps with an earlier one is drawn over it."""
    figure = Figure(figsize=(14, 3.6), layout="constrained")
    axes = figure.subplots()
    for lane, unit in enumerate(UNITS):
        for name, colour in COLOURS.items():
            bars = [
                (record.start, record.retire - record.start + 1)
                for record in trace
                if record.unit is unit and instructions[record.index].name == name
            ]
            if bars:
                axes.broken_barh(bars, (lane - 0.4, 0.8), facecolors=colour, edgecolor="white", linewidth=0.2)
    axes.set_yticks(range(len(UNITS)), [unit.name for unit in UNITS])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("cycle")
    axes.set_title(title)
    handles = [Patch(color=colour, label=name) for name, colour in COLOURS.items()]
    axes.legend(handles=handles, ncols=len(handles), loc="upper center", bbox_to_anchor=(0.5, -0.18), frameon=False)
    return figure


def write_timeline(
    path: str | os.PathLike[str], trace: Sequence[Record], instructions: Sequence[Instruction], title: str
) -> None:
    """Draw the picture into a PNG, SVG or PDF file, by its suffix. Raises HeddleError if that cannot be done."""
    try:
        timeline(trace, instructions, title).savefig(path, dpi=150)
    except OSError as error:
        raise HeddleError(f"cannot write {path}: {error.strerror}") from None
    except ValueError:
        raise HeddleError(f"cannot write {path}: the name must end in .png, .svg or .pdf") from None
