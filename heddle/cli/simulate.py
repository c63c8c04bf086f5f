"""heddle simulate: when things happen in a program, and why units waited."""

from pathlib import Path

import click
import heddle

from .report import at_position, position_option
from .shared import (
    command,
    console,
    file_to_write,
    json_option,
    load_program,
    picture_to_write,
    print_json,
    print_part,
    races_option,
    require_distinct,
)  # fmt: skip
from .tables import print_bytes, print_dram, print_stalls, write_pictures


@command(
    short_help="Simulate when things happen in a program file.",
    epilog="Example: heddle simulate digits-vit.heddle --dram LPDDR4-3200 --trace run.json",
)
@click.argument("file")
@click.option("--config", "config_name", metavar="NAME|FILE.toml", help="Refuse FILE if for another accelerator.")
@click.option("--dram", metavar="NAME", help="Memory behind the port: one of heddle configs --drams.")
@click.option("--latency", type=int, metavar="CYCLES", help="DRAM latency, if not the configuration's.")
@click.option("--cycles-per-beat", type=int, metavar="CYCLES", help="DRAM cycles per beat, likewise.")
@position_option
@click.option("--timeline", **picture_to_write, help="Write a picture (.png, .svg, .pdf).")
@click.option("--trace", **file_to_write, help="Write a trace for ui.perfetto.dev.")
@races_option
@json_option
def simulate(
    file: str, config_name: str | None, dram: str | None, latency: int | None, cycles_per_beat: int | None,
    position: int | None, timeline: Path | None, trace: Path | None, races: bool, as_json: bool,
) -> None:  # fmt: skip
    """Simulate the timing of a program FILE: cycles, utilisation, bytes and stalls. Timing needs no data."""
    require_distinct(timeline, trace)
    program = at_position(load_program(file, config_name, races), position)
    changes = {"latency_cycles": latency, "cycles_per_beat": cycles_per_beat}
    config = program.config.with_dram(dram, **{name: value for name, value in changes.items() if value is not None})
    result = heddle.simulate(program, values=False, dram=config.dram)
    write_pictures(result, timeline, trace)
    if as_json:
        print_json(result.to_dict(), config)
        return
    console.print(
        f"[bold]{program.name}[/] on {program.config.title}: {len(program.instructions)} instructions, "
        f"{result.cycles:,} cycles, {result.mac_utilisation:.1%} MAC utilisation"
    )
    print_part(program)
    print_stalls(result)
    print_bytes(result)
    print_dram(result)
