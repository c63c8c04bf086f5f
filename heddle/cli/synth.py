"""heddle synth: what a machine, or a unit of it, takes in silicon."""

from importlib import import_module
from pathlib import Path
from typing import Any

import click
import heddle

from .shared import command, console, json_option, print_json, print_table, refuse

MOST_SEEDS = 100


@command(
    short_help="Synthesise an accelerator, unit by unit.",
    epilog="Example: heddle synth nano --unit vector --place --seeds 3",
)
@click.argument("config")
@click.option("--unit", "units", multiple=True, metavar="NAME", help="Of these alone; also a part: vector.panel.")
@click.option("--target", default="ecp5", show_default=True, metavar="ecp5|generic", help="A part, or gates to count.")
@click.option("--liberty", type=click.Path(path_type=Path), metavar="FILE", help="With generic: the gates.")
@click.option("--place", is_flag=True, help="Place and route each unit, too: how fast it can be clocked.")
@click.option("--seeds", default="1", show_default=True, metavar="N|N,N,...",
              help="With --place: how many placements, or the seeds of each.")  # fmt: skip
@json_option
def synth(
    config: str, units: tuple[str, ...], target: str, liberty: Path | None, place: bool, seeds: str, as_json: bool
) -> None:
    """Synthesise each unit of a configuration as a design of its own, and say what it takes.

    On an ECP5 that is look-up tables, registers, multipliers and block RAMs; for generic it is gate equivalents (areas
    of NAND2) and bits of SRAM.
    """
    machine = heddle.get_config(config)
    if target != "generic":
        refuse("is for --target generic", "liberty")
    else:
        refuse("is for --target ecp5", "place")
    if not place:
        refuse("is for placements: it needs --place", "seeds")
    chosen = _seeds(seeds) if place else ()
    synthesis = heddle.synthesise(machine, units, target, liberty, chosen)
    if as_json:
        print_json(synthesis.to_dict(), machine)
    else:
        _print(synthesis, parts=bool(units))


def _seeds(text: str) -> list[int]:
    """The seeds that are meant: by their number, from 1, or one by one. Raises HeddleError for anything else."""
    try:
        numbers = [int(each) for each in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 1 and 1 <= numbers[0] <= MOST_SEEDS:
        return [*range(1, numbers[0] + 1)]
    if 1 < len(numbers) == len(set(numbers)) <= MOST_SEEDS and min(numbers) >= 1:
        return numbers
    raise heddle.HeddleError(f"--seeds must be a number from 1 to {MOST_SEEDS}, or different numbers of at least 1 "
                             f"with commas between, not {text!r}")  # fmt: skip


def _print(synthesis: Any, parts: bool) -> None:
    """A row for each unit, and for all parts in it if the units were named."""
    walk = import_module("heddle.explore.area").walk
    rows = []
    for unit in synthesis.units:
        for level, area in walk(unit.area) if parts else [(0, unit.area)]:
            name = "  " * level + area.name + (f" × {area.count}" if area.count > 1 else "")
            rows.append((name, *map(_number, area.figures.values())))
    rows.append(("all", *map(_number, synthesis.figures.values())))
    print_table(f"Area of {synthesis.config.title}", ["unit", *synthesis.figures], rows)
    _print_clocks(synthesis)
    for name, times in synthesis.lacking.items():
        need = _number(synthesis.figures[name])
        console.print(f"It does not fit an LFE5U-85F: {name} is {need}, {times:.1%} of what that has.")
    if synthesis.target == "generic" and synthesis.kinds["pes"]:
        floats, pes = synthesis.kinds["operators"], synthesis.kinds["pes"]
        console.print(f"Operators of float32: {floats:,.0f} gate equivalents, PEs: {pes:,.0f}; {floats / pes:.2f} to 1")


def _print_clocks(synthesis: Any) -> None:
    placed = [unit for unit in synthesis.units if unit.clock]
    if not placed:
        return
    rows = []
    for unit in placed:
        mhz = unit.clock.fmax_mhz
        rows.append((unit.area.name, *(map("{:.1f}".format, mhz) if mhz else ["no room"] * 3)))
    print_table("Clock, MHz", ["unit", "least", "median", "most"], rows)
    path = [
        (unit.area.name, step.signal, step.source, f"{step.delay_ns:.2f}")
        for unit in placed if unit.clock.slowest for step in unit.clock.slowest.path
    ]  # fmt: skip
    print_table("Slowest paths", ["unit", "to", "in", "ns"], path, text=(0, 1, 2))
    if synthesis.slowest:
        mhz, name = synthesis.slowest
        console.print(f"Clock: {mhz:.1f} MHz, by {name}; the configuration says {synthesis.config.clock_mhz:,}.")


def _number(value: float) -> str:
    return f"{value:,.0f}"
