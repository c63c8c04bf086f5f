"""`python -m heddle.cosim.proofs`: prove the properties of the RTL, and print what was proved."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import click
from rich.console import Console
from rich.table import Table

from . import PROOFS
from .engine import Verdict


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1)
@click.option("--fast", is_flag=True, help="Leave out what takes more than a few seconds.")
@click.option("--jobs", default=2, show_default=True, type=click.IntRange(1, 64), help="Proofs at a time.")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON, for programs.")
@click.option("--log", is_flag=True, help="Print what Yosys said of a proof that failed.")
def main(names: tuple[str, ...], fast: bool, jobs: int, as_json: bool, log: bool) -> None:
    """Prove NAMES (or all that begin so), or all there is. Ends with 1 if a property is not proved or a cover is not
    reached."""
    chosen = [each for each in PROOFS.values() if not names or any(each.name.startswith(name) for name in names)]
    unknown = [name for name in names if not any(each.startswith(name) for each in PROOFS)]
    if unknown:
        raise click.UsageError(f"there is no proof {unknown[0]!r}; there are {', '.join(PROOFS)}")
    chosen = [each for each in chosen if not (fast and each.slow)]
    with ThreadPoolExecutor(jobs) as pool:
        verdicts = list(pool.map(lambda each: each.run(), chosen))
    rows = [_row(each.name, each.about, found) for each, found in zip(chosen, verdicts, strict=True)]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        _print(rows)
    if log:
        for each in verdicts:
            click.echo("" if each.holds else each.log)
    sys.exit(0 if all(each.holds for each in verdicts) else 1)


def _row(name: str, about: str, verdict: Verdict) -> dict:
    return {
        "proof": name, "about": about, "properties": verdict.properties, "proved": verdict.proved,
        "depth": "unbounded" if verdict.proved else None, "engine": "yosys sat, temporal induction",
        "induction_cycles": verdict.depth, "covers": verdict.covers, "seconds": round(verdict.seconds, 1),
    }  # fmt: skip


def _print(rows: list[dict]) -> None:
    table = Table(title="Properties of the RTL, for all inputs and all times", box=None)
    for column in ("proof", "about", "property", "result", "induction", "covers", "seconds"):
        table.add_column(column, justify="right" if column == "seconds" else "left")
    for row in rows:
        covers = [f"{cover}: {'not reached' if at is None else f'cycle {at}'}" for cover, at in row["covers"].items()]
        result = "unbounded" if row["proved"] else "NOT PROVED"
        table.add_row(row["proof"], row["about"], "\n".join(row["properties"]), result,
                      f"over {row['induction_cycles']}", "\n".join(covers), f"{row['seconds']}")  # fmt: skip
    Console().print(table)
    count = sum(len(row["properties"]) for row in rows if row["proved"])
    total = sum(len(row["properties"]) for row in rows)
    seconds = sum(row["seconds"] for row in rows)
    click.echo(f"{count} of {total} properties proved, {seconds:.0f} s in all of its processes")


if __name__ == "__main__":
    main()
