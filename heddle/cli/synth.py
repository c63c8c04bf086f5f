"""heddle synth: what a machine, or a unit of it, takes in silicon."""

from importlib import import_module

import click
import heddle

from .shared import command, console, json_option, print_json, print_table


@command(
    short_help="Synthesise an accelerator, unit by unit.",
    epilog="Example: heddle synth nano --unit vector",
)
@click.argument("config")
@click.option("--unit", "units", multiple=True, metavar="NAME", help="Of these alone; also a part: vector.panel.")
@json_option
def synth(config: str, units: tuple[str, ...], as_json: bool) -> None:
    """Synthesise each unit of a configuration as a design of its own, and say what it takes."""
    machine = heddle.get_config(config)
    area = import_module("heddle.explore.synthesis").synthesise(machine, units)
    if as_json:
        print_json({"area": area.to_dict()}, machine)
        return
    print_table(
        f"Area of {machine.title}", ["unit", *area.figures],
        [(part.name, *(f"{number:,}" for number in part.figures.values())) for part in (*area.parts, area)],
    )
