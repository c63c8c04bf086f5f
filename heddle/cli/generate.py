"""heddle generate: text from a language model on the accelerator, as it comes."""

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib import import_module
from typing import Any

import click
import heddle
import numpy as np
from heddle import sampling

from .cosim import print_comparison
from .shared import (
    at_precision,
    command,
    config_option,
    console,
    get_language_model,
    json_option,
    load_config,
    load_model,
    precision_option,
    print_json,
    print_table,
    progress,
    refuse,
    require_engine,
)  # fmt: skip

SHORT = 32  # tokens of a prompt that are taken at once; for a longer one the compiler chooses


@dataclass
class Request:
    """What was asked for."""

    language_model: Any
    config: Any
    precision: Any
    engine: str
    prompt: str
    ids: list[int]  # that the model goes on from: of the prompt, or what an answer to it begins with
    source: Any  # what an encoder–decoder makes of the prompt; None
    tokens: int
    context: int
    temperature: float
    top_k: int | None
    top_p: float | None
    seed: int


@dataclass
class Progress:
    """What has come out so far."""

    ids: list[int] = field(default_factory=list)
    prompt_runs: int = 0  # of the runs of the session, those that took the prompt
    session: Any = None


@command(
    short_help="Text from a language model, token by token.",
    epilog='Example: heddle generate gpt2 --prompt "Return the " --tokens 40 --precision w16a16',
)
@click.argument("model")
@click.option("--prompt", required=True, metavar="TEXT", help="What the text begins with.")
@click.option("--tokens", default=64, show_default=True, metavar="N", help="Tokens to generate.")
@config_option
@precision_option
@click.option("--engine", default="sim", show_default=True, metavar="sim|verilator|icarus|amaranth",
              help="sim: the simulator alone; else each run is compared with the RTL on that engine.")  # fmt: skip
@click.option("--temperature", default=0.0, show_default=True, help="0: the likeliest token, as the accelerator says.")
@click.option("--top-k", type=int, metavar="K", help="Sample from the K likeliest tokens.")
@click.option("--top-p", type=float, metavar="P", help="Sample from the likeliest with a probability of P together.")
@click.option("--seed", default=0, show_default=True, help="Of the sampling.")
@click.option("--context", type=int, metavar="T", help="Tokens the cache has room for. [default: the model's context; "
              "for a directory, as many as are asked for]")  # fmt: skip
