"""heddle check: a model on the accelerator against PyTorch, layer by layer, with a verdict."""

import sys
import time
from dataclasses import asdict
from typing import Any

import click
import heddle
from heddle.layers import unknown

from .shared import (
    at_precision,
    command,
    config_option,
    console,
    json_option,
    load_config,
    load_model,
    precision_option,
    print_json,
    print_table,
    progress,
    refuse,
)  # fmt: skip

ACCURACY_POINTS = 0.5  # that the accelerator may lie below or above PyTorch
SQNR_DB, COSINE = 40.0, 0.9998  # of an encoder's outputs, at w16a16 and bf16
INPUTS = 16  # of an encoder without a test set


@command(
    short_help="Compare a model with PyTorch, layer by layer.",
    epilog="Example: heddle check gpt2 --config small --precision w16a16 --tokens 256",
)
@click.argument("model")
@config_option
@precision_option
@click.option("--tokens", default=128, show_default=True, metavar="N", help="Of test text, for a language model.")
@json_option
def check(model: str, config_name: str, precision: tuple[str, ...], tokens: int, as_json: bool) -> None:
    """Compare MODEL on an accelerator with PyTorch in float32, layer by layer, and judge the result.

    For gpt2, llama and deepseek: a pass over test text; then perplexities and how often the likeliest token is the
    same. For digits-vit, bert-tiny and encoder layers: the outputs of the test set. Exits with 1 if a threshold fails.
    """
    begin = time.perf_counter()
    config, rule = at_precision(load_config(config_name), precision)
    if model in heddle.LANGUAGE_MODELS:
        figures, thresholds = _decoder(heddle.LANGUAGE_MODELS[model], config, precision, tokens)
    elif model in heddle.WORKLOADS:
        refuse(f"is for language models; {model} is compared over its test set", "tokens")
        figures, thresholds = _encoder(heddle.WORKLOADS[model], config, precision)
    else:
        raise unknown("model", model, [*heddle.LANGUAGE_MODELS, *heddle.WORKLOADS], "models")
    reached = all(each.reached for each in thresholds)
    figures = {
        "model": model, "precision": str(precision), **figures,
        "thresholds": [{**asdict(each), "reached": each.reached} for each in thresholds], "reached": reached,
        "seconds": time.perf_counter() - begin,
    }  # fmt: skip
    if as_json:
        print_json(figures, config)
    else:
        _print(figures, config)
    sys.exit(0 if reached else 1)


def _decoder(language_model: Any, config: Any, precision: Any, tokens: int) -> tuple[dict[str, Any], list[Any]]:
    if tokens < 1:
        raise heddle.HeddleError(f"--tokens must be at least 1, not {tokens}")
    from heddle import fidelity  # PyTorch takes a second: not at the top, so that --help does without

    ids = language_model.encode(heddle.load_text("test")[: tokens + 1])
    if len(ids) <= tokens:
        raise heddle.HeddleError(f"--tokens must be below {len(ids)}, the length of the test text, not {tokens}")
    module, context = load_model(language_model), language_model.context
    with progress(f"Checking {language_model.name} on {config.title}", len(module.layers) + 1, "layer") as advance:
        layers = fidelity.decoder_layers(module, config, ids[:-1], context, precision, advance)
        logits = fidelity.teacher_forced(module, config, ids, context, precision, advance)
    golden, found = logits.perplexities
    layers.append(fidelity.compare("logits", logits.golden, logits.found))
    figures = {
        "tokens": tokens, "layers": [asdict(each) for each in layers], "output_sqnr_db": layers[-1].sqnr_db,
        "top1_agreement": logits.top1_agreement, "perplexity_fp32": golden, "perplexity": found,
        "perplexity_ratio": found / golden,
    }  # fmt: skip
    return figures, [
        fidelity.Threshold("perplexity ratio", found / golden, fidelity.PERPLEXITY_RATIO[precision], at_least=False),
        fidelity.Threshold("top-1 agreement", logits.top1_agreement, fidelity.TOP1_AGREEMENT),
    ]


def _encoder(workload: Any, config: Any, precision: str) -> tuple[dict[str, Any], list[Any]]:
    from heddle import fidelity

    count, module = workload.count or INPUTS, load_model(workload)
    with progress(f"Checking {workload.name} on {config.title}", max(len(getattr(module, "layers", ())), 1)) as advance:
        layers, golden, found = fidelity.encoder_layers(workload, module, config, count, precision, advance)
    figures: dict[str, Any] = {"inputs": count, "layers": [asdict(each) for each in layers],
                               "output_sqnr_db": layers[-1].sqnr_db}  # fmt: skip
    thresholds, labels = [], workload.load(count).labels
    if labels is not None:
        before, after = (float(100 * (each.argmax(-1) == labels).mean()) for each in (golden, found))
        figures |= {"accuracy_fp32": before, "accuracy": after}
        name = "difference of accuracies, in points"
        thresholds.append(fidelity.Threshold(name, abs(after - before), ACCURACY_POINTS, at_least=False))
    if precision in ("w16a16", "bf16"):
        thresholds += [fidelity.Threshold("SQNR of the outputs, in dB", layers[-1].sqnr_db, SQNR_DB),
                       fidelity.Threshold("least cosine of the outputs", layers[-1].cosine, COSINE)]  # fmt: skip
    return figures, thresholds


def _print(figures: dict[str, Any], config: Any) -> None:
    title = f"{figures['model']} on {config.title}, {figures['precision']}, against PyTorch in float32"
    rows = [(each["name"], f"{each['sqnr_db']:.1f} dB", f"{each['cosine']:.6f}") for each in figures["layers"]]
    print_table(title, ["what the head reads after", "SQNR", "least cosine"], rows)
    if "perplexity" in figures:
        console.print(f"perplexity per token over {figures['tokens']} of test text: PyTorch "
                      f"{figures['perplexity_fp32']:.4f}, accelerator {figures['perplexity']:.4f}")  # fmt: skip
    if "accuracy" in figures:
        console.print(f"accuracy over {figures['inputs']} inputs: PyTorch {figures['accuracy_fp32']:.2f} %, "
                      f"accelerator {figures['accuracy']:.2f} %")  # fmt: skip
    rows = [
        (each["name"], f"{each['value']:.4f}", ("≥ " if each["at_least"] else "≤ ") + f"{each['goal']:g}",
         "yes" if each["reached"] else "NO")
        for each in figures["thresholds"]
    ]  # fmt: skip
    if rows:
        print_table("Thresholds", ["threshold", "value", "goal", "reached"], rows)
    else:
        console.print("There is no threshold for random weights at this precision.")
