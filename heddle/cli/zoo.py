"""heddle zoo: every system of the field, small, against PyTorch and the RTL."""

from __future__ import annotations

import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import heddle

from .shared import (
    command,
    console,
    file_to_write,
    json_option,
    load_config,
    print_json,
    print_table,
    progress,
    require_engine,
)


@command(
    short_help="Every system of the field, small, against PyTorch and the RTL.",
    epilog="Example: heddle zoo transformer moco --rtl",
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--rtl", is_flag=True, help="In lock-step with the RTL too: a minute to build it, then seconds each.")
@click.option(
    "--full", metavar="NAME|FILE.toml", help="Time the shapes of the papers too, on this accelerator: minutes."
)
@click.option("-o", "--output", **file_to_write, help="Page to write the table into, between its two marks.")
@json_option
def zoo(names: tuple[str, ...], rtl: bool, full: str | None, output: Path | None, as_json: bool) -> None:
    """Compile, simulate and compare the systems of these NAMEs, all if there are none.

    Each is a small model from its paper (models/zoo.py), with weights from a seed. Every result, losses and updated
    weights included, must reach 40 dB against PyTorch in float32; with --rtl no byte and no cycle may differ from the
    RTL. Exits with 1 if one does not hold.
    """
    measured = import_module("heddle.zoo")  # loads PyTorch
    systems, page = measured.systems(names), _page(output, measured) if output else ""
    if rtl:
        require_engine("verilator")
    large = load_config(full) if full is not None else None
    rows, found, timed, config = [], {}, {}, measured.machine()
    with progress(f"Measuring the zoo on {config.title}", len(systems), "system") as advance:
        for system in systems:
            trial = measured.trial(system)
            rows.append(trial.row)
            if rtl and trial.program is not None:
                found[system.name] = heddle.lockstep(trial.program, trial.inputs, "verilator")
            if large and (time := measured.full(system, large)):
                timed[system.name] = time
            advance()
    if output:
        output.write_text(page.replace(measured.section(page), measured.table(rows, found)))
    if as_json:
        figures = [asdict(row) | _more(row.name, found, timed) for row in rows]
        print_json({"precision": measured.PRECISION, "systems": figures}, config)
    else:
        _print(rows, found, config, measured)
        if large:
            _print_full(timed, large)
    sys.exit(any(row.state != "ok" for row in rows) or any(not each.agrees for each in found.values()))


def _page(path: Path, measured: Any) -> str:
    """The text of a page with a place for the table."""
    text = path.read_text() if path.is_file() else ""
    if not measured.section(text):
        raise heddle.HeddleError(f"{path} must have the lines {measured.BEGIN} and {measured.END}: the table goes "
                                 f"between them")  # fmt: skip
    return text


def _more(name: str, found: dict[str, Any], timed: dict[str, Any]) -> dict[str, Any]:
    """What --json has of a row only where it was asked for."""
    rtl = {"rtl": found[name].to_dict()} if name in found else {}
    full = asdict(timed[name]) if name in timed else {}
    return rtl | ({"full": {key: value for key, value in full.items() if value}} if full else {})


def _print_full(timed: dict[str, Any], config: Any) -> None:
    rows = [(name, *(("refused", "·", "·") if each.reason else
                     (f"{each.cycles:,}", f"{each.mac_utilisation:.1%}", f"{each.load_bytes:,}")))
            for name, each in timed.items()]  # fmt: skip
    print_table(f"The shapes of the papers on {config.title}", ["system", "cycles", "use", "bytes loaded"], rows)
    for name, each in timed.items():
        if each.reason:
            console.print(f"{name}: {each.reason}", markup=False, soft_wrap=True)


def _print(rows: list[Any], found: dict[str, Any], config: Any, measured: Any) -> None:
    table = []
    for row in rows:
        level = "exact" if row.sqnr_db is None and row.state == "ok" else f"{row.sqnr_db or 0:.1f} dB"
        other, use = found.get(row.name), row.mac_utilisation
        table.append((
            row.name, row.paper, row.state, row.result_count, level, f"{row.instructions:,}", f"{row.cycles:,}",
            "·" if use is None else f"{use:.1%}",
            "·" if other is None else f"{other.different_bytes}, {other.different_cycles}",
        ))  # fmt: skip
    columns = ["system", "paper", "state", "results", "least SQNR", "instructions", "cycles", "use", "RTL"]
    print_table(f"The zoo on {config.title}, {measured.PRECISION}", columns, table, text=(0, 1, 2))
    for row in rows:
        if row.reason:
            console.print(f"{row.name}: {row.reason}", markup=False, soft_wrap=True)
    if found:
        console.print("RTL: bytes and cycles that differ.")
