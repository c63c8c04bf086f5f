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
    is_checkpoint,
    json_option,
    load_config,
    load_model,
    precision_option,
    print_json,
    print_table,
    progress,
    read_checkpoint,
    refuse,
)  # fmt: skip

ACCURACY_POINTS = 0.5  # that the accelerator may lie below or above PyTorch
SQNR_DB, COSINE = 40.0, 0.9998  # of an encoder's outputs, at w16a16 and bf16
INPUTS, INPUTS_OF_DIRECTORY = 16, 4  # of a model without a test set
TOKENS = 128  # of test text


@command(
    short_help="Compare a model with PyTorch, layer by layer.",
    epilog="Example: heddle check gpt2 --config small --precision w16a16 --tokens 256",
)
@click.argument("model")
@config_option
@precision_option
@click.option("--tokens", type=int, metavar="N",
              help="Of test text, for a language model [default: 128]; of a sequence, for a directory "
              "[default: 32].")  # fmt: skip
@json_option
def check(model: str, config_name: str, precision: tuple[str, ...], tokens: int | None, as_json: bool) -> None:
    """Compare MODEL on an accelerator with PyTorch in float32, layer by layer, and judge the result.

    For gpt2, llama and deepseek: a pass over test text; then perplexities and how often the likeliest token is the
    same. For digits-vit, bert-tiny and encoder layers: the outputs of the test set. For a directory with config.json
    and model.safetensors (extra hf): one call for each of a few random inputs. A line says which layer loses most, and
    why: found by computing one layer at a time in its precision, all else exact. Exits with 1 if a threshold fails.
    """
    begin = time.perf_counter()
    config, rule = at_precision(load_config(config_name), precision)
    if model in heddle.LANGUAGE_MODELS:
        figures, thresholds = _decoder(heddle.LANGUAGE_MODELS[model], config, rule, tokens)
    elif is_checkpoint(model):
        figures, thresholds = _module(read_checkpoint(model, tokens), config, rule, INPUTS_OF_DIRECTORY)
    elif model in heddle.WORKLOADS:
        refuse(f"is for language models and directories; {model} is compared over its test set", "tokens")
        workload = heddle.WORKLOADS[model]
        figures, thresholds = _module(workload, config, rule, workload.count or INPUTS)
    else:
        known = [*heddle.LANGUAGE_MODELS, *heddle.WORKLOADS]
        raise unknown("model", model, known, "models", ", or a directory with config.json and model.safetensors")
    reached = all(each.reached for each in thresholds)
    figures = {
        "model": model, "precision": str(rule), **figures,
        "thresholds": [{**asdict(each), "reached": each.reached} for each in thresholds], "reached": reached,
        "seconds": time.perf_counter() - begin,
    }  # fmt: skip
    if as_json:
        print_json(figures, config)
    else:
        _print(figures, config)
    sys.exit(0 if reached else 1)


def _decoder(language_model: Any, config: Any, rule: Any, tokens: int | None) -> tuple[dict[str, Any], list[Any]]:
    tokens = TOKENS if tokens is None else tokens
    if tokens < 1:
        raise heddle.HeddleError(f"--tokens must be at least 1, not {tokens}")
    from heddle import fidelity  # PyTorch takes a second: not at the top, so that --help does without

    ids = language_model.encode(heddle.load_text("test")[: tokens + 1])
    if len(ids) <= tokens:
        raise heddle.HeddleError(f"--tokens must be below {len(ids)}, the length of the test text, not {tokens}")
    module, context = load_model(language_model), language_model.context
    with progress(f"Checking {language_model.name} on {config.title}", len(module.layers) + 1, "layer") as advance:
        layers = fidelity.decoder_layers(module, config, ids[:-1], context, rule, advance)
        logits = fidelity.teacher_forced(module, config, ids, context, rule, advance)
    golden, found = logits.perplexities
    layers.append(fidelity.compare("logits", logits.golden, logits.found))
    figures = {
        "tokens": tokens, "layers": [asdict(each) for each in layers], "output_sqnr_db": layers[-1].sqnr_db,
        "top1_agreement": logits.top1_agreement, "perplexity_fp32": golden, "perplexity": found,
        "perplexity_ratio": found / golden, 
        **_loss(fidelity.loss_of_text(module, config, ids, context, rule), layers[-1].sqnr_db),
    }  # fmt: skip
    most = fidelity.PERPLEXITY_RATIO[rule.least.value]
    return figures, [
        fidelity.Threshold("perplexity ratio", found / golden, most, at_least=False),
        fidelity.Threshold("top-1 agreement", logits.top1_agreement, fidelity.TOP1_AGREEMENT),
    ]


def _module(workload: Any, config: Any, rule: Any, count: int) -> tuple[dict[str, Any], list[Any]]:
    """What is called once for each input: the outputs of its layers, its results, and its labels where it has any."""
    from heddle import fidelity

    module, inputs = load_model(workload), workload.load(count)
    samples = inputs.split()
    with progress(f"Checking {workload.name} on {config.title}", 3) as advance:
        found = fidelity.check(module, samples, config, precision=rule, output=workload.output, advance=advance)
    figures: dict[str, Any] = {
        "inputs": count, "layers": [asdict(each) for each in (*found.layers, *found.outputs)],
        "output_sqnr_db": min(each.sqnr_db for each in found.outputs), 
        **_loss(found.loss, found.sqnr_db),
    }  # fmt: skip
    thresholds = []
    if inputs.labels is not None:
        golden, ours = (each[workload.output].reshape(count, -1) for each in (found.golden, found.found))
        before, after = (float(100 * (each.argmax(-1) == inputs.labels).mean()) for each in (golden, ours))
        figures |= {"accuracy_fp32": before, "accuracy": after}
        name = "difference of accuracies, in points"
        thresholds.append(fidelity.Threshold(name, abs(after - before), ACCURACY_POINTS, at_least=False))
    if rule.least.value in ("w16a16", "bf16"):
        cosine = min(each.cosine for each in found.outputs)
        thresholds += [fidelity.Threshold("SQNR of the outputs, in dB", figures["output_sqnr_db"], SQNR_DB),
                       fidelity.Threshold("least cosine of the outputs", cosine, COSINE)]  # fmt: skip
    return figures, thresholds


def _loss(found: Any, measured_db: float) -> dict[str, Any]:
    """Which layer loses most, as --json has it."""
    return {"loses_most": None if found is None else asdict(found) | {"message": found.explained(measured_db)}}


def _print(figures: dict[str, Any], config: Any) -> None:
    title = f"{figures['model']} on {config.title}, {figures['precision']}, against PyTorch in float32"
    columns = "what the head reads after" if "perplexity" in figures else "what it gives"
    rows = [(each["name"], f"{each['sqnr_db']:.1f} dB", f"{each['cosine']:.6f}") for each in figures["layers"]]
    print_table(title, [columns, "SQNR", "least cosine"], rows)
    if figures["loses_most"]:
        console.print(figures["loses_most"]["message"], markup=False)
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
