"""heddle cosim faults: what random programs find of faults that a program makes of hw/."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import heddle

from .shared import console, print_json, print_table, progress, require_engine

PROGRAMS = 24  # on each machine, unless --programs says how many
MOST_FAULTS = 100_000


def run(
    sample: int, seed: int, file: str | None, programs: int, rows: Path | None, as_json: bool,
    in_steps: Callable[[Callable[[int], None]], Callable[[int, int], None]],
) -> None:  # fmt: skip
    """Plant the faults, print what became of them, and exit: with 1 if one survives that is not known to."""
    if not 1 <= sample <= MOST_FAULTS:
        raise heddle.HeddleError(f"--sample must be at least 1 and at most {MOST_FAULTS:,}, not {sample}")
    if rows is not None and not rows.parent.is_dir():
        raise heddle.HeddleError(f"cannot write {rows}: its directory does not exist")
    if file is not None and not (Path(heddle.__file__).parent / file).is_file():
        raise heddle.HeddleError(f"no faults can be made of {file}: name a file with logic, such as hw/pe.py")
    require_engine("verilator")
    faults = import_module("heddle.cosim.generated_faults")
    with progress(f"{sample} faults", sample, "fault") as advance:
        campaign = faults.generated_faults(sample, seed, file, programs, rows, in_steps(advance))
    if as_json:
        print_json(campaign.to_dict())
    else:
        print_faults(campaign)
    sys.exit(1 if campaign.unknown() else 0)


def print_faults(campaign: Any) -> None:
    """What became of the faults of each file, and each that survived."""
    print_table("Generated faults", ["file", "made", "killed", "equivalent", "survived"], campaign.table())
    for row in campaign.rows:
        if row.outcome == "survived":
            console.print(f"survived: {row}{f' ({row.by})' if row.by else ''}", markup=False, soft_wrap=True)
    console.print(f"{campaign.count('killed'):,} of {len(campaign.rows) - campaign.count('equivalent'):,} faults are "
                  f"killed ({campaign.rate():.1%}); {campaign.count('equivalent'):,} more are equivalent; "
                  f"{campaign.possible:,} could be made")  # fmt: skip
