"""heddle cosim: simulator and RTL in lock-step."""

import sys
from typing import Any

import click
import heddle
import numpy as np

from .shared import (
    check_images,
    command,
    compile_workload,
    console,
    get_workload,
    is_file,
    json_option,
    load_config,
    load_program,
    print_json,
    progress,
    races_option,
    refuse,
    require_engine,
)  # fmt: skip

MOST_RUNS = 100_000


@command(
    short_help="Compare simulator and RTL, cycle by cycle and byte by byte.",
    epilog="Example: heddle cosim random --config nano --engine icarus --programs 20 --seed 7",
)
@click.argument("what", metavar="(MODEL|FILE|random)")
@click.option("--config", "config_name", metavar="NAME|FILE.toml", help="The accelerator. [default: small]")
@click.option("--engine", default="verilator", show_default=True, metavar="verilator|icarus|amaranth",
              help="What runs the RTL.")  # fmt: skip
@click.option("--images", default=1, show_default=True, help="Inputs to run, for a MODEL or FILE.")
@click.option("--programs", default=10, show_default=True, help="Programs to make, for random.")
@click.option("--seed", default=0, show_default=True, help="Of random programs, and of inputs for a FILE.")
@races_option
@json_option
def cosim(
    what: str, config_name: str | None, engine: str, images: int, programs: int, seed: int, races: bool, as_json: bool
) -> None:
    """Run programs on simulator and RTL and compare every retirement and every byte.

    Exits with 0 if nothing differs, with 1 if something does.
    """
    _check(what, images, programs, seed)
    require_engine(engine)
    chosen, inputs = _runs(what, config_name, images, programs, seed, races)
    comparison = _compare(chosen, inputs, engine)
    if as_json:
        print_json(comparison.to_dict())
    else:
        print_comparison(comparison)
    sys.exit(0 if comparison.agrees else 1)


def _check(what: str, images: int, programs: int, seed: int) -> None:
    """Raise HeddleError for numbers out of range, and for options that mean nothing for what is to run."""
    if what == "random":
        refuse("is for a MODEL or FILE; --programs says how many are made", "images")
        refuse("is for a FILE; programs that are made have no race", "races")
    else:
        refuse("is for random programs; --images says how many inputs to run", "programs")
    if what != "random" and not is_file(what):
        refuse("is for random programs and for a FILE; a MODEL has inputs of its own", "seed")
        refuse("is for a FILE; what is compiled here has no race", "races")
    for option, value in (("--images", images), ("--programs", programs)):
        if not 1 <= value <= MOST_RUNS:
            raise heddle.HeddleError(f"{option} must be at least 1 and at most {MOST_RUNS:,}, not {value}")
    if seed < 0:
        raise heddle.HeddleError(f"--seed must be at least 0, not {seed}")


def _compare(chosen: Any, inputs: Any, engine: str) -> Any:
    runs, finished = len(chosen if inputs is None else inputs), 0

    def show(done: int, total: int) -> None:
        nonlocal finished
        advance(done - finished)
        finished = done

    with progress(f"Lock-step on {engine}, {runs} runs", runs, "run") as advance:
        return heddle.lockstep(chosen, inputs, engine, progress=show)


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
        config, made = load_config(config_name or "small"), []
        with progress(f"Making {programs} random programs", programs, "program") as advance:
            for number in range(seed, seed + programs):
                made.append(heddle.random_program(config, number))
                advance()
        return made, None
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
    """Normal values; numbers of rows and pages are 0, for a file does not say how many there are."""
    if tensor.memory in (heddle.Memory.INDEX, heddle.Memory.PAGE):
        return np.zeros(tensor.shape, np.int64)
    return random.normal(size=tensor.shape).astype(np.float32)
