"""A picture of a run: one lane per unit, a bar per instruction, coloured by what it does.

Where there are more instructions than a picture can show, a lane shows which part of the time each kind takes.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from ..arch.config import Unit
from ..arch.isa import Instruction
from .picture import write_picture
from .trace import UNITS, Record

COLOURS = {
    "load": "#4e79a7", "store": "#76b7b2", "append": "#9c755f", "stream": "#86bcb6", "matmul": "#e15759",
    "map": "#59a14f", "quantise": "#edc948", "argmax": "#8cd17d", "softmax": "#b07aa1", "onlinesoftmax": "#d4a6c8",
    "norm": "#f28e2b",
}  # fmt: skip


BARS = 2000  # instructions that are shown each by itself
BINS = 1400  # parts of the run that are shown otherwise, about a pixel each


def timeline(trace: Sequence[Record], instructions: Sequence[Instruction], title: str) -> Figure:
    """The figure. A bar reaches from start to retire; a LOAD that overlaps with an earlier one is drawn over it."""
    figure = Figure(figsize=(14, 3.6), layout="constrained")
    axes = figure.subplots()
    spans: dict[tuple[Unit, str], list[tuple[int, int]]] = defaultdict(list)
    for record in trace:
        spans[record.unit, instructions[record.index].name].append((record.start, record.retire + 1))
    stop = max((record.retire + 1 for record in trace), default=1)
    edges = np.linspace(0, stop, BINS + 1)
    for lane, unit in enumerate(UNITS):
        below = np.zeros(BINS)
        for name, colour in COLOURS.items():
            bars = spans.get((unit, name), [])
            if len(trace) > BARS:
                above = np.minimum(below + _part_of_time(bars, edges), 1)
                low, high = (lane + 0.4 - 0.8 * np.append(each, each[-1]) for each in (below, above))
                axes.fill_between(edges, low, high, step="post", color=colour, linewidth=0)
                below = above
            elif bars:
                bars = [(start, end - start) for start, end in bars]
                axes.broken_barh(bars, (lane - 0.4, 0.8), facecolors=colour, edgecolor="white", linewidth=0.2)
    axes.set_yticks(range(len(UNITS)), [unit.name for unit in UNITS])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("cycle")
    axes.set_title(title)
    handles = [Patch(color=colour, label=name) for name, colour in COLOURS.items()]
    axes.legend(handles=handles, ncols=len(handles), loc="upper center", bbox_to_anchor=(0.5, -0.18), frameon=False)
    return figure


def _part_of_time(spans: Sequence[tuple[int, int]], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each bin between two edges the part of it that spans (start, end) cover, which come in order."""
    covered = np.zeros(len(edges))  # up to each edge
    for sign, places in zip((1, -1), np.array(spans, np.float64).reshape(-1, 2).T, strict=True):
        places = np.sort(places)
        passed = np.searchsorted(places, edges)
        covered += sign * (passed * edges - np.concatenate([[0], np.cumsum(places)])[passed])
    return np.diff(covered) / np.diff(edges)


def write_timeline(
    path: str | os.PathLike[str], trace: Sequence[Record], instructions: Sequence[Instruction], title: str
) -> None:
    """Draw the picture into a PNG, SVG or PDF file, by its suffix. Raises HeddleError if that cannot be done."""
    write_picture(path, lambda: timeline(trace, instructions, title))
