"""heddle compile: a model to a program file."""

from pathlib import Path
from typing import Any

import click
import heddle
from heddle.layers import unknown

from .shared import (
    at_precision,
    command,
    compile_workload,
    config_option,
    console,
    file_to_write,
    is_checkpoint,
    is_shape,
    json_option,
    load_config,
    load_model,
    precision_option,
    print_json,
    print_part,
    progress,
    read_checkpoint,
)  # fmt: skip

MOST_LAYERS = 1000
CONTEXT = 4096  # tokens of a cache that nothing was said of, at most


@command(
    short_help="Compile a model into a program file.",
    epilog="Example: heddle compile digits-vit --config small -o digits-vit.heddle",
)
@click.argument("model")
@config_option
@precision_option
@click.option("-o", "--output", required=True, **file_to_write, help="File to write.")
@click.option("--tokens", type=int, metavar="N",
              help="Length of the sequence [default: the longest]; of a decoder, the tokens that one run takes: 1 to "
                   "decode, more for a chunk of a prompt. [default: 1]")  # fmt: skip
@click.option("--context", type=int, metavar="N",
              help=f"Tokens that the cache of a decoder has room for. [default: the model's context, at most "
                   f"{CONTEXT:,}]")  # fmt: skip
@click.option("--layers", type=int, metavar="N", help="Layers of a full-size model. [default: all]")
@click.option("--no-fuse", is_flag=True, help="Each operator by itself: slow, and the same answer. Not for decoders.")
@click.option("--passes", is_flag=True, help="Print the graph after each pass.")
@json_option
def compile(
    model: str, config_name: str, precision: str | None, output: Path, tokens: int | None, context: int | None,
    layers: int | None, no_fuse: bool, passes: bool, as_json: bool,
) -> None:  # fmt: skip
    """Compile MODEL for an accelerator into one program file.

    MODEL is one that heddle run knows; a language model, gpt2, llama or deepseek; or a full-size model by its name,
    such as bert-base, gpt2-small or llama-2-7b, or by the path of a Hugging Face config.json. A full-size model has no
    weights: its file can be simulated, reported, explained and linted, and computes no values. A chunk of a prompt is
    compiled without the head, which only a prompt's last token needs. Or MODEL is a directory with config.json and
    model.safetensors: its model is compiled as it is, with its weights, as one call without a cache. (This needs the
    extra hf.)
    """
    config, precision = at_precision(load_config(config_name), precision)
    if layers is not None and layers > MOST_LAYERS:
        raise heddle.HeddleError(f"--layers must be from 1 to {MOST_LAYERS:,}, not {layers}")
    options = {"show": _show if passes else None, "fused": not no_fuse, "precision": precision}
    program = _program(model, config, tokens, context, layers, options)
    program.save(output)
    figures = {
        "model": model, "program": program.name, "file": str(output), "instructions": len(program.instructions),
        "dram_bytes": program.dram_bytes, "useful_macs": program.total_macs, "timing_only": program.timing_only,
        "part": program.part or None,
    }  # fmt: skip
    if as_json:
        print_json(figures, config)
        return
    console.print(f"{output}: {figures['instructions']} instructions, {program.total_macs:,} useful MACs, "
                  f"{program.dram_bytes:,} bytes of DRAM, for {config.title} ({config.fingerprint})")  # fmt: skip
    print_part(program)
    if program.timing_only:
        console.print("It has no weights: it can be simulated, reported, explained and linted, and computes no values.")
    if program.positions:
        console.print("It stands at the start of a sequence: simulate, report and explain move it on with --position.")


def _program(
    model: str, config: heddle.HardwareConfig, tokens: int | None, context: int | None, layers: int | None,
    options: dict[str, Any],
) -> heddle.Program:  # fmt: skip
    if model in heddle.WORKLOADS:
        for option, value in (("--tokens", tokens), ("--context", context), ("--layers", layers)):
            if value is not None:
                raise heddle.HeddleError(f"{option} is for full-size and language models; {model} has one size")
        return compile_workload(heddle.WORKLOADS[model], config, **options)
    if model in heddle.LANGUAGE_MODELS:
        if layers is not None:
            raise heddle.HeddleError(f"--layers is for full-size models, such as gpt2-xl; {model} is compiled whole")
        trained = heddle.LANGUAGE_MODELS[model]
        return _decoder(model, load_model(trained), trained.context, config, tokens, context, options)
    if is_checkpoint(model):
        for option, value in (("--context", context), ("--layers", layers)):
            if value is not None:
                raise heddle.HeddleError(f"{option} means nothing for a directory with weights: its model is compiled "
                                         f"whole, as one call")  # fmt: skip
        return compile_workload(read_checkpoint(model, tokens), config, **options)
    if not is_shape(model):
        known = [*heddle.WORKLOADS, *heddle.LANGUAGE_MODELS, *heddle.SHAPES]
        raise unknown("model", model, known, "models", ", or the path of a config.json")
    shape = heddle.get_shape(model)
    longest = shape.context
    shape = shape.cut(CONTEXT if context is None else context)
    try:
        module = shape.build(layers)
        inputs = () if shape.decoder else shape.example_inputs(tokens)
    except ValueError as error:  # models stand alone, and do not know our errors
        raise heddle.HeddleError(str(error)) from None
    if shape.decoder:
        return _decoder(shape.name, module, longest, config, tokens, context, options)
    if context is not None:
        raise heddle.HeddleError(f"--context is for decoders, which have a cache; {shape.name} has none: --tokens is "
                                 f"the length of its sequence")  # fmt: skip
    with progress(f"Compiling {shape.name} for {config.title}", None):
        return heddle.compile(module, inputs, config, name=shape.name, **options)


def _decoder(
    name: str, module: Any, longest: int, config: heddle.HardwareConfig, tokens: int | None, context: int | None,
    options: dict[str, Any],
) -> heddle.Program:  # fmt: skip
    """One run of a decoder with its cache; where it takes many tokens of a prompt, without the head."""
    if not options["fused"]:
        raise heddle.HeddleError(f"--no-fuse is for models without a cache: the attention of {name} is one operator")
    tokens = 1 if tokens is None else tokens
    context = min(longest, CONTEXT) if context is None else context
    if not 1 <= context <= longest:
        raise heddle.HeddleError(f"--context must be from 1 to {longest}, the context of {name}, not {context}")
    if not 1 <= tokens <= context:
        raise heddle.HeddleError(f"--tokens must be from 1 to {context}, the context, not {tokens}")
    with progress(f"Compiling {name} for {config.title}", None):
        return heddle.compile_decoder(
            module, config, heddle.CachePlan(context), tokens=tokens, context=context, head=tokens == 1,
            name=f"{name} {'decode' if tokens == 1 else 'prefill'}", show=options["show"],
            precision=options["precision"],
        )  # fmt: skip


def _show(name: str, result: object) -> None:
    """The result of one pass, on standard error."""
    click.echo(f"── {name} " + "─" * (100 - len(name)) + f"\n{result}\n", err=True)
