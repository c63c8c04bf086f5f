"""The roofline of a run (Williams, Waterman and Patterson, 2009): how much work per byte of DRAM, and how fast.

A point lies under two roofs: what the array can multiply in a cycle, and what DRAM can bring in a cycle times the work
on each byte. The point of an operator is over the cycles in which any of its instructions executes, whole tiles
counted; the point of the run over all its cycles, useful multiply-accumulates counted.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ..arch.dram import Dram
from ..arch.errors import require_type
from .picture import write_picture
from .profile import Profile

LABELLED = 10  # operators with the most work have their names in the picture
COLOURS = ["#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f", "#edc948", "#b07aa1", "#ff9da7", "#9c755f", "#86bcb6"]


@dataclass(frozen=True)
class Point:
    """`intensity` in multiply-accumulates per byte of DRAM, `speed` and `roof` in multiply-accumulates per cycle."""

    name: str
    macs: int
    dram_bytes: int
    cycles: int
    intensity: float
    speed: float
    roof: float


@dataclass(frozen=True)
class Roofline:
    """Two roofs and the points under them; `run` is the whole run, None if nothing was multiplied."""

    title: str
    macs_per_cycle: int
    bytes_per_cycle: float
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
    return Roofline(f"{program.name} on {config.name}", peak, bandwidth, run, operators)


def roofline_figure(content: Roofline) -> Figure:
    """The picture, both axes logarithmic."""
    figure = Figure(figsize=(10, 5.5), layout="constrained")
    axes = figure.subplots()
    points = [*content.operators, *([content.run] if content.run else [])]
    ridge = content.macs_per_cycle / content.bytes_per_cycle
    low = min([ridge, *(each.intensity for each in points)]) / 4
    high = max([ridge, *(each.intensity for each in points)]) * 4
    floor = min([low * content.bytes_per_cycle, *(each.speed for each in points)]) / 2
    for start, stop, style, label in (
        (low, ridge, "--", f"DRAM: {content.bytes_per_cycle:g} bytes per cycle"),
        (ridge, high, "-", f"array: {content.macs_per_cycle:,} MACs per cycle"),
    ):
        roof = [min(content.macs_per_cycle, each * content.bytes_per_cycle) for each in (start, stop)]
        axes.plot([start, stop], roof, style, color="#444", linewidth=1.5, label=label)
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(floor, content.macs_per_cycle * 2))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axis.set_minor_formatter(NullFormatter())
    named = sorted(content.operators, key=lambda each: -each.macs)[:LABELLED]
    for each in content.operators:
        colour = COLOURS[named.index(each)] if each in named else "#bbbbbb"
        label = f"{each.name}: {each.speed / each.roof:.0%} of its roof" if each in named else None
        axes.scatter(each.intensity, each.speed, s=50, color=colour, label=label, zorder=3)
    if content.run:
        label = f"whole run: {content.run.speed / content.run.roof:.0%} of its roof"
        axes.scatter(content.run.intensity, content.run.speed, s=170, marker="*", color="black", label=label, zorder=4)
    axes.set_xlabel("multiply-accumulates per byte of DRAM")
    axes.set_ylabel("multiply-accumulates per cycle")
    axes.set_title(content.title)
    axes.grid(which="major", color="#e5e5e5")
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return figure


def write_roofline(path: str | os.PathLike[str], content: Roofline) -> None:
    """Draw the picture into a PNG, SVG or PDF file, by its suffix. Raises HeddleError if that cannot be done."""
    require_type("the content", content, Roofline, "a Roofline, as heddle.roofline makes")
    write_picture(path, lambda: roofline_figure(content))