@json_option
def generate(
    model: str, prompt: str, tokens: int, config_name: str, precision: tuple[str, ...], engine: str, temperature: float,
    top_k: int | None, top_p: float | None, seed: int, context: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Continue a prompt with MODEL (gpt2, llama or deepseek) on an accelerator, and compare with PyTorch.

    Or MODEL is a directory with config.json and model.safetensors, as causal language models of Hugging Face have.
    (This needs the extra hf.) Text goes through its tokenizer.json; without one a prompt is ids, such as "17 4 23".
    An encoder–decoder answers the prompt, which goes through the encoder once; a .npy file of features, if it hears.
    Prints the text as it comes, then cycles per token and whether greedy text equals PyTorch's own. Ctrl-C stops.
    Exits with 1 if an RTL engine differs from the simulator.
    """
    begin = time.perf_counter()
    config, rule = at_precision(load_config(config_name), precision)
    language_model = get_language_model(model)
    request = _request(language_model, config, rule, engine, prompt, tokens, context, temperature, top_k, top_p,
                       seed)  # fmt: skip
    so_far, stopped = Progress(), None
    try:
        _run(request, so_far, as_json)
    except KeyboardInterrupt as stop:
        stopped = stop
    except heddle.HeddleError:
        if not _differs(so_far):
            raise
    figures = _figures(request, so_far, stopped is not None)
    figures["seconds"] = time.perf_counter() - begin
    if as_json:
        print_json(figures, config)
    else:
        click.echo("\n" if so_far.session else "", nl=False)
        if not stopped:
            _print(figures, so_far)
    if stopped:
        raise stopped
    if _differs(so_far):
        sys.exit(1)


def _request(
    language_model: Any, config: Any, precision: Any, engine: str, prompt: str, tokens: int, context: int | None,
    temperature: float, top_k: int | None, top_p: float | None, seed: int,
) -> Request:  # fmt: skip
    """What was asked for, checked: a mistake should not cost the time of a compilation."""
    require_engine(engine, "sim")
    sampling.check(temperature, top_k, top_p)
    if temperature == 0:
        refuse("is for sampling: it needs a --temperature above 0", "top_k", "top_p", "seed")
    if tokens < 1:
        raise heddle.HeddleError(f"--tokens must be at least 1, not {tokens}")
    if seed < 0:
        raise heddle.HeddleError(f"--seed must be at least 0, not {seed}")
    if not prompt:
        raise heddle.HeddleError("the prompt is empty: give it at least one character")
    try:
        source = language_model.source(prompt) if hasattr(language_model, "source") else None
        ids = language_model.encode(prompt) if source is None else language_model.first
    except ValueError as error:  # models stand alone, and do not know our errors
        raise heddle.HeddleError(f"{language_model.name} cannot read the prompt: {error}") from None
    if source is not None:
        language_model.require_plain()
    trained = language_model.context
    if context is None and not language_model.small:
        context = min(trained, len(ids) + tokens)
    if context is not None and not 1 <= context <= trained:
        raise heddle.HeddleError(f"--context must be from 1 to {trained}, the context that {language_model.name} was "
                                 f"trained for, not {context}")  # fmt: skip
    room, whose = (trained, f"{language_model.name}'s context") if context is None else (context, "--context")
    if len(ids) + tokens > room:
        raise heddle.HeddleError(f"a prompt of {len(ids)} tokens and {tokens} more are {len(ids) + tokens}, but "
                                 f"{whose} is {room}: shorten the prompt or ask for fewer tokens")  # fmt: skip
    return Request(language_model, config, precision, engine, prompt, ids, source, tokens, room, temperature, top_k,
                   top_p, seed)  # fmt: skip


def _run(request: Request, so_far: Progress, quiet: bool) -> None:
    """Fill `so_far`; print the text unless quiet."""
    session = _session(request)
    with progress(f"Taking the prompt, {len(request.ids)} tokens", None):
        so_far.session = session
        taken = [] if request.source is None else [session.encode(source=request.source)]
        runs = taken + session.feed(request.ids)
        so_far.prompt_runs = len(runs)
    if quiet:
        with progress(f"Generating {request.tokens} tokens", request.tokens, "token") as advance:
            for _ in _generate(request, so_far, runs[-1]):
                advance()
        return
    if request.source is None:
        _stream(request.prompt)
    shown = ""
    for _ in _generate(request, so_far, runs[-1]):
        text = request.language_model.decode(so_far.ids)
        _stream(text[len(shown) :])
        shown = text


def _session(request: Request) -> Any:
    """The session, its programs compiled."""
    config, model = request.config, load_model(request.language_model)
    chunk = None if len(request.ids) > SHORT else len(request.ids) // config.columns * config.columns or 1
    options: dict[str, Any] = {"precision": request.precision}
    if request.source is not None:
        options["source"] = {"source": request.source}
    session = heddle.Session(
        model, config, heddle.CachePlan(request.context), chunk=chunk, context=request.context, options=options,
        engine=None if request.engine == "sim" else request.engine,
    )  # fmt: skip
    kinds = [*([] if request.source is None else ["encoder"]), "decode", *([] if chunk == 1 else ["prefill"])]
    with progress(f"Compiling {request.language_model.name} for {config.title}", len(kinds), "program") as advance:
        for kind in kinds:
            getattr(session, kind)
            advance()
    return session


def _generate(request: Request, so_far: Progress, run: Any) -> Iterator[int]:
    """The tokens, one by one. The last is not fed back."""
    random = np.random.default_rng(request.seed)
    while True:
        if request.temperature:
            token = sampling.sample(run.logits[-1], random, request.temperature, request.top_k, request.top_p)
        else:
            token = int(run.next[-1])
        so_far.ids.append(token)
        yield token
        if len(so_far.ids) == request.tokens or token in request.language_model.stop:
            return
        run = so_far.session.step([token])


def _stream(text: str) -> None:
    click.echo(text, nl=False)
    sys.stdout.flush()


def _differs(so_far: Progress) -> bool:
    """Whether the RTL came to something else than the simulator."""
    runs = so_far.session.runs if so_far.session else []
    return any(run.comparison is not None and not run.comparison.agrees for run in runs)


def _figures(request: Request, so_far: Progress, stopped: bool) -> dict[str, Any]:
    """What --json prints."""
    runs = so_far.session.runs if so_far.session else []
    prompt_runs, steps = (runs[: so_far.prompt_runs], runs[so_far.prompt_runs :]) if so_far.prompt_runs else (runs, [])
    cycles = sum(run.cycles for run in steps) / len(steps) if steps else None
    figures = {
        "model": request.language_model.name, "precision": str(request.precision),
        "engine": request.engine, "prompt": request.prompt, "text": request.language_model.decode(so_far.ids),
        "tokens": len(so_far.ids), "matches_pytorch": None if stopped else _matches(request, so_far),
        "prefill_cycles": sum(run.cycles for run in prompt_runs), "cycles_per_token": cycles,
        "tokens_per_second": request.config.clock_mhz * 1e6 / cycles if cycles else None, "stopped": stopped,
    }  # fmt: skip
    if request.temperature:
        figures |= {name: getattr(request, name) for name in ("temperature", "top_k", "top_p", "seed")}
    if request.engine != "sim" and runs:
        figures["rtl"] = sum_comparisons([run.comparison for run in runs]).to_dict()
    return figures


def _matches(request: Request, so_far: Progress) -> bool | None:
    """Whether PyTorch's greedy text is the same; None for text that was sampled."""
    if request.temperature:
        return None
    model = so_far.session.model
    if request.source is not None:
        model = import_module("heddle.seq2seq").Bound(model, request.source)
    return bool(so_far.ids) and heddle.greedy(model, request.ids, len(so_far.ids))[0] == so_far.ids


def sum_comparisons(comparisons: list[Any]) -> Any:
    """One comparison for several: numbers are added up, the first difference is the first."""
    first = comparisons[0]
    numbers = {
        name: sum(getattr(each, name) for each in comparisons)
        for name, value in asdict(first).items()
        if isinstance(value, int)
    }
    different = next((each.first_difference for each in comparisons if each.first_difference), None)
    return type(first)(**{**_fields(first), **numbers, "first_difference": different})


def _fields(comparison: Any) -> dict[str, Any]:
    return {name: getattr(comparison, name) for name in asdict(comparison)}


def _print(figures: dict[str, Any], so_far: Progress) -> None:
    clock = so_far.session.config.clock_mhz
    same = {True: "yes", False: "no", None: "not compared: sampled"}[figures["matches_pytorch"]]
    cycles, speed = figures["cycles_per_token"], figures["tokens_per_second"]
    rows = [
        ("tokens generated", figures["tokens"]),
        ("cycles of the prompt", f"{figures['prefill_cycles']:,}"),
        ("cycles per token after it, mean", f"{cycles:,.0f}" if cycles else "·"),
        (f"tokens per second at {clock} MHz", f"{speed:,.0f}" if speed else "·"),
        ("same text as PyTorch's greedy", same),
    ]
    title = f"{figures['model']} on {so_far.session.config.title}, {figures['precision']}"
    print_table(title, ["figure", "value"], rows)
    if "rtl" in figures:
        print_comparison(sum_comparisons([run.comparison for run in so_far.session.runs]))
    console.print(f"simulated in {figures['seconds']:.1f} s")
