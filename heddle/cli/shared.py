"""What the subcommands share: options, JSON, tables, progress bars, and where MODEL or FILE comes from."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import heddle
from click.core import ParameterSource
from heddle.layers import SUFFIXES, require_writable, unknown
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # as any other output does, not an exit with 1


def make_console() -> Console:
    """Where tables go. Off a terminal (a file, a log) they get a width that most need, unless COLUMNS says another."""
    return _Console(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 140)


console = make_console()
NARROWEST_TEXT = 16  # a column of text is folded to so many letters before columns are left out

MOST_IMAGES = 100_000  # of a model without a test set
_log = logging.getLogger("heddle.cli")


class _Command(click.Command):
    """Refuses an option that is given twice: only the last would count."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        order = self.make_parser(ctx).parse_args(args=[*args])[2]
        for parameter in order:
            if isinstance(parameter, click.Option) and not parameter.multiple and not parameter.is_flag and (
                order.count(parameter) > 1
            ):
                raise click.UsageError(f"{parameter.opts[-1]} is given {order.count(parameter)} times", ctx)
        return super().parse_args(ctx, args)


command = partial(click.command, cls=_Command)


def _checked(*suffixes: str) -> Callable[[click.Context, click.Parameter, Path | None], Path | None]:
    def check(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
        if path is not None:
            require_writable(path, suffixes)
        return path

    return check


# Keyword arguments of an option for a file to write, which is looked at before any work.
file_to_write: dict[str, Any] = {"type": click.Path(path_type=Path), "callback": _checked()}
picture_to_write: dict[str, Any] = {**file_to_write, "callback": _checked(*SUFFIXES)}
page_to_write: dict[str, Any] = {**file_to_write, "callback": _checked(".html")}
waves_to_write: dict[str, Any] = {**file_to_write, "callback": _checked(".fst", ".vcd")}

config_option = click.option(
    "--config", "config_name", default="small", show_default=True, metavar="NAME|FILE.toml", help="The accelerator."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON, for programs.")
precision_option = click.option(
    "--precision", multiple=True, metavar="[PATTERN=](w8a8|w8a16|w16a16|bf16)",
    help="Bits of weights and activations; bf16: the accelerator with bf16 PEs. With a pattern, such as "
         "'*.mlp.*=w16a16', of the layers whose names fit: of several options the first that does. [default: w8a8, or "
         "that of the PEs]",
)  # fmt: skip
races_option = click.option("--races", is_flag=True, help="Run a FILE whose result could depend on timing, too.")
output_option = click.option("-o", "--output", **file_to_write, help="File to write.")


def given(name: str) -> bool:
    """Whether the parameter of the running command was given, rather than left at its default."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def refuse(reason: str, *names: str) -> None:
    """Raise HeddleError for any of these parameters of the running command that was given: it would mean nothing."""
    for parameter in click.get_current_context().command.params:
        if parameter.name in names and given(parameter.name):
            name = parameter.opts[-1]
            raise heddle.HeddleError(f"{name if isinstance(parameter, click.Option) else name.upper()} {reason}")


def require_distinct(*paths: Path | None) -> None:
    """Raise HeddleError for a file that would be written twice."""
    named = [os.path.realpath(path) for path in paths if path is not None]
    for path in named:
        if named.count(path) > 1:
            raise heddle.HeddleError(f"{path} would be written twice: give each output a name of its own")


def print_json(figures: dict[str, Any], config: heddle.HardwareConfig | None = None) -> None:
    """One JSON document on standard output, as docs/json.md says: Heddle's version, the command and, where there is
    one, the machine; then the figures."""
    command = click.get_current_context().info_name
    identity = config.identity() if config is not None else {}
    click.echo(json.dumps({"version": version("heddle"), "command": command, **identity, **figures}, indent=2))


def print_part(program: Any) -> None:
    """A line that says so where only a part of a model was built."""
    if program.part:
        console.print(f"It has {program.part}.")


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], text: Collection[int] = (0,)
) -> None:
    """A table; the columns whose numbers are in `text` are aligned to the left, the others to the right.

    Nothing is cut. Where the width does not do, columns of text are folded into several lines; where it still does
    not, columns are left out from the right, and a line says which.
    """
    cells = [list(map(str, row)) for row in rows]
    shown, folded = _fit(columns, cells, text, console.width)
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for number in range(shown):
        table.add_column(
            Text(columns[number]), justify="left" if number in text else "right", overflow="fold",
            no_wrap=number not in text, width=folded.get(number),
        )  # fmt: skip
    for row in cells:
        table.add_row(*map(Text, row[:shown]))
    console.print(table)
    if shown < len(columns):
        left_out = ", ".join(columns[shown:])
        note = f"left out, for want of {console.width} columns of text: {left_out}"
        console.print(note, markup=False, soft_wrap=True)


def _fit(
    columns: Sequence[str], cells: Sequence[Sequence[str]], text: Collection[int], room: int
) -> tuple[int, dict[int, int]]:
    """How many columns can be shown in `room` letters, and the widths of those that are folded for it."""
    widths = [max(map(cell_len, (name, *(row[number] for row in cells)))) for number, name in enumerate(columns)]
    for shown in range(len(columns), 0, -1):
        excess = sum(widths[:shown]) + 3 * shown - 1 - room  # three between two columns, one at either end
        folded: dict[int, int] = {}
        for number in sorted(set(text) & set(range(shown)), key=lambda each: -widths[each]):
            least = min(widths[number], NARROWEST_TEXT)
            if excess > 0 and widths[number] > least:
                folded[number] = max(widths[number] - excess, least)
                excess -= widths[number] - folded[number]
        if excess <= 0:
            return shown, folded
    return 1, {0: max(room, 1)}


@contextmanager
def progress(description: str, total: int | None, what: str = "") -> Iterator[Any]:
    """A progress bar on standard error, or lines where that is no terminal; yields advance(count=1).

    what  is counted, such as "program"
    """
    if not sys.stderr.isatty():
        _log.info("%s", description)
        yield _lines(description, total, what)
        return
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}")
    if total is None:
        columns = TextColumn("{task.description}"), BarColumn()
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total)
        yield lambda count=1: bar.advance(task, count)


def _lines(description: str, total: int | None, what: str) -> Callable[..., None]:
    """advance(count=1) for a log: a line for each tenth of the total."""
    done = 0

    def advance(count: int = 1) -> None:
        nonlocal done
        before, done = done, done + count
        if total and done < total and before * 10 // total < done * 10 // total:
            _log.info("%s: %s%s of %s", description, f"{what} " if what else "", f"{done:,}", f"{total:,}")

    return advance


def load_config(name: str) -> heddle.HardwareConfig:
    """The preset or TOML file of `--config`."""
    return heddle.get_config(name)


def at_precision(
    config: heddle.HardwareConfig, precision: Sequence[str]
) -> tuple[heddle.HardwareConfig, heddle.PrecisionRule]:
    """The accelerator and the precisions that the `--precision` options mean: for bf16, the same one with bf16 PEs."""
    choices: dict[str, str] = {}
    for each in precision:
        pattern, equals, name = each.rpartition("=")
        pattern = pattern if equals else "*"
        if pattern in choices or not pattern:
            given = f"is given twice for {pattern}" if pattern else "must be PATTERN=w16a16, or one of w8a8, w8a16, ..."
            raise heddle.HeddleError(f"--precision {given}")
        choices[pattern] = name
    if "*" in choices:  # it fits all that no other does, wherever it stands
        choices["*"] = choices.pop("*")
    if "bf16" in choices.values() and config.pe != "bf16":
        config = replace(config, name=f"{config.file_name}-bf16", pe="bf16")
    return config, heddle.PrecisionRule(choices or None, config)


def require_engine(engine: str, *others: str) -> None:
    """Raise HeddleError unless the engine is one of the `others`, or runs the RTL and is installed."""
    if engine in others:
        return
    if engine not in heddle.ENGINES:
        raise unknown("engine", engine, [*others, *heddle.ENGINES], "engines")
    import_module("heddle.cosim.engines").MODULES[engine].require()  # loads the RTL, which takes a second


def is_file(model_or_file: str) -> bool:
    """Whether a MODEL|FILE argument means a program file."""
    if model_or_file.endswith(".json") or Path(model_or_file).is_dir():  # a model
        return False
    return model_or_file.endswith(".heddle") or "/" in model_or_file or Path(model_or_file).is_file()


def load_program(path: str, config_name: str | None, races: bool = True) -> heddle.Program:
    """A program file, checked against `--config` if that was given. Raises HeddleError for one with a race, unless
    `races` are allowed."""
    program = heddle.Program.load(path)
    if config_name is not None:
        config = load_config(config_name)
        program.require_config(config)
    if not races:
        heddle.require_ordered(program)
    return program


def get_workload(name: str, tokens: int | None = None, seed: int = 0) -> Any:
    """The model of that name, or of that directory, with weights and inputs. Raises HeddleError if there is none."""
    if name in heddle.WORKLOADS:
        return heddle.WORKLOADS[name]
    if is_checkpoint(name):
        return read_checkpoint(name, tokens, seed)
    if name in heddle.LANGUAGE_MODELS:
        raise heddle.HeddleError(f"{name} is a language model: use heddle generate {name}, with --engine verilator on "
                                 f"the RTL too; or heddle compile {name} -o {name}.heddle for its timing")  # fmt: skip
    if is_shape(name):
        file = f"{heddle.get_shape(name).name}.heddle"
        raise heddle.HeddleError(f"{name} is a shape without weights, with timing and no values: use heddle compile "
                                 f"{name} -o {file}, then heddle simulate {file}, or report or explain")  # fmt: skip
    raise unknown("model", name, heddle.WORKLOADS, "models")


def is_shape(name: str) -> bool:
    """Whether a MODEL argument means a full-size model without weights."""
    return name in heddle.SHAPES or name.endswith(".json") or (name != "" and Path(name).is_dir())


def is_checkpoint(name: str) -> bool:
    """Whether a MODEL argument means a directory with config.json and weights."""
    weights = (".safetensors", ".safetensors.index.json", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")
    return name != "" and Path(name).is_dir() and any(each.name.endswith(weights) for each in Path(name).iterdir())


def read_checkpoint(name: str, tokens: int | None = None, seed: int = 0) -> Any:
    """The model of a directory, as a workload. Raises HeddleError for what is missing or does not fit."""
    for option, value, least in (("--tokens", tokens, 1), ("--seed", seed, 0)):
        if value is not None and value < least:
            raise heddle.HeddleError(f"{option} must be at least {least}, not {value}")
    with progress(f"Loading {name}", None):
        return import_module("heddle.pretrained").Checkpoint.read(name, tokens, seed)


def get_language_model(name: str) -> Any:
    """The language model of that name, or of that directory. Raises HeddleError if there is none."""
    if is_checkpoint(name):
        with progress(f"Loading {name}", None):
            return import_module("heddle.causal").read(name)
    if name not in heddle.LANGUAGE_MODELS:
        raise unknown("model", name, heddle.LANGUAGE_MODELS, "language models",
                      ", or a directory with config.json and model.safetensors")  # fmt: skip
    return heddle.LANGUAGE_MODELS[name]


def load_model(workload: Any) -> Any:
    """The PyTorch model of a workload or language model. Raises HeddleError if its weights are missing."""
    try:
        return workload.model()
    except FileNotFoundError as error:  # models stand alone, and do not know our errors
        raise heddle.HeddleError(str(error)) from None


def check_images(workload: Any, count: int) -> None:
    """Raise HeddleError unless the workload has `count` inputs."""
    most = workload.count or MOST_IMAGES
    if not 1 <= count <= most:
        raise heddle.HeddleError(f"--images must be from 1 to {most}, not {count}")


def compile_workload(workload: Any, config: heddle.HardwareConfig, **options: Any) -> heddle.Program:
    """The program of a workload for an accelerator, with other options of `heddle.compile`."""
    model = load_model(workload)
    with progress(f"Compiling {workload.name} for {config.title}", None):
        return heddle.compile(
            model, workload.example_inputs(), config, name=workload.name, output=workload.output, **options
        )
