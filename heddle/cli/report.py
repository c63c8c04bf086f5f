"""heddle report: why a run took as long as it did, by operator, layer, unit and level of memory."""

import shlex
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import heddle
from heddle.layers import write_whole

from .shared import (
    command,
    console,
    file_to_write,
    json_option,
    load_program,
    page_to_write,
    picture_to_write,
    print_json,
    print_part,
    print_table,
    progress,
    races_option,
    refuse,
    require_distinct,
)  # fmt: skip
from .tables import print_stalls, write_pictures

SHOWN = 12  # rows of the critical path
SPACE = "space.json"  # a folder with it is one of a sweep
DEFAULT_TABLE = "horowitz-45"
OF_A_RUN = ("config_name", "dram_name", "latency", "cycles_per_beat", "position", "layers", "chain", "free", "roofline",
            "timeline", "trace", "races")  # fmt: skip
position_option = click.option(
    "--position", type=int, metavar="N", help="For a decoder: tokens that are cached already."
)


@command(
    short_help="Why a run took so long: tables, roofline, critical path.",
    epilog="Example: heddle report digits-vit.heddle --roofline roofline.png --free",
)
@click.argument("file", metavar="FILE|SWEEP")
@click.option("--config", "config_name", metavar="NAME|FILE.toml", help="Refuse FILE if for another accelerator.")
@click.option("--dram", "dram_name", metavar="NAME", help="Memory behind the port: one of heddle configs --drams.")
@click.option("--latency", type=int, metavar="CYCLES", help="DRAM latency, if not the configuration's.")
@click.option("--cycles-per-beat", type=int, metavar="CYCLES", help="DRAM cycles per beat, likewise.")
@position_option
@click.option("--layers", is_flag=True, help="A table of layers too.")
@click.option("--chain", type=click.IntRange(0), default=0, metavar="N",
              help="The N longest links of the critical path too.")  # fmt: skip
@click.option("--free", is_flag=True, help="Simulate again for each unit, as if it took no time.")
@click.option("--roofline", **picture_to_write, help="Write a picture (.png, .svg, .pdf).")
@click.option("--timeline", **picture_to_write, help="Write a picture, likewise.")
@click.option("--trace", **file_to_write, help="Write a trace for ui.perfetto.dev.")
@click.option("--html", "page", **page_to_write, help="Write all of it as one page, which needs no network.")
@click.option("--energy", "table", metavar="NAME|FILE.toml",
              help="With --html: the table of energies. [default: horowitz-45, or that of the sweep]")  # fmt: skip
@races_option
@json_option
def report(
    file: str, config_name: str | None, dram_name: str | None, latency: int | None, cycles_per_beat: int | None,
    position: int | None, layers: bool, chain: int, free: bool, roofline: Path | None, timeline: Path | None,
    trace: Path | None, page: Path | None, table: str | None, races: bool, as_json: bool,
) -> None:  # fmt: skip
    """Simulate the timing of a program FILE, and say where time, work and bytes went; or write a page of a SWEEP, the
    folder that heddle sweep has filled, with its front, what was refused, and the run of its best point (--html).

    Every cycle of every unit has one cause; every cycle of the run has one place on the critical path. An operator's
    multiply-accumulates are those of whole tiles, padding included; the run's are the useful ones.
    """
    require_distinct(roofline, timeline, trace, page)
    if page is None:
        refuse("is of the page: it needs --html FILE", "table")
    if (Path(file) / SPACE).is_file():
        refuse("is for the run of one program, not for a sweep", *OF_A_RUN)
        _report_sweep(Path(file), page, table, as_json)
        return
    if as_json:
        refuse("is for the tables: --json has the layers", "layers")
    program = at_position(load_program(file, config_name, races), position)
    changes = {"latency_cycles": latency, "cycles_per_beat": cycles_per_beat}
    config = program.config.with_dram(
        dram_name, **{name: value for name, value in changes.items() if value is not None}
    )
    dram = config.dram
    result = heddle.simulate(program, values=False, dram=dram)
    profile = heddle.Profile(result)
    points = heddle.roofline(profile, dram)
    without = _without(program, dram, result.cycles) if free else {}
    write_pictures(result, timeline, trace)
    if page is not None:
        energies = import_module("heddle.explore.energy").read_table(table or DEFAULT_TABLE)
        made = import_module("heddle.explore.report").run_page(result, energies, _as_typed())
        write_whole(page, made.to_html())
    if roofline is not None:
        heddle.write_roofline(roofline, points)
    if as_json:
        print_json({
            **result.to_dict(), **profile.to_dict(), "roofline": points.to_dict(),
            "critical_path": {"by_unit": profile.path_by_unit, "by_operator": [
                {"operator": operator, "unit": unit, "cycles": cycles}
                for operator, unit, cycles in profile.path_by_operator()
            ], "longest": [
                {"index": link.index, "unit": link.kind, "first_cycle": link.first, "cycles": link.cycles,
                 "instruction": listing, "label": label}
                for link, listing, label in profile.longest_links(chain or SHOWN)
            ]},
            "free": without,
        }, config)  # fmt: skip
        return
    console.print(f"[bold]{program.name}[/] on {program.config.title}: {len(program.instructions):,} instructions, "
                  f"{result.cycles:,} cycles, {result.mac_utilisation:.1%} MAC utilisation")  # fmt: skip
    print_part(program)
    print_stalls(result)
    print_shares("Operators, over all layers", "operator", profile.operators, result)
    if layers:
        print_shares("Layers", "layer", profile.layers, result)
    _print_levels(profile, program.config)
    _print_path(profile, without)
    if chain:
        rows = [
            (f"{link.first:,}", f"{link.cycles:,}", link.kind, link.index, listing, label)
            for link, listing, label in profile.longest_links(chain)
        ]
        columns = ["from cycle", "cycles", "unit", "number", "instruction", "label"]
        print_table("The longest links of the critical path", columns, rows, text=(2, 4, 5))
    for path in (roofline, timeline, trace, page):
        if path is not None:
            console.print(f"wrote {path}")


