"""heddle cosim: simulator and RTL in lock-step."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import heddle
import numpy as np

from . import cosim_faults
from .shared import (
    check_images,
    command,
    compile_workload,
    console,
    get_workload,
    is_checkpoint,
    is_file,
    json_option,
    load_config,
    load_program,
    print_json,
    print_table,
    progress,
    races_option,
    refuse,
    require_engine,
    waves_to_write,
)  # fmt: skip

MOST_RUNS = 100_000
MADE = ("random", "illegal", "faults")  # what is made here


@command(
    short_help="Compare simulator and RTL, cycle by cycle and byte by byte.",
    epilog="Example: heddle cosim random --config nano --engine icarus --programs 2 --seed 7",
)
@click.argument("what", metavar="(MODEL|FILE|random|illegal|faults)")
@click.option("--config", "config_name", metavar="NAME|FILE.toml", help="The accelerator. [default: small]")
@click.option("--engine", default="verilator", show_default=True, metavar="verilator|icarus|amaranth",
              help="What runs the RTL.")  # fmt: skip
@click.option("--images", default=1, show_default=True, help="Inputs to run, for a MODEL or FILE.")
@click.option("--programs", type=int, help="Programs to make, for random and illegal, or to run on each machine, for "
              f"faults. [default: 10; {cosim_faults.PROGRAMS} for faults]")
@click.option("--sample", default=60, show_default=True, help="Faults to plant, for faults.")
@click.option("--file", "fault_file", metavar="hw/NAME.py", help="Plant faults in this file only. [default: in all of "
              "hw/]")  # fmt: skip
@click.option("--rows", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.jsonl",
              help="Append what becomes of each fault, and go on where such a file ends.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="Of programs that are made, of the sample of faults, and "
              "of inputs for a FILE or a directory.")  # fmt: skip
@click.option("--waves", metavar="FILE.fst|FILE.vcd", **waves_to_write,
              help="Record the first run or, of what differs, the cycles around it.")  # fmt: skip
@click.option("--waves-from", type=int, metavar="CYCLE", help="First cycle of it. [default: 0]")
@click.option("--waves-to", type=int, metavar="CYCLE", help="Last cycle of it. [default: the last of the run]")
@races_option
@json_option
def cosim(
    what: str, config_name: str | None, engine: str, images: int, programs: int | None, sample: int,
    fault_file: str | None, rows: Path | None, seed: int, waves: Path | None, waves_from: int | None,
    waves_to: int | None, races: bool, as_json: bool,
) -> None:  # fmt: skip
    """Run programs on simulator and RTL and compare every retirement and every byte.

    MODEL is one that heddle run knows, or a directory with config.json and model.safetensors, as Hugging Face
    models have, with random inputs. (This needs the extra hf.) With illegal, random programs with something wrong
    in them: each is refused, or agrees, or stops the RTL with the error that stands for it. With faults, a sample
    of single faults that are made of the RTL's sources, each in random programs that ought to find it. A waveform
    has every signal of the accelerator; it is made by a run of its own, on a simulator built to record. Exits with
    0 if nothing differs, and of faults if none survives that is not known to; otherwise with 1.
    """
    programs = programs if programs is not None else cosim_faults.PROGRAMS if what == "faults" else 10
    _check(what, images, programs, seed)
    if what == "faults":
        cosim_faults.run(sample, seed, fault_file, programs, rows, as_json, _in_steps)
    require_engine(engine)
    window = _window(waves, engine, waves_from, waves_to)
    if what == "illegal":
        _illegal(config_name or "small", engine, programs, seed, as_json)
    chosen, inputs = _runs(what, config_name, images, programs, seed, races)
    config = (chosen[0] if what == "random" else chosen).config
    comparison = _compare(chosen, inputs, engine)
    figures = comparison.to_dict()
    if not as_json:
        print_comparison(comparison)
    if waves is not None:
        figures |= _record(chosen, inputs, comparison, engine, waves, window)
    if as_json:
        print_json(figures, config)
    else:
        _print_waves(figures)
    sys.exit(0 if comparison.agrees else 1)


def _window(waves: Path | None, engine: str, first: int | None, last: int | None) -> Any:
    """The window that was asked for, checked before anything runs; None: none was."""
    if waves is None:
        if first is not None or last is not None:
            raise heddle.HeddleError("--waves-from and --waves-to are of a waveform: name its file with --waves")
        return None
    window = None if first is None and last is None else heddle.Window(first or 0, last)
    import_module("heddle.cosim.waves").check(waves, engine, window or heddle.Window())
    return window


def _record(chosen: Any, inputs: Any, comparison: Any, engine: str, waves: Path, window: Any) -> dict[str, Any]:
    """Write the waveform of the first run, or of the first that differs; says which run and cycles it shows. That it
    could not be written does not hide a difference: then there is only a line on standard error."""
    difference = comparison.first_difference
    run = difference.run if difference else 0
    if difference and window is None and engine != "amaranth":
        window = import_module("heddle.cosim.waves").around(difference.cycle)
    window = window or heddle.Window()
    program = chosen[run] if isinstance(chosen, list) else chosen
    with progress(f"Recording run {run} on {engine}", None):
        try:
            heddle.record(program, inputs[run] if inputs else None, engine, waves, window)
        except (heddle.HeddleError, RuntimeError) as error:
            if comparison.agrees:
                raise
            click.echo(f"heddle: there is no waveform: {error}", err=True)
            return {}
    return {"file": str(waves), "run_recorded": run, "first_cycle": window.first, "last_cycle": window.last}


def _print_waves(figures: dict[str, Any]) -> None:
    if "run_recorded" not in figures:
        return
    last = "its end" if figures["last_cycle"] is None else f"cycle {figures['last_cycle']:,}"
    viewers = import_module("heddle.cosim.waves").viewers(figures["file"])
    shown = f"run {figures['run_recorded']} from cycle {figures['first_cycle']:,} to {last}"
    console.print(f"wrote {figures['file']}: {shown}; look at it with {viewers}", markup=False, soft_wrap=True)


def _check(what: str, images: int, programs: int, seed: int) -> None:
    """Raise HeddleError for numbers out of range, and for options that mean nothing for what is to run."""
    if what in MADE:
        refuse("is for a MODEL or FILE; --programs says how many are made", "images")
        refuse("is for a FILE; programs that are made have no race", "races")
    else:
        refuse("is for random programs; --images says how many inputs to run", "programs")
    if what == "illegal":
        refuse("is for programs that run to their end", "waves")
    if what == "faults":
        refuse("means nothing for faults, which are run on machines of their own by verilator", "config_name", "engine",
               "waves", "waves_from", "waves_to")  # fmt: skip
    else:
        refuse("is for faults", "sample", "fault_file", "rows")
    if what not in MADE and not is_file(what):
        if not is_checkpoint(what):
            refuse("is for random programs, a FILE and a directory; a MODEL has inputs of its own", "seed")
        refuse("is for a FILE; what is compiled here has no race", "races")
    for option, value in (("--images", images), ("--programs", programs)):
        if not 1 <= value <= MOST_RUNS:
            raise heddle.HeddleError(f"{option} must be at least 1 and at most {MOST_RUNS:,}, not {value}")
    if seed < 0:
        raise heddle.HeddleError(f"--seed must be at least 0, not {seed}")


def _compare(chosen: Any, inputs: Any, engine: str) -> Any:
    runs = len(chosen if inputs is None else inputs)
    with progress(f"Lock-step on {engine}, {runs} runs", runs, "run") as advance:
        return heddle.lockstep(chosen, inputs, engine, progress=_in_steps(advance))


def _in_steps(advance: Callable[[int], None]) -> Callable[[int, int], None]:
    """A function of (done, all) that advances by what is newly done."""
    finished = 0

    def show(done: int, total: int) -> None:
        nonlocal finished
        advance(done - finished)
        finished = done

    return show


def _illegal(config_name: str, engine: str, programs: int, seed: int, as_json: bool) -> None:
    """The fuzzer of illegal programs; exits."""
    config = load_config(config_name)
    with progress(f"{programs} illegal programs on {engine}", programs, "program") as advance:
        campaign = heddle.illegal(config, programs, seed, engine, progress=_in_steps(advance))
    if as_json:
        print_json(campaign.to_dict(), config)
    else:
        print_campaign(campaign)
    sys.exit(0 if campaign.agrees else 1)


def print_campaign(campaign: Any) -> None:
    """What became of illegal programs, and each that is a fault."""
    rows = [
        ("refused", campaign.refused),
        ("agree, simulator and RTL", campaign.agree),
        ("stopped by the RTL, as the simulator says", campaign.stopped),
        ("third outcome", len(campaign.third)),
    ]
    errors = [(name.lower().replace("_", " "), count) for name, count in sorted(campaign.stopped_by.items())]
    errors.append(("none, but the simulator sees a bank conflict: refused", campaign.came_through))
    print_table(f"Illegal on {campaign.machine}", ["outcome", "programs"], rows)
    print_table("Those of them that must stop the RTL", ["error of the RTL", "programs"], errors)
    console.print(f"{campaign.programs:,} illegal programs on {campaign.machine}, {campaign.ran:,} of them on "
                  f"{campaign.engine}; {campaign.too_long:,} more would run for too long")  # fmt: skip
    for each in campaign.third:
        console.print(str(each), markup=False)


def print_comparison(comparison: Any) -> None:
    """One line for agreement; for anything else, also where it begins."""
    console.print(f"{comparison.engine} on {comparison.machine}: {comparison.runs} runs, {comparison.instructions:,} "
                  f"instructions, {comparison.cycles:,} cycles: {comparison.different_bytes} different bytes, "
                  f"{comparison.different_cycles} different cycles")  # fmt: skip
    if comparison.first_difference:
        console.print(f"first difference: {comparison.first_difference}", markup=False)


def _runs(
    what: str, config_name: str | None, images: int, programs: int, seed: int, races: bool
) -> tuple[Any, Any]:
    """(program or programs, sets of inputs)."""
    if what == "random":
        config, made = load_config("small" if config_name is None else config_name), []
        with progress(f"Making {programs} random programs", programs, "program") as advance:
            for number in range(seed, seed + programs):
                made.append(heddle.random_program(config, number))
                advance()
        return made, None
    if is_file(what):
        program = load_program(what, config_name, races)
        random = np.random.default_rng(seed)
        return program, [_random_inputs(program, random) for _ in range(images)]
    workload = get_workload(what, seed=seed)
    check_images(workload, images)
    samples = workload.load(images).inputs
    program = compile_workload(workload, load_config("small" if config_name is None else config_name))
    return program, [{name: array[i] for name, array in samples.items()} for i in range(images)]


def _random_inputs(program: heddle.Program, random: np.random.Generator) -> dict[str, np.ndarray]:
    """One set. Whole numbers that the host makes inputs of are 0 or 1, as truth is."""
    tensors = {tensor.name: tensor for tensor in program.inputs()}
    found = {}
    for each in program.arguments or program.inputs():
        if each.name in tensors:
            found[each.name] = _random_input(tensors[each.name], random)
        else:
            found[each.name] = random.integers(0, 2, each.shape)
    return found


def _random_input(tensor: Any, random: np.random.Generator) -> np.ndarray:
    """Normal values; numbers of rows and pages are any that there are."""
    if tensor.memory in (heddle.Memory.INDEX, heddle.Memory.PAGE):
        return random.integers(0, max(tensor.limit, 1), tensor.shape)
    return random.normal(size=tensor.shape).astype(np.float32)
