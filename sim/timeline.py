"""A picture of a run: one lane per unit, a bar per instruction, coloured by what it does, over bands for the layers.

Where there are more instructions than a picture can show, a lane shows which part of the time each kind takes.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from ..arch.config import Unit
from ..arch.isa import Instruction
from .picture import COLOURS as PALETTE
from .picture import write_picture
from .profile import layer_of, operator_of
from .trace import UNITS, Record

# Kinds of one unit have colours far apart.
COLOURS = {
    "load": PALETTE[0], "store": PALETTE[5], "append": PALETTE[8], "stream": PALETTE[7], "matmul": PALETTE[3],
    "map": PALETTE[2], "quantise": PALETTE[1], "reduce": "#17255a", "softmax": PALETTE[4], "onlinesoftmax": PALETTE[6],
    "norm": PALETTE[9],
}  # fmt: skip
MOVERS = (Unit.LOAD, Unit.STORE, Unit.KV)  # run ahead of their layer, or behind it

BARS = 2000  # instructions that are shown each by itself
BINS = 1400  # parts of the run that are shown otherwise, about a pixel each
LANE_POINTS = 900  # width of a lane in points, of which a letter of a layer's name takes
LETTER_POINTS = 5


def timeline(
    trace: Sequence[Record], instructions: Sequence[Instruction], title: str, labels: Sequence[str] = ()
) -> Figure:
    """The figure. A bar reaches from start to retire; what overlaps with an earlier one is drawn over it. With
    the `labels` of the program a band lies behind each layer, from the first work of its own to that of the next."""
    figure = Figure(figsize=(14, 3.8), layout="constrained")
    axes = figure.subplots()
    spans: dict[tuple[Unit, str], list[tuple[int, int]]] = defaultdict(list)
    for record in trace:
        spans[record.unit, instructions[record.index].name].append((record.start, record.retire + 1))
    stop = max((record.retire + 1 for record in trace), default=1)
    _draw_bands(axes, list(_layers(trace, labels)), stop)
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
    axes.set(xlim=(0, stop), ylim=(len(UNITS) - 0.4, -0.95))  # room above the lanes for the names of layers
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("time (cycles)")
    axes.set_title(title)
    shown = {name for _, name in spans}
    handles = [Patch(color=colour, label=name) for name, colour in COLOURS.items() if name in shown]
    figure.legend(handles=handles, ncols=max(len(handles), 1), loc="outside lower center", frameon=False)
    return figure


def _layers(trace: Sequence[Record], labels: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Each layer with the cycle in which the first work of its own starts, in order of time."""
    starts: dict[str, int] = {}
    for record in trace:
        if record.unit not in MOVERS and record.index < len(labels) and labels[record.index]:
            layer = layer_of(operator_of(labels[record.index]))
            starts[layer] = min(starts.get(layer, record.start), record.start)
    yield from sorted(starts.items(), key=lambda each: each[1])


def _draw_bands(axes: Axes, layers: Sequence[tuple[str, int]], stop: int) -> None:
    """Every other band is grey; a name that is too long for its band is cut to its last part, or left out."""
    for number, (name, start) in enumerate(layers):
        end = layers[number + 1][1] if number + 1 < len(layers) else stop
        if number % 2:
            axes.axvspan(start, end, color="#ececec", linewidth=0, zorder=0)
        letters = (end - start) / stop * LANE_POINTS / LETTER_POINTS
        shown = next((each for each in (name, name.rsplit(".", 1)[-1]) if len(each) <= letters), "")
        axes.text((start + end) / 2, -0.68, shown, ha="center", va="center", fontsize=7, color="#555")


def _part_of_time(spans: Sequence[tuple[int, int]], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each bin between two edges the part of it that spans (start, end) cover, which come in order."""
    covered = np.zeros(len(edges))  # up to each edge
    for sign, places in zip((1, -1), np.array(spans, np.float64).reshape(-1, 2).T, strict=True):
        places = np.sort(places)
        passed = np.searchsorted(places, edges)
        covered += sign * (passed * edges - np.concatenate([[0], np.cumsum(places)])[passed])
    return np.diff(covered) / np.diff(edges)


def write_timeline(
    path: str | os.PathLike[str], trace: Sequence[Record], instructions: Sequence[Instruction], title: str,
    labels: Sequence[str] = (),
) -> None:  # fmt: skip
    """Draw the picture into a PNG, SVG or PDF file, by its suffix. Raises HeddleError if that cannot be done."""
    write_picture(path, lambda: timeline(trace, instructions, title, labels))