def _report_sweep(folder: Path, page: Path | None, table: str | None, as_json: bool) -> None:
    """The page of a sweep."""
    if page is None:
        raise heddle.HeddleError(f"--html FILE must say which page to write of the sweep in {folder}")
    sweep = import_module("heddle.explore.sweep").Sweep.open(folder)
    if table is not None:
        sweep.table = import_module("heddle.explore.energy").read_table(table)
    if not sweep.journal.rows:
        raise heddle.HeddleError(f"{folder} must have rows of a sweep, and has none yet")
    made = import_module("heddle.explore.report").sweep_page(sweep, _as_typed())
    write_whole(page, made.to_html())
    if as_json:
        print_json({"space": sweep.space.name, "folder": str(folder), "points": len(sweep.outcomes), "file": str(page)})
    else:
        console.print(f"wrote {page}")


def _as_typed() -> str:
    """The command as it was called."""
    return shlex.join(["heddle", *sys.argv[1:]])


def at_position(program: Any, position: int | None) -> Any:
    """The program with its registers set for sequences of which so many tokens are cached."""
    if position is None:
        return program
    if not program.positions:
        raise heddle.HeddleError(f"--position is for decoders; {program.name} has no positions")
    if position < 0:
        raise heddle.HeddleError(f"--position must be at least 0, not {position}")
    return program.at(*[position] * len(program.positions))


def _without(program: Any, dram: Any, cycles: int) -> dict[str, dict[str, float]]:
    """For each unit with instructions: the cycles of the run if it took no time, and how much shorter that is."""
    units = sorted({each.unit for each in program.instructions if each.unit is not None})
    found = {}
    with progress(f"Simulating {program.name} with each unit free", len(units), "unit") as advance:
        for unit in units:
            without = heddle.simulate(program, values=False, dram=dram, free=(unit,)).cycles
            found[unit.name.lower()] = {"cycles": without, "shorter": 1 - without / cycles}
            advance()
    return found


def print_shares(title: str, what: str, shares: Any, result: Any) -> None:
    """A table of operators or layers."""
    config = result.program.config
    peak = config.rows * config.columns
    rows = [
        (
            each.name, f"{each.instructions:,}", f"{each.path_cycles / result.cycles:.1%}", f"{each.active_cycles:,}",
            f"{each.matrix_cycles:,}", f"{each.tile_macs:,}",
            f"{each.tile_macs / (peak * each.matrix_cycles):.1%}" if each.matrix_cycles else "·",
            f"{each.read_bytes['dram']:,}", f"{each.written_bytes['dram']:,}",
        )
        for each in shares
    ]  # fmt: skip
    columns = [what, "instructions", "critical", "active cycles", "MATRIX cycles", "tile MACs", "of MATRIX's peak",
               "DRAM read", "written"]  # fmt: skip
    print_table(title, columns, rows)


def _print_levels(profile: Any, config: Any) -> None:
    whole = profile.whole
    rows = []
    for level, read in whole.read_bytes.items():
        written = whole.written_bytes[level]
        if read or written:
            words = "" if level == "dram" else f"{config.word_bits(heddle.Memory[level.upper()]) / 8:g}"
            rows.append(
                (level.upper(), words, f"{read:,}", f"{written:,}", f"{(read + written) / profile.result.cycles:.2f}")
            )
    print_table("Bytes by level", ["level", "bytes of a word", "read", "written", "per cycle"], rows)


def _print_path(profile: Any, without: dict[str, dict[str, float]]) -> None:
    cycles = profile.result.cycles
    rows = [
        (unit, f"{count:,}", f"{count / cycles:.1%}", *_shorter(without, unit))
        for unit, count in profile.path_by_unit.items()
        if count or unit in without
    ]
    columns = ["unit", "cycles", "of the run"]
    print_table("The critical path, by unit", columns + (["run shorter if it were free"] if without else []), rows)
    found = profile.path_by_operator()
    rows = [(operator, unit, f"{count:,}", f"{count / cycles:.1%}") for operator, unit, count in found[:SHOWN]]
    rest = sum(count for *_, count in found[SHOWN:])
    if rest:
        rows.append((f"{len(found) - SHOWN} others", "", f"{rest:,}", f"{rest / cycles:.1%}"))
    print_table("The critical path, by operator", ["operator", "unit", "cycles", "of the run"], rows, text=(0, 1))


def _shorter(without: dict[str, dict[str, float]], unit: str) -> list[str]:
    if not without:
        return []
    return [f"{without[unit]['shorter']:.1%}" if unit in without else ""]
