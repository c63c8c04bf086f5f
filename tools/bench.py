"""What the speeds are, on this machine, in one run: `make bench` (or `python tools/bench.py --json`).

Shared machines are noisy: each figure is the median of several repetitions, and what is compared is a ratio.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable

import heddle
import torch
from rich.console import Console
from rich.table import Table

REPETITIONS = 3


def seconds(work: Callable[[], object]) -> float:
    """Median time of `work`, after one repetition that is not counted."""
    work()
    times = []
    for _ in range(REPETITIONS):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def measure() -> dict[str, float]:
    """Figures for digits-vit on `small`."""
    torch.set_num_threads(1)
    workload, config = heddle.WORKLOADS["digits-vit"], heddle.get_config("small")
    model, samples = workload.model(), workload.load(workload.count)
    compile_seconds = seconds(lambda: heddle.compile(model, workload.example_inputs(), config))
    program = heddle.compile(model, workload.example_inputs(), config, output=workload.output)
    with torch.no_grad():
        pytorch = seconds(lambda: model(*samples.tensors()))
    timing = seconds(lambda: heddle.simulate(program, values=False))
    values = seconds(lambda: heddle.simulate(program, samples.inputs, timing=False))
    one = {name: array[0] for name, array in samples.inputs.items()}
    rtl = seconds(lambda: heddle.lockstep(program, one, "verilator"))
    cycles = heddle.simulate(program, values=False).cycles
    return {
        "images": len(samples.labels),
        "cycles_per_image": cycles,
        "compile_seconds": compile_seconds,
        "pytorch_fp32_seconds": pytorch,
        "simulate_values_seconds": values,
        "values_over_pytorch": values / pytorch,
        "timing_seconds": timing,
        "timing_cycles_per_second": cycles / timing,
        "rtl_lockstep_seconds_per_image": rtl,
        "rtl_cycles_per_second": cycles / rtl,
    }


def main() -> None:
    """Print the figures as a table, or as JSON."""
    figures = measure()
    if "--json" in sys.argv:
        print(json.dumps(figures, indent=2))
        return
    table = Table("figure", "value", title="digits-vit on small")
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), f"{value:,.3g}" if isinstance(value, float) else f"{value:,}")
    Console().print(table)


if __name__ == "__main__":
    main()
