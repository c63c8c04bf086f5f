"""heddle bench: the benchmark table."""

from importlib import import_module
from typing import Any

import click

from .shared import console, json_option, print_json, print_table, progress


@click.command(
    short_help="Utilisation and simulator speed, against their goals.",
    epilog="Example: heddle bench gemm-512 gpt2-decode --json",
)
@click.argument("rows", nargs=-1, metavar="[CASE]...")
@click.option("--scalesim", is_flag=True, help="Run scalesim too (pip install heddle[scalesim]): minutes, gigabytes.")
@click.option("--timeout", default=900.0, show_default=True, metavar="SECONDS", help="For one case.")
@json_option
def bench(rows: tuple[str, ...], scalesim: bool, timeout: float, as_json: bool) -> None:
    """Run the benchmarks, all or those of the CASEs named: how near to peak the array is, how fast that is known.

    mac_utilisation is useful multiply-accumulates over all PEs and all cycles, bandwidth_fraction the cycles that the
    bytes that must move take at the memory's full rate over those of the run, cycles_per_second simulated ones in a
    second of CPU time. A case that fails is a row with its error, and a goal that is missed one that says so.
    """
    benchmarks = import_module("heddle.benchmarks")
    cases = len(rows) or len(benchmarks.CASES)
    found = []
    with progress(f"{cases} benchmarks", cases) as advance:
        for row in benchmarks.rows(rows, ["--scalesim"] if scalesim else [], timeout):
            if not found or row["case"] != found[-1]["case"]:
                advance()
            found.append(row)
    fastest = max((row["cycles_per_second"] for row in found if row.get("cycles_per_second")), default=None)
    if as_json:
        print_json({"rows": found, "cycles_per_second": fastest})
    else:
        _print(found, fastest)


def _print(rows: list[dict[str, Any]], fastest: float | None) -> None:
    table = []
    for row in rows:
        value, at_least = row[row["measure"]], "≥" if row["at_least"] else "≤"
        table.append((
            row["name"], row["measure"].replace("_", " "), "·" if value is None else _text(row["measure"], value),
            f"{at_least} {_text(row['measure'], row['goal'])}", "yes" if row["reached"] else "NO",
            *(f"{row[name]:{form}}" if row.get(name) is not None else "·" for name, form in _COLUMNS.values()),
        ))  # fmt: skip
    print_table("Benchmarks", ["row", "measure", "value", "goal", "reached", *_COLUMNS], table, text=(0, 1))
    for row in rows:
        if "error" in row:
            console.print(f"{row['name']}: {row['error']}", markup=False)
    for row in rows:
        if row.get("chunk", 0) < row.get("tokens", 0):
            console.print(f"{row['name']}: in chunks of {row['chunk']} tokens; the head for the last token")
    if fastest:
        console.print(f"most simulated cycles per CPU second: {fastest:,.0f}")


_COLUMNS = {
    "cycles": ("cycles", ","), "compile s": ("compile_seconds", ".1f"), "simulate s": ("simulate_seconds", ".2f"),
    "cycles/s": ("cycles_per_second", ".2e"),
}  # fmt: skip


def _text(measure: str, value: float) -> str:
    if measure in ("mac_utilisation", "bandwidth_fraction"):
        return f"{value:.1%}"
    return f"{value:.2e}" if measure == "cycles_per_second" else f"{value:,.3g}"
