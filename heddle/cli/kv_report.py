"""heddle kv-report: what the KV cache saves, by the length of the context."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import click
import heddle
from heddle.layers import unknown, write_picture
from heddle.token_costs import Cost, Costs, TokenCosts, scaled

from .shared import (
    command,
    console,
    is_shape,
    json_option,
    load_config,
    load_model,
    picture_to_write,
    print_json,
    print_table,
    progress,
)  # fmt: skip

CHUNK = 32  # tokens of a prompt that are taken at once, at least the columns of the array


@dataclass
class Subject:
    """A model to time: `build` makes it with as many layers as asked for, all equal."""

    build: Callable[[int], Any]
    context: int
    layers: int
    depths: tuple[int, ...]  # those that are compiled: all layers, or one and two, from which the others follow
    options: dict[str, Any]  # of compile_decoder
    part: str  # what of the model that is; empty for all of it

    @property
    def title(self) -> str:
        """How many layers it has, of how many."""
        return self.part or f"{self.layers} layers"


@command(
    "kv-report",
    short_help="What the KV cache saves: cycles and bytes per token by context.",
    epilog="Example: heddle kv-report gpt2 --config base --contexts 64,128,256 --plot kv.png",
)
@click.argument("model")
@click.option("--config", "config_name", default="base", show_default=True, metavar="NAME|FILE.toml",
              help="The accelerator.")  # fmt: skip
@click.option("--contexts", default="64,128,256", show_default=True, metavar="T,T,…", help="Lengths of the sequence.")
@click.option("--layers", type=int, metavar="N", help="Layers to scale a shape to. [default: those of the model]")
@click.option("--plot", **picture_to_write, help="Draw a picture (.png, .svg, .pdf).")
@json_option
def kv_report(
    model: str, config_name: str, contexts: str, layers: int | None, plot: Path | None, as_json: bool
) -> None:
    """Cycles and DRAM bytes per token of MODEL with and without the KV cache, against the length of the context.

    MODEL is a trained one, gpt2, llama or deepseek; or a full-size shape without weights, such as gpt2-xl, llama-2-7b
    or the path of a Hugging Face config.json, of which one and two layers are timed and the others follow by their
    difference.
    """
    begin, config = time.perf_counter(), load_config(config_name)
    lengths = _contexts(contexts, _subject(model, layers).context, model)
    subject = _subject(model, layers, max(lengths))
    chunk = ceil(CHUNK / config.columns) * config.columns
    found = _measure(subject, config, lengths, chunk, model)
    measured, rows = found[subject.depths[-1]], found[subject.depths[0]]
    if len(subject.depths) > 1:
        rows = [scaled(one, two, subject.layers) for one, two in zip(rows, measured, strict=True)]
    figures = {
        "model": model, "chunk_tokens": chunk, "layer_count": subject.layers, "part": subject.part or None,
        "measured_layer_counts": list(subject.depths), "contexts": [_figures(each) for each in rows],
    }  # fmt: skip
    if len(subject.depths) > 1:
        figures["per_layer"] = [_figures(each) for each in _differences(found[1], found[2])]
    if plot is not None:
        _draw(plot, rows, f"{model} on {config.title}, {subject.title}")
    figures["seconds"] = time.perf_counter() - begin
    if as_json:
        print_json(figures, config)
        return
    _print(figures, rows, f"{model} on {config.title}, {subject.title}: per token")
    if len(subject.depths) > 1:
        _print_derivation(found[1], found[2], subject.layers)
    if plot is not None:
        console.print(f"wrote {plot}")


def _subject(name: str, layers: int | None, longest: int = 0) -> Subject:
    """`longest`: the sequence that it is for, if that is known."""
    if name not in heddle.LANGUAGE_MODELS:
        return _shape(name, layers, longest)
    if layers is not None:
        raise heddle.HeddleError(f"--layers is for shapes, such as gpt2-xl; {name} is timed whole")
    language_model = heddle.LANGUAGE_MODELS[name]
    depth = language_model.config.depth
    return Subject(lambda depth: load_model(language_model), language_model.context, depth, (depth,), {}, "")


def _shape(name: str, layers: int | None, longest: int) -> Subject:
    if not is_shape(name):
        known = [*heddle.LANGUAGE_MODELS, *(each.name for each in heddle.SHAPES.values() if each.decoder)]
        raise unknown("model", name, known, "models", ", or the path of a config.json")
    shape = heddle.get_shape(name).cut(longest)
    if not shape.decoder:
        raise heddle.HeddleError(f"{name} has no cache to report on: it is not a causal language model")
    try:
        shape.check_layers(layers)
    except ValueError as error:  # models stand alone, and do not know our errors
        raise heddle.HeddleError(str(error)) from None
    depth = shape.layers if layers is None else layers
    # One tiling for both depths: a difference between two searches would not be that of a layer.
    depths, options = (1, 2) if depth > 1 else (1,), {"tiling": heddle.Tiling()}
    return Subject(shape.build, shape.context, depth, depths, options, shape.part(depth))


def _contexts(text: str, longest: int, model: str) -> list[int]:
    try:
        lengths = [int(each) for each in text.split(",")]
    except ValueError:
        raise heddle.HeddleError(f"--contexts must be whole numbers with commas between, such as 64,128, "
                                 f"not {text!r}") from None  # fmt: skip
    for length in lengths:
        if not 1 <= length <= longest:
            raise heddle.HeddleError(f"--contexts must be from 1 to {longest}, the context of {model}, not {length}")
    return sorted(set(lengths))


def _measure(subject: Subject, config: Any, lengths: list[int], chunk: int, name: str) -> dict[int, list[TokenCosts]]:
    """For each depth, the costs at each length."""
    longest, found = max(lengths), {}
    runs = longest // chunk + sum(length % chunk + 2 for length in lengths)  # at most
    steps = len(subject.depths) * (3 + runs)
    with progress(f"Compiling and timing {name} on {config.title}", steps, "run") as advance:
        for depth in subject.depths:
            model = subject.build(depth)
            costs = Costs(model, config, longest, chunk, subject.context, subject.options, advance)
            found[depth] = [costs.at(length) for length in lengths]
    return found


def _differences(one: list[TokenCosts], two: list[TokenCosts]) -> list[TokenCosts]:
    """What a second layer adds."""
    names = ("prompt", "cached", "recomputed")
    return [
        replace(first, **{name: getattr(second, name) - getattr(first, name) for name in names})
        for first, second in zip(one, two, strict=True)
    ]


def _figures(costs: TokenCosts) -> dict[str, Any]:
    return {
        "context": costs.context,
        "prefill_cycles_per_token": costs.prompt.cycles, "prefill_bytes_per_token": costs.prompt.bytes,
        "cached_cycles_per_token": costs.cached.cycles, "cached_bytes_per_token": costs.cached.bytes,
        "recomputed_cycles_per_token": costs.recomputed.cycles, "recomputed_bytes_per_token": costs.recomputed.bytes,
        "cycles_ratio": costs.ratio,
    }  # fmt: skip


def _numbers(cost: Cost) -> tuple[str, str]:
    return f"{cost.cycles:,.0f}", f"{cost.bytes:,.0f}"


def _print(figures: dict[str, Any], rows: list[TokenCosts], title: str) -> None:
    columns = ["context", "prompt: cycles", "bytes", "next token: cycles", "bytes", "without the cache: cycles",
               "bytes", "ratio of cycles"]  # fmt: skip
    table = [
        (each.context, *_numbers(each.prompt), *_numbers(each.cached), *_numbers(each.recomputed), f"{each.ratio:.1f}")
        for each in rows
    ]
    print_table(title, columns, table)
    console.print(
        f"prompt: taken in chunks of {figures['chunk_tokens']} tokens, a rest one by one, the head for the last. "
        f"next token: the last of the context, the others in the cache. "
        f"without: the whole context as a prompt, for one token."
    )


def _print_derivation(one: list[TokenCosts], two: list[TokenCosts], layers: int) -> None:
    """How the costs of all layers follow from those of one and two."""
    layer = _differences(one, two)
    rows = [
        (each.context, what, *_numbers(getattr(first, what) - getattr(each, what)), *_numbers(getattr(each, what)))
        for each, first in zip(layer, one, strict=True)
        for what in ("prompt", "cached", "recomputed")
    ]
    columns = ["context", "cost", "all but the layers: cycles", "bytes", "a layer: cycles", "bytes"]
    title = f"No weights; timed with 1 and with 2 layers: all but the layers + a layer × {layers}"
    print_table(title, columns, rows)


def _draw(path: Path, rows: list[TokenCosts], title: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    lengths = [each.context for each in rows]
    panels = figure.subplots(1, 2)
    lines = {"prompt": "prompt, per token", "cached": "next token, with the cache",
             "recomputed": "next token, without"}  # fmt: skip
    for axes, what in zip(panels, ("cycles", "bytes"), strict=True):
        for name, label in lines.items():
            axes.plot(lengths, [getattr(getattr(each, name), what) for each in rows], marker="o", label=label)
        axes.set_yscale("log")
        axes.set_xticks(lengths)
        axes.set_xlabel("context (tokens)")
        axes.set_ylabel("cycles per token" if what == "cycles" else "DRAM bytes per token")
    labels = list(lines.values())
    figure.legend(panels[0].get_lines(), labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.suptitle(title)
    write_picture(path, lambda: figure)
