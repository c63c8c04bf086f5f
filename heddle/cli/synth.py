"""heddle synth: what a machine, or a unit of it, takes in silicon."""

from importlib import import_module
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
@click.option("--place", is_flag=True, help="Place and route each unit, too: how fast it can be clocked.")
@click.option("--seeds", default="1", show_default=True, metavar="N|N,N,...",
              help="With --place: how many placements, or the seeds of each.")  # fmt: skip
@json_option
def synth(config: str, units: tuple[str, ...], place: bool, seeds: str, as_json: bool) -> None:
    """Synthesise each unit of a configuration as a design of its own, and say what it takes."""
    machine = heddle.get_config(config)
    if not place:
        refuse("is of placements: it needs --place", "seeds")
    chosen = _seeds(seeds) if place else ()
    synthesis = import_module("heddle.explore.synthesis").synthesise(machine, units, chosen)
    if as_json:
        print_json(synthesis.to_dict(), machine)
    else:
        _print(synthesis)


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


def _print(synthesis: Any) -> None:
    figures = synthesis.figures
    rows = [(unit.name, *map(_number, unit.area.figures.values()), *_clock(unit.clock)) for unit in synthesis.units]
    rows.append(("all", *map(_number, figures.values()), *(["", "", ""] if synthesis.units[0].clock else [])))
    clocks = ["MHz least", "median", "most"] if synthesis.units[0].clock else []
    print_table(f"Area of {synthesis.config.title}", ["unit", *figures, *clocks], rows)
    for unit in synthesis.units:
        if unit.clock and unit.clock.slowest:
            path = [(step.signal, step.source, f"{step.delay_ns:.2f}") for step in unit.clock.slowest.path]
            print_table(f"{unit.name}: the slowest path", ["to", "in", "ns"], path, text=(0, 1))
    for name, share in synthesis.lacking.items():
        console.print(f"It does not fit: {name} would be {share:.0%} of an LFE5U-85F.")


def _clock(clock: Any) -> list[str]:
    if clock is None:
        return []
    return [f"{each:.1f}" for each in clock.fmax_mhz] if clock.fmax_mhz else ["no room"] * 3


def _number(value: float) -> str:
    return f"{value:,}"
