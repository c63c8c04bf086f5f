"""heddle cosim: simulator and RTL in lock-step."""

import sys
from typing import Any

import click
import heddle
import numpy as np

from .shared import (
    check_images,
    compile_workload,
    console,
    get_workload,
    is_file,
    json_option,
    load_config,
    load_program,
    print_json,
    print_table,
    progress,
    races_option,
)  # fmt: skip


@click.command(
    short_help="Compare simulator and RTL, cycle by cycle and byte by byte.",
    epilog="Example: heddle cosim random --config nano --engine icarus --programs 20 --seed 7",
)
@click.argument("what", metavar="(MODEL|FILE|random|illegal)")
@click.option("--config", "config_name", metavar="NAME|FILE.toml", help="The accelerator. [default: small]")
@click.option("--engine", default="verilator", show_default=True, metavar="verilator|icarus|amaranth",
              help="What runs the RTL.")  # fmt: skip
@click.option("--images", default=1, show_default=True, help="Inputs to run, for a MODEL or FILE.")
@click.option("--programs", default=10, show_default=True, help="Programs to make, for random and illegal.")
@click.option("--seed", default=0, show_default=True, help="Of programs, and of inputs for a FILE.")
@races_option
@json_option
def cosim(
    what: str, config_name: str | None, engine: str, images: int, programs: int, seed: int, races: bool, as_json: bool
) -> None:
    """Run programs on simulator and RTL and compare every retirement and every byte.

    With illegal, random programs with something wrong in them: each is refused, or agrees, or stops the RTL with the
    error that stands for it. Exits with 0 if nothing differs, with 1 if something does.
    """
    if images < 1 or programs < 1:
        raise heddle.HeddleError(f"--images and --programs must be at least 1, not {min(images, programs)}")
    if what == "illegal":
        _illegal(config_name or "small", engine, programs, seed, as_json)
    chosen, inputs = _runs(what, config_name, images, programs, seed, races)
    with progress(f"Lock-step on {engine}", None) as advance:
        comparison = heddle.lockstep(chosen, inputs, engine, progress=lambda done, total: advance())
    if as_json:
        print_json(comparison.to_dict())
    else:
        print_comparison(comparison)
    sys.exit(0 if comparison.agrees else 1)


def _illegal(config_name: str, engine: str, programs: int, seed: int, as_json: bool) -> None:
    """The fuzzer of illegal programs; exits."""
    config = load_config(config_name)
    with progress(f"Illegal programs on {engine}", programs) as advance:
        campaign = heddle.illegal(config, programs, seed, engine, progress=lambda done, total: advance())
    if as_json:
        print_json(campaign.to_dict())
    else:
        print_campaign(campaign)
    sys.exit(0 if campaign.agrees else 1)


def print_campaign(campaign: Any) -> None:
    """What became of illegal programs, and each that is a fault."""
    rows = [
        ("refused", campaign.refused),
        ("agree, simulator and RTL", campaign.agree),
        *((f"RTL: {name.lower().replace('_', ' ')}", count) for name, count in sorted(campaign.stopped.items())),
        ("third outcome", len(campaign.third)),
    ]
    print_table(f"Illegal on {campaign.config}", ["outcome", "programs"], rows)
    console.print(f"{campaign.programs:,} illegal programs on {campaign.config}, {campaign.ran:,} of them on "
                  f"{campaign.engine}")  # fmt: skip
    for each in campaign.third:
        console.print(str(each), markup=False)


def print_comparison(comparison: Any) -> None:
    """One line for agreement; for anything else, also where it begins."""
    console.print(f"{comparison.engine} on {comparison.config}: {comparison.runs} runs, {comparison.instructions:,} "
                  f"instructions, {comparison.cycles:,} cycles: {comparison.different_bytes} different bytes, "
                  f"{comparison.different_cycles} different cycles")  # fmt: skip
    if comparison.first_difference:
        console.print(f"first difference: {comparison.first_difference}", markup=False)


def _runs(
    what: str, config_name: str | None, images: int, programs: int, seed: int, races: bool
) -> tuple[Any, Any]:
    """(program or programs, sets of inputs)."""
    if what == "random":
        config = load_config(config_name or "small")
        return [heddle.random_program(config, number) for number in range(seed, seed + programs)], None
    if is_file(what):
        program = load_program(what, config_name, races)
        random = np.random.default_rng(seed)
        return program, [{t.name: _random_input(t, random) for t in program.inputs()} for _ in range(images)]
    workload = get_workload(what)
    check_images(workload, images)
    samples = workload.load(images).inputs
    program = compile_workload(workload, load_config(config_name or "small"))
    return program, [{name: array[i] for name, array in samples.items()} for i in range(images)]


def _random_input(tensor: Any, random: np.random.Generator) -> np.ndarray:
    """Normal values; numbers of rows and pages are any that there are."""
    if tensor.memory in (heddle.Memory.INDEX, heddle.Memory.PAGE):
        return random.integers(0, max(tensor.limit, 1), tensor.shape)
    return random.normal(size=tensor.shape).astype(np.float32)
