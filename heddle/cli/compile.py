"""heddle compile: a model to a program file."""

import re
import sys
from importlib import import_module
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
    print_table,
    progress,
    read_checkpoint,
    refuse,
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
@click.option("-o", "--output", **file_to_write, help="File to write.")
@click.option("--tokens", type=int, metavar="N",
              help="Length of the sequence [default: the longest]; of a decoder, the tokens that one run takes: 1 to "
                   "decode, more for a chunk of a prompt. [default: 1]")  # fmt: skip
@click.option("--context", type=int, metavar="N",
              help=f"Tokens that the cache of a decoder has room for. [default: the model's context, at most "
                   f"{CONTEXT:,}]")  # fmt: skip
@click.option("--layers", type=int, metavar="N", help="Layers of a full-size model. [default: all]")
@click.option("--no-fuse", is_flag=True, help="Each operator by itself: slow, and the same answer. Not for decoders.")
@click.option("--audit", is_flag=True, help="Write no file: list all of MODEL that does not compile, and why.")
@click.option("--passes", is_flag=True, help="Print the graph after each pass.")
@json_option
def compile(
    model: str, config_name: str, precision: tuple[str, ...], output: Path | None, tokens: int | None,
    context: int | None, layers: int | None, no_fuse: bool, audit: bool, passes: bool, as_json: bool,
) -> None:  # fmt: skip
    """Compile MODEL for an accelerator into one program file.

    MODEL is one that heddle run knows; a language model, gpt2, llama or deepseek; or a full-size model by its name,
    such as bert-base, gpt2-small or llama-2-7b, or by the path of a Hugging Face config.json. A full-size model has no
    weights: its file can be simulated, reported, explained and linted, and computes no values. A chunk of a prompt is
    compiled without the head, which only a prompt's last token needs. Or MODEL is a directory with config.json and
    model.safetensors: its model is compiled as it is, with its weights, as one call without a cache. (This needs the
    extra hf.)

    With --audit, every call that cannot be lowered is listed, with its shapes, the module and the line that it comes
    from, and the nearest form that works; memories that are too small; and what runs on the host. It exits with 1 if
    anything is missing.
    """
    if audit:
        refuse("writes a file: --audit writes none", "output")
        refuse("prints passes: --audit prints what is missing", "passes")
    elif output is None:
        raise heddle.HeddleError("-o FILE must say which file to write; only --audit does without")
    config, rule = at_precision(load_config(config_name), precision)
    if layers is not None and layers > MOST_LAYERS:
        raise heddle.HeddleError(f"--layers must be from 1 to {MOST_LAYERS:,}, not {layers}")
    options = {"show": _show if passes else None, "fused": not no_fuse, "precision": rule}
    if audit:
        found = import_module("heddle.compiler.audit").audit_of(
            lambda show: _program(model, config, tokens, context, layers, {**options, "show": show}), config
        )
        figures = {"model": model, "precision": str(rule), **found.to_dict()}
        print_json(figures, config) if as_json else _print_audit(model, rule, found)
        sys.exit(0 if found.compiles else 1)
    program = _program(model, config, tokens, context, layers, options)
    assert output is not None, "looked at above"
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


def _print_audit(model: str, rule: heddle.PrecisionRule, found: Any) -> None:
    """What is missing, most work first; then what runs on the host."""
    title = f"{model} on {found.config.title}, {rule}"
    calls = [each for each in found.findings if each.kind == "operator"]
    others = [each for each in found.findings if each.kind != "operator"]
    if calls:
        rows = [
            (each.operator, each.count, "?" if each.share is None else f"{each.share:.1%}", _shapes(each),
             _places(each.in_modules, each.source), each.reason, each.instead)
            for each in calls
        ]  # fmt: skip
        columns = ["call", "times", "work", "shapes", "where", "why it does not compile", "the nearest that does"]
        print_table(f"{title}: calls that do not compile", columns, rows, text=(0, 3, 4, 5, 6))
        console.print("torch.compile(model, backend=\"heddle\") runs such calls in PyTorch, and all else compiled.")
    for each in others:
        console.print(f"{each.kind}: {each.reason}", markup=False)
    if found.host:
        rows = [(each.operator, each.count, _places(each.in_modules, each.source)) for each in found.host]
        print_table("What the host computes before a launch", ["call", "times", "where"], rows, text=(0, 2))
    for path, kind in found.left_out.items():
        console.print(f"left out of the results: {path or 'all'}, a {kind}", markup=False)
    if found.program:
        console.print(f"All of {title} compiles: {len(found.program.instructions):,} instructions, "
                      f"{found.program.total_macs:,} useful MACs, {found.program.dram_bytes:,} bytes of DRAM.",
                      markup=False)  # fmt: skip


def _shapes(each: Any) -> str:
    read, made = (["×".join(map(str, shape)) or "1" for shape in shapes] for shapes in (each.operands, [each.shape]))
    return f"{', '.join(read)} → {made[0]}" if read else made[0]


def _places(modules: tuple[str, ...], source: str) -> str:
    """The modules, those that differ in numbers alone as one, and the line, of which --json has the code too."""
    source = ":".join(source.split(":")[:2])
    names = dict.fromkeys(re.sub(r"(?<![^.])\d+(?![^.])", "*", each) if len(modules) > 1 else each for each in modules)
    return " at ".join(each for each in (", ".join(each for each in names if each), source) if each)


def _show(name: str, result: object) -> None:
    """The result of one pass, on standard error."""
    click.echo(f"── {name} " + "─" * (100 - len(name)) + f"\n{result}\n", err=True)
