"""heddle run: a model from PyTorch to the simulator to the RTL, with the figures that matter."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import heddle
import numpy as np
from heddle.layers import require_writable

from .cosim import print_comparison
from .shared import (
    at_precision,
    check_images,
    command,
    compile_workload,
    config_option,
    console,
    get_workload,
    is_checkpoint,
    json_option,
    load_config,
    precision_option,
    print_json,
    print_table,
    progress,
    refuse,
    require_engine,
)  # fmt: skip
from .tables import print_bytes, print_dram, print_stalls, write_pictures

BATCH = 60  # inputs simulated at a time


@command(
    short_help="Compile a model, simulate its test set, check it on the RTL.",
    epilog="Example: heddle run digits-vit --config small --images 100",
)
@click.argument("model")
@config_option
@precision_option
@click.option("--dram", metavar="NAME", help="Memory behind the port: one of heddle configs --drams.")
@click.option("--images", type=int, metavar="N", help="Inputs to simulate. [default: all of the test set]")
@click.option("--rtl-images", default=2, show_default=True, metavar="N", help="Inputs to run on the RTL too.")
@click.option("--tokens", type=int, metavar="N", help="Length of the sequence, for a directory. [default: 32]")
@click.option("--seed", default=0, show_default=True, metavar="N", help="Of the random inputs, for a directory.")
@click.option("--engine", default="verilator", show_default=True, help="What runs the RTL.")
@click.option("--output-dir", default="build", show_default=True, type=click.Path(path_type=Path),
              help="Where the timeline and the trace go.")  # fmt: skip
@json_option
def run(
    model: str, config_name: str, precision: tuple[str, ...], dram: str | None, images: int | None, rtl_images: int,
    tokens: int | None, seed: int, engine: str, output_dir: Path, as_json: bool,
) -> None:  # fmt: skip
    """Compile MODEL, simulate it over its inputs, compare with PyTorch, and check some inputs on the RTL.

    MODEL is digits-vit, bert-tiny, encoder-layer or encoder-layer-post; or a directory with config.json and
    model.safetensors, as Hugging Face models have, whose inputs are random. (This needs the extra hf.)
    """
    begin = time.perf_counter()
    config, rule = at_precision(load_config(config_name), precision)
    if not is_checkpoint(model):
        refuse(f"is for a directory with weights; {model} has inputs of its own", "tokens", "seed")
    workload = get_workload(model, tokens, seed)
    if dram is not None:
        config = config.with_dram(dram)
    count = _count(workload, images, rtl_images)
    if rtl_images:
        require_engine(engine)
    else:
        refuse("means nothing with --rtl-images 0", "engine")
    pictures = _pictures(output_dir, f"{workload.name}-{config.file_name}")
    samples = workload.load(count)
    golden = workload.golden(samples)
    program = compile_workload(workload, config, precision=rule)
    timed = heddle.simulate(program, values=False)
    simulated = time.perf_counter()
    outputs = _simulate_all(program, samples, count)
    seconds = time.perf_counter() - simulated
    figures = {
        "model": model, "program": program.name, "inputs": count,
        **_accuracies(samples.labels, golden, outputs),
        "output_sqnr_db": min(_sqnr_db(each, outputs[name]) for name, each in golden.items()),
        "cycles_per_input": timed.cycles, "mac_utilisation": timed.mac_utilisation,
        "inputs_per_second": config.clock_mhz * 1e6 / timed.cycles,
        "stall_cycles": timed.stalls, "moved_bytes": timed.bytes,
    }  # fmt: skip
    write_pictures(timed, *pictures)
    if not as_json:
        _print(figures, timed, seconds, pictures)
    if rtl_images:
        with progress(f"{rtl_images} inputs on the RTL ({engine})", None) as advance:
            inputs = [{name: array[i] for name, array in samples.inputs.items()} for i in range(rtl_images)]
            comparison = heddle.lockstep(program, inputs, engine, progress=lambda done, total: advance())
        figures["rtl"] = comparison.to_dict()
        if not as_json:
            print_comparison(comparison)
    figures |= {"simulate_seconds": seconds, "seconds": time.perf_counter() - begin}
    if as_json:
        print_json(figures, config)
    if rtl_images and not comparison.agrees:
        raise SystemExit(1)


def _count(workload: Any, images: int | None, rtl_images: int) -> int:
    most = workload.count
    count = images if images is not None else (most or 16)
    check_images(workload, count)
    if not 0 <= rtl_images <= count:
        raise heddle.HeddleError(f"--rtl-images must be from 0 to --images ({count}), not {rtl_images}")
    return count


def _simulate_all(program: Any, samples: Any, count: int) -> dict[str, np.ndarray]:
    """The results by name, (count, …)."""
    outputs: dict[str, list[np.ndarray]] = {}
    with progress(f"Simulating {count} inputs", count, "input") as advance:
        for start in range(0, count, BATCH):
            batch = {name: array[start : start + BATCH] for name, array in samples.inputs.items()}
            found = heddle.simulate(program, batch, timing=False).outputs
            for name, array in found.items():
                outputs.setdefault(name, []).append(array)
            advance(len(array))
    return {name: np.concatenate(arrays) for name, arrays in outputs.items()}


def _accuracies(labels: Any, golden: dict[str, np.ndarray], outputs: dict[str, np.ndarray]) -> dict[str, float]:
    """Percentages of inputs whose greatest logit is at the label."""
    if labels is None:
        return {}
    (logits,) = golden
    named = {"accuracy_fp32": golden[logits], "accuracy": outputs[logits]}
    return {name: float(100 * (logits.argmax(-1) == labels).mean()) for name, logits in named.items()}


def _sqnr_db(golden: np.ndarray, outputs: np.ndarray) -> float:
    """Signal to quantisation noise over all numbers of an output: 10·log10(Σ y² / Σ (y − ŷ)²)."""
    golden, outputs = golden.astype(np.float64), outputs.reshape(golden.shape).astype(np.float64)
    return float(10 * np.log10((golden**2).sum() / ((golden - outputs) ** 2).sum()))


def _pictures(folder: Path, stem: str) -> tuple[Path, Path]:
    """Where the timeline and the trace go; the folder is there then. Raises HeddleError if they cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise heddle.HeddleError(f"cannot make {folder}: {error.strerror}") from None
    pictures = folder / f"{stem}-timeline.png", folder / f"{stem}-trace.json"
    for path in pictures:
        require_writable(path)
    return pictures


def _print(figures: dict[str, Any], timed: Any, seconds: float, pictures: Sequence[Path]) -> None:
    rows = [
        ("inputs", f"{figures['inputs']}"),
        *((("accuracy, PyTorch fp32", f"{figures['accuracy_fp32']:.2f} %"),
           ("accuracy, accelerator", f"{figures['accuracy']:.2f} %")) if "accuracy" in figures else ()),
        ("SQNR of the outputs" if len(timed.program.outputs()) == 1 else "least SQNR of the outputs",
         f"{figures['output_sqnr_db']:.1f} dB"),
        ("cycles per input", f"{timed.cycles:,}"),
        (f"inputs per second at {timed.program.config.clock_mhz} MHz", f"{figures['inputs_per_second']:,.0f}"),
        ("MAC utilisation", f"{timed.mac_utilisation:.1%}"),
        ("values of all inputs simulated in", f"{seconds:.1f} s"),
    ]  # fmt: skip
    print_table(f"{figures['model']} on {timed.program.config.title}", ["figure", "value"], rows)
    print_stalls(timed)
    print_bytes(timed)
    print_dram(timed)
    console.print("wrote " + " and ".join(str(path) for path in pictures))
