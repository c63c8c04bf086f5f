"""The roofline of a run (Williams, Waterman and Patterson, 2009): how much work per byte of DRAM, and how fast.

A point lies under two roofs: what the array can multiply in a cycle, and what DRAM can bring in a cycle times the work
on each byte. The point of an operator is over the cycles in which any of its instructions executes, whole tiles
counted; the point of the run over all its cycles, useful multiply-accumulates counted.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ..arch.dram import Dram
from ..arch.errors import require_type
from .picture import COLOURS, write_picture
from .profile import Profile

MARKERS = "os"  # with each of the colours
NAMED = len(MARKERS) * len(COLOURS)  # operators with the most work have their names in the picture


@dataclass(frozen=True)
class Point:
    """An operator or the run: what it multiplied for each byte of DRAM and in each cycle, and at most could."""

    name: str
    macs: int
    traffic_bytes: int  # of DRAM, read and written
    cycles: int
    macs_per_byte: float
    macs_per_cycle: float
    roof_macs_per_cycle: float


@dataclass(frozen=True)
class Roofline:
    """Two roofs and the points under them; `run` is the whole run, None if nothing was multiplied."""

    title: str
    peak_macs_per_cycle: int
    peak_bytes_per_cycle: float
    run: Point | None
    operators: list[Point]

    def to_dict(self) -> dict:
        """Plain values."""
        return asdict(self)


def roofline(profile: Profile, dram: Dram | None = None) -> Roofline:
    """Of a profile; `dram` as `simulate` was told."""
    require_type("the profile", profile, Profile, "a Profile, as heddle.Profile(result) makes")
    program = profile.result.program
    config = program.config
    peak, bandwidth = config.rows * config.columns, config.with_dram(dram).dram.bytes_per_cycle(config.axi_bytes)

    def point(name: str, macs: int, dram_bytes: int, cycles: int) -> Point:
        intensity = macs / dram_bytes
        return Point(name, macs, dram_bytes, cycles, intensity, macs / cycles, min(peak, bandwidth * intensity))

    operators = [
        point(each.name, each.tile_macs, each.dram_bytes, each.active_cycles)
        for each in profile.operators
        if each.tile_macs
    ]
    macs, whole = program.total_macs, profile.whole
    run = point("whole run", macs, whole.dram_bytes, profile.result.cycles) if macs else None
    return Roofline(f"{program.name} on {config.title}", peak, bandwidth, run, operators)


def roofline_figure(content: Roofline) -> Figure:
    """The picture, both axes logarithmic. A point has the number of its name in the legend, by its work."""
    figure = Figure(figsize=(11, 5.5), layout="constrained")
    axes = figure.subplots()
    _draw_roofs(axes, content)
    operators = sorted(content.operators, key=lambda each: -each.macs)
    for number, each in enumerate(operators[:NAMED]):  # the most work on top
        colour, marker, above = COLOURS[number % len(COLOURS)], MARKERS[number // len(COLOURS)], 3 + NAMED - number
        axes.scatter(*_place(each), s=150, color=colour, marker=marker, edgecolor="white", zorder=above)
        axes.scatter([], [], s=50, color=colour, marker=marker, label=f"{number + 1}  {_share(each)}")
        axes.annotate(str(number + 1), _place(each), ha="center", va="center", color="white", fontsize=7, zorder=above)
    if others := operators[NAMED:]:
        places = zip(*map(_place, others), strict=True)
        axes.scatter(*places, s=30, color="#bbbbbb", label=f"{len(others)} others, each with less work", zorder=2)
    if content.run:
        axes.scatter(*_place(content.run), s=330, marker="*", color="black", edgecolor="white", zorder=3)
        axes.scatter([], [], s=170, marker="*", color="black", label=_share(content.run))
    axes.set_xlabel("work on each byte (multiply-accumulates per byte of DRAM)")
    axes.set_ylabel("speed (multiply-accumulates per cycle)")
    axes.set_title(content.title)
    axes.grid(which="major", color="#e5e5e5")
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return figure


def _draw_roofs(axes: Axes, content: Roofline) -> None:
    """The two roofs, and the limits of both axes."""
    points = [*content.operators, *([content.run] if content.run else [])]
    peak, bandwidth = content.peak_macs_per_cycle, content.peak_bytes_per_cycle
    ridge = peak / bandwidth
    low = min([ridge, *(each.macs_per_byte for each in points)]) / 4
    high = max([ridge, *(each.macs_per_byte for each in points)]) * 4
    floor = min([low * bandwidth, *(each.macs_per_cycle for each in points)]) / 2
    for start, stop, style, label in (
        (low, ridge, "--", f"DRAM: {bandwidth:g} bytes per cycle"),
        (ridge, high, "-", f"array: {peak:,} multiply-accumulates per cycle"),
    ):
        roof = [min(peak, each * bandwidth) for each in (start, stop)]
        axes.plot([start, stop], roof, style, color="#444", linewidth=1.5, label=label)
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(floor, peak * 2))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axis.set_minor_formatter(NullFormatter())


def _place(point: Point) -> tuple[float, float]:
    return point.macs_per_byte, point.macs_per_cycle


def _share(point: Point) -> str:
    return f"{point.name}: {point.macs_per_cycle / point.roof_macs_per_cycle:.0%} of its roof"


def write_roofline(path: str | os.PathLike[str], content: Roofline) -> None:
    """Draw the picture into a PNG, SVG or PDF file, by its suffix. Raises HeddleError if that cannot be done."""
    require_type("the content", content, Roofline, "a Roofline, as heddle.roofline makes")
    write_picture(path, lambda: roofline_figure(content))
