"""heddle bench: the benchmark table."""

import sys
from importlib import import_module
from typing import Any

import click
import heddle

from .shared import command, console, json_option, print_json, print_table

MOST_SECONDS = 1e6  # that a process can be waited for in one go


@command(
    short_help="Utilisation and simulator speed, against their goals.",
    epilog="Example: heddle bench gemm-512 gpt2-decode --json",
)
@click.argument("cases", nargs=-1, metavar="[CASE]...")
@click.option("--scalesim", is_flag=True,
              help="In gemm-512 and bert-layer run scalesim too, on the same products: minutes, gigabytes "
                   "(pip install heddle[scalesim]).")  # fmt: skip
@click.option("--timeout", default=900.0, show_default=True, metavar="SECONDS", help="For one case, above 0.")
@json_option
def bench(cases: tuple[str, ...], scalesim: bool, timeout: float, as_json: bool) -> None:
    """Run the benchmarks, all or those of the CASEs named: how near to peak the array is, how fast that is known.

    mac_utilisation is useful multiply-accumulates over all PEs and all cycles, bandwidth_fraction the cycles that the
    bytes that must move take at the memory's full rate over those of the run, cycles_per_second simulated ones in a
    second of CPU time. A row of the JSON has, of these and other measures, the one that its goal is for, and all else
    that was found in figures; cycles_per_second above the rows is that of the Llama-2-7B prefill if it was run, else of
    the slowest case.

    Against scalesim, the CPU time of bert-layer is the median of nine warm runs in one process, without imports and
    without loading the compiled engine, each compilation and simulation of the whole layer; scalesim's is that of one
    run of the layer's products, without imports.

    A case that fails is a row with its error, and a goal that is missed one that says so. Exits with 0 if each goal is
    reached, with 1 if one is missed or a case fails, with 2 for a wrong CASE or option.
    """
    if not 0 < timeout <= MOST_SECONDS:
        raise heddle.HeddleError(f"--timeout must be above 0 and at most {MOST_SECONDS:g} seconds, not {timeout:g}")
    benchmarks = import_module("heddle.benchmarks")
    rows = [*benchmarks.rows(cases, ["--scalesim"] if scalesim else [], timeout)]
    speed = benchmarks.cycles_per_second(rows)
    if as_json:
        print_json({"benchmarks": rows, "cycles_per_second": speed})
    else:
        _print(rows, speed)
    sys.exit(0 if all(row["reached"] for row in rows) else 1)


def _print(rows: list[dict[str, Any]], speed: float | None) -> None:
    table = []
    for row in rows:
        value, at_least, figures = row[row["measure"]], "≥" if row["at_least"] else "≤", row["figures"]
        table.append((
            row["name"], row["measure"].replace("_", " "), "·" if value is None else _text(row["measure"], value),
            f"{at_least} {_text(row['measure'], row['goal'])}", "yes" if row["reached"] else "NO",
            *(f"{figures[name]:{form}}" if name in figures else "·" for name, form in _COLUMNS.values()),
        ))  # fmt: skip
    print_table("Benchmarks", ["row", "measure", "value", "goal", "reached", *_COLUMNS], table, text=(0, 1))
    cases = list({row["case"]: row for row in rows}.values())  # a row of each
    for row in cases:
        if "side_by_side" in row["figures"]:
            _print_side_by_side(row["case"], row["figures"]["side_by_side"])
    for row in cases:
        for kind in ("error", "note"):
            if kind in row:
                console.print(f"{row['case']}: {row[kind]}", markup=False, soft_wrap=True)
    if speed:
        console.print(f"simulated cycles per CPU second: {speed:,.0f}")


_COLUMNS = {
    "cycles": ("cycles", ","), "compile s": ("compile_seconds", ".1f"), "simulate s": ("simulate_seconds", ".2f"),
    "cycles/s": ("cycles_per_second", ".2e"),
}  # fmt: skip


def _print_side_by_side(case: str, figures: dict[str, Any]) -> None:
    total = figures["total"]
    rows = [
        (*_product(each), *_side(each["heddle"]), *_side(each["scalesim"]), _times(each)) for each in figures["gemms"]
    ]
    rows.append(("total", "", sum(len(each["names"]) for each in figures["gemms"]), *_side(total["heddle"]),
                 *_side(total["scalesim"]), _times(total)))  # fmt: skip
    columns = ["products", "M × N × K", "count", "Heddle cycles", "use", "CPU s", "scalesim cycles", "use", "CPU s"]
    print_table(f"{case}: the same products side by side", [*columns, "times faster"], rows)
    ours, other = (total[side]["peak_bytes"] / 1e9 for side in ("heddle", "scalesim"))
    console.print(f"most memory: Heddle {ours:.2f} GB, scalesim {other:.2f} GB. Heddle: each product compiled and "
                  "simulated, from DRAM and back, quantised and scaled; scalesim: the array, which never waits for "
                  "memory. Use is of the PEs. No side counts imports.", soft_wrap=True)  # fmt: skip


def _product(figures: dict[str, Any]) -> tuple[str, str, int]:
    """What products of equal shape are called, their shape and how many there are."""
    names = dict.fromkeys(name.rstrip("0123456789") for name in figures["names"])
    return ", ".join(names), f"{figures['m']} × {figures['n']} × {figures['k']}", len(figures["names"])


def _side(figures: dict[str, Any]) -> tuple[str, str, str]:
    return f"{figures['cycles']:,}", f"{figures['mac_utilisation']:.1%}", f"{figures['cpu_seconds']:.2f}"


def _times(figures: dict[str, Any]) -> str:
    return f"{figures['scalesim']['cpu_seconds'] / figures['heddle']['cpu_seconds']:,.0f}"


def _text(measure: str, value: float) -> str:
    if measure in ("mac_utilisation", "bandwidth_fraction"):
        return f"{value:.1%}"
    return f"{value:.2e}" if measure == "cycles_per_second" else f"{value:,.3g}"
