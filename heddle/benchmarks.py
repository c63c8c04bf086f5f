"""The benchmark table: how near compiled programs come to the peak, and how fast the simulator says so.

Each case runs in a process of its own (`python -m heddle.benchmarks CASE` prints its figures as JSON), so that its
memory is its own, and one that fails or hangs leaves a row that says so. A case may have several goals: each is a row.
"""

from __future__ import annotations

import json
import logging
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import heddle
import numpy as np
from heddle.layers import processes, unknown
from numpy.typing import NDArray

_log = logging.getLogger(__name__)
TIMEOUT_SECONDS = 900
SIDE_BY_SIDE = ("gemm-512", "bert-layer")  # cases that scalesim runs too
REPETITIONS = 9  # of what is quick; the median counts
SCALESIM_RECORDED = {
    "cpu_seconds": 366.0,
    "peak_bytes": 5.6e9,
}  # of `bert-layer-128`, scalesim 3.0.0 on a 16 × 16 array


@dataclass(frozen=True)
class Goal:
    """A row: what a case measures, and what it must reach."""

    name: str
    measure: str
    value: float
    at_least: bool = True

    def reached(self, found: float) -> bool:
        """Whether it is."""
        return found >= self.value if self.at_least else found <= self.value


@dataclass(frozen=True)
class Case:
    """One benchmark; `run` gives its figures."""

    name: str
    what: str
    goals: tuple[Goal, ...]
    run: Callable[[], dict[str, Any]]


# -- what all cases of timing measure ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """A program, a decoder's at a position, and what its cycles and operations count in the sum. One that is there to
    correct the sum does not count in the speed."""

    program: Any
    position: int | None = None
    sign: int = 1
    corrects: bool = False

    def bound(self) -> Any:
        """The program as it is run."""
        return self.program if self.position is None else self.program.at(self.position)


def timed(build: Callable[[], list[Part]]) -> dict[str, Any]:
    """Compile and simulate, without values, the parts of a run one after the other. What is timed is all that its
    cycles are found from, parts that correct it included. Simulated cycles per second are those of the other parts in a
    second of CPU time, which hardly hangs on other processes."""
    _load_engine()
    begin, used = time.perf_counter(), time.process_time()
    parts = build()
    compiled, compiled_cpu, results, speeds = time.perf_counter(), time.process_time(), [], []
    for each in parts:
        simulating = time.process_time()
        results.append(heddle.simulate(each.bound(), values=False))
        if not each.corrects:
            speeds.append((results[-1].cycles, time.process_time() - simulating))
    done, cpu_done = time.perf_counter(), time.process_time()
    simulated, seconds = map(sum, zip(*speeds, strict=True))
    runs, first = list(zip(parts, results, strict=True)), parts[0].program
    cycles = sum(part.sign * each.cycles for part, each in runs)
    macs = sum(part.sign * each.program.total_macs for part, each in runs)
    least = sum(part.sign * _least_cycles(each) for part, each in runs)
    return {
        **first.config.identity(), "instructions": len(first.instructions), "cycles": cycles, "useful_macs": macs,
        "mac_utilisation": macs / (first.config.rows * first.config.columns * cycles),
        "bandwidth_fraction": least / cycles,
        "port_bytes": sum(part.sign * sum(each.bytes.values()) for part, each in runs),
        "compile_seconds": compiled - begin, "compile_cpu_seconds": compiled_cpu - used,
        "simulate_seconds": done - compiled, "seconds": done - begin,
        "cpu_seconds": cpu_done - used,
        "cycles_per_second": simulated / seconds,
    }  # fmt: skip


def _load_engine() -> None:
    """Load the compiled engine (and build it, the first time): once for any number of runs, so not counted."""
    workload = heddle.WORKLOADS["encoder-layer"]
    program = heddle.compile(workload.model(), workload.example_inputs(), heddle.get_config("nano"))
    heddle.simulate(program, values=False, engine="compiled")


def _least_cycles(result: Any) -> float:
    """Cycles that DRAM needs for the bytes that must move: what is loaded once, each byte once however often it is
    loaded; what is gathered, stored and moved for the cache; not the instructions."""
    config = result.program.config
    least = sum(result.bytes[client] for client in ("store", "append", "stream"))
    pieces = []
    for each, void in result.dispatched:
        if void or not each.dram or each.dram.write or each.dram.cache:
            continue
        moved = each.transfer(config)
        if moved.chosen:
            least += moved.moved_bytes
        else:
            pieces += [(start, start + moved.piece_bytes) for start in moved.starts]
    reached = 0
    for start, stop in sorted(pieces):
        least += max(0, stop - max(start, reached))
        reached = max(reached, stop)
    return least / config.dram.bytes_per_cycle(config.axi_bytes)


# -- the cases ---------------------------------------------------------------------------------------------------------


def gemm() -> dict[str, Any]:
    """A linear layer of 512 features on 512 rows: quantised, multiplied, scaled."""
    product = ("GEMM 512³", 512, 512, 512)
    figures = _product(*product)
    return figures | side_by_side([product]) if "--scalesim" in sys.argv else figures


def _product(name: str, m: int, n: int, k: int) -> dict[str, Any]:
    """(m, k) @ (k, n) by itself on `base`, as a linear layer."""
    import torch

    def build() -> list[Part]:
        with torch.device("meta"):
            layer = torch.nn.Linear(k, n).eval()
        return [Part(heddle.compile(layer, (torch.zeros(1, m, k),), heddle.get_config("base"), name=name))]

    return timed(build)


def bert_base() -> dict[str, Any]:
    """BERT-base on 384 tokens, all operators."""
    return _whole("bert-base", heddle.get_config("base"), 384)


def bert_large() -> dict[str, Any]:
    """All layers of BERT-large on `base`."""
    return _whole("bert-large", heddle.get_config("base"), 512)


def vit_b16() -> dict[str, Any]:
    """ViT-B/16 on one image."""
    return _whole("vit-b16", heddle.get_config("base"))


def gpt2_prefill() -> dict[str, Any]:
    """GPT-2 small takes a prompt of 1,024 tokens, 32 at a time."""
    return _prefill("gpt2-small", heddle.get_config("base"), 1024, 32)


def llama_prefill() -> dict[str, Any]:
    """Llama-2-7B takes a prompt of 2,048 tokens, 512 at a time, on `server` with HBM2."""
    return _prefill("llama-2-7b", heddle.get_config("server").with_dram("HBM2"), 2048, 512)


def gpt2_decode() -> dict[str, Any]:
    """The next token of GPT-2 small when 1,023 are cached."""
    shape = _shape("gpt2-small")
    config, plan = heddle.get_config("base"), heddle.CachePlan(1024)

    def build() -> list[Part]:
        decoder = heddle.compile_decoder(shape.build(), config, plan, context=1024, name="gpt2-small decode")
        return [Part(decoder, 1023)]

    return timed(build)


def bert_layer() -> dict[str, Any]:
    """Compile and time one layer of BERT-base on 128 tokens, all operators; against scalesim for its products alone.

    Ours is the median of nine runs in a process that has already loaded PyTorch, Heddle and the compiled engine, and
    scalesim's its only run once it is imported: no side counts its imports. Memory is that of each whole process."""
    import torch

    encoder = import_module("heddle.models.encoder")
    layer = encoder.EncoderConfig(width=768, heads=12, hidden=3072)

    def build() -> list[Part]:
        with torch.device("meta"):
            model = encoder.PostNormLayer(layer).eval()
        example = (torch.zeros(1, 128, 768),)
        return [Part(heddle.compile(model, example, heddle.get_config("base"), name="bert-layer-128"))]

    figures = sorted((timed(build) for _ in range(REPETITIONS)), key=lambda each: each["cpu_seconds"])[REPETITIONS // 2]
    peak, other, origin = _peak_bytes(), SCALESIM_RECORDED | {"measured": False}, "recorded"
    if "--scalesim" in sys.argv:
        figures |= side_by_side(bert_layer_gemms(128, 768, 12, 3072))
        other, origin = figures["side_by_side"]["total"]["scalesim"] | {"measured": True}, "measured"
    return figures | {
        "scalesim": other, "times_faster": other["cpu_seconds"] / figures["cpu_seconds"],
        "memory_ratio": peak / other["peak_bytes"],
        "note": f"ours: the whole layer compiled and simulated, median CPU time of {REPETITIONS} warm runs in one "
        f"process, without imports and without loading the compiled engine; scalesim's, {origin}: the products alone, "
        "one run, without imports",
    }  # fmt: skip


def bert_layer_gemms(tokens: int, width: int, heads: int, hidden: int) -> list[tuple[str, int, int, int]]:
    """(name, M, N, K) of a layer's products."""
    head = width // heads
    return [
        *((name, tokens, width, width) for name in ("query", "key", "value")),
        *((f"scores{number}", tokens, tokens, head) for number in range(heads)),
        *((f"context{number}", tokens, head, tokens) for number in range(heads)),
        ("output", tokens, width, width), ("up", tokens, hidden, width), ("down", tokens, width, hidden),
    ]  # fmt: skip


def digits_vit() -> dict[str, Any]:
    """Values and cycles of the whole test set of digits-vit on `small`, against PyTorch on one core."""
    import torch

    _load_engine()
    torch.set_num_threads(1)
    workload, config = heddle.WORKLOADS["digits-vit"], heddle.get_config("small")
    model, samples = workload.model(), workload.load(workload.count or 1)
    program = heddle.compile(model, workload.example_inputs(), config, output=workload.output)
    with torch.no_grad():
        seconds = _seconds(lambda: model(*samples.tensors()), lambda: heddle.simulate(program, samples.inputs))
    pytorch, both = np.median(seconds, axis=0).tolist()
    return {
        **config.identity(), "inputs": workload.count, "cycles": heddle.simulate(program, values=False).cycles,
        "compile_seconds": float(np.median(_seconds(lambda: heddle.compile(model, workload.example_inputs(), config)))),
        "pytorch_seconds": pytorch, "simulate_seconds": both,
        "times_pytorch": float(np.median(seconds[:, 1] / seconds[:, 0])),
    }  # fmt: skip


def lock_step() -> dict[str, Any]:
    """One image of digits-vit on `small` in the simulator and in the RTL."""
    workload, config = heddle.WORKLOADS["digits-vit"], heddle.get_config("small")
    program = heddle.compile(workload.model(), workload.example_inputs(), config, output=workload.output)
    one = {name: array[0] for name, array in workload.load(1).inputs.items()}
    comparison = heddle.lockstep(program, one, "verilator")  # builds it
    begin = time.perf_counter()
    heddle.lockstep(program, one, "verilator")
    return {
        **config.identity(), "cycles": comparison.cycles,
        "rtl_cycles_per_second": comparison.cycles / (time.perf_counter() - begin),
        "differences": comparison.different_bytes + comparison.different_cycles,
    }  # fmt: skip


CASES: list[Case] = [
    Case("gemm-512", "one GEMM 512³", (Goal("GEMM 512³", "mac_utilisation", 0.985),), gemm),
    Case("bert-base", "BERT-base, L = 384", (Goal("BERT-base, L = 384", "mac_utilisation", 0.985),), bert_base),
    Case("bert-large", "BERT-large, L = 512", (
        Goal("BERT-large, L = 512", "mac_utilisation", 0.95),
        Goal("compiling BERT-large, CPU s", "compile_cpu_seconds", 15, at_least=False),
    ), bert_large),
    Case("vit-b16", "ViT-B/16, one image", (Goal("ViT-B/16, one image", "mac_utilisation", 0.985),), vit_b16),
    Case("gpt2-prefill", "GPT-2 small, prompt of 1024",
         (Goal("GPT-2 small prefill, L = 1024", "mac_utilisation", 0.945),), gpt2_prefill),
    Case("gpt2-decode", "GPT-2 small, the next token",
         (Goal("GPT-2 small decode at 1024", "bandwidth_fraction", 0.975),), gpt2_decode),
    Case("llama-prefill", "Llama-2-7B, prompt of 2048, server with HBM2", (
        Goal("Llama-2-7B prefill, L = 2048", "mac_utilisation", 0.92),
        Goal("timing of Llama-2-7B prefill", "cycles_per_second", 1e9),
        Goal("capture, compile, simulate it", "seconds", 60, at_least=False),
        Goal("memory for that", "peak_bytes", 2e9, at_least=False),
    ), llama_prefill),
    Case("bert-layer", "a layer of BERT-base at L = 128 against scalesim", (
        Goal("BERT-base layer, faster than scalesim", "times_faster", 1000),
        Goal("BERT-base layer, memory of scalesim", "memory_ratio", 0.1, at_least=False),
        Goal("BERT-base layer, bytes of DRAM", "port_bytes", 16e6, at_least=False),
    ), bert_layer),
    Case("digits-vit", "values and cycles of 540 images",
         (Goal("digits-vit test set, times PyTorch", "times_pytorch", 3, at_least=False),), digits_vit),
    Case("lock-step", "digits-vit on the RTL", (Goal("lock-step differences", "differences", 0, at_least=False),),
         lock_step),
]  # fmt: skip


def _shape(name: str) -> Any:
    return import_module("heddle.models.shapes").find(name)


def _whole(name: str, config: Any, tokens: int | None = None) -> dict[str, Any]:
    """A model without weights on all tokens at once."""
    shape = _shape(name)
    return timed(lambda: [Part(heddle.compile(shape.build(), shape.example_inputs(tokens), config, name=name))])


def _prefill(name: str, config: Any, tokens: int, chunk: int) -> dict[str, Any]:
    """A decoder without weights takes a prompt, `chunk` tokens at a time: one program at one position after the other.
    The head is needed for the last token only: it counts as what a decode step with it takes more than one without.
    Times include compiling and simulating these two steps; the cycles per second are those of the prompt."""
    shape, plan = _shape(name), heddle.CachePlan(tokens)

    def compiled(count: int, head: bool) -> Any:
        return heddle.compile_decoder(shape.build(), config, plan, tokens=count, context=tokens, head=head, name=name)

    def build() -> list[Part]:
        prompt = compiled(chunk, head=False)
        return [
            *(Part(prompt, position) for position in range(0, tokens, chunk)),
            Part(compiled(1, head=True), tokens - 1, corrects=True),
            Part(compiled(1, head=False), tokens - 1, sign=-1, corrects=True),
        ]  # fmt: skip

    return timed(build) | {
        "tokens": tokens, "chunk_tokens": chunk,
        "note": f"in chunks of {chunk} tokens; the head for the last token, by two decode steps, in all seconds too",
    }  # fmt: skip


def _seconds(*works: Callable[[], object]) -> NDArray[np.float64]:
    """(repetitions, works): CPU time, which other processes change less. The works take turns, so that what slows the
    machine down slows them all, after a first turn that is not counted."""
    times = np.empty((1 + REPETITIONS, len(works)))
    for turn, number in np.ndindex(times.shape):
        begin = time.process_time()
        works[number]()
        times[turn, number] = time.process_time() - begin
    return times[1:]


def _peak_bytes() -> int:
    """Most memory that this process has had: of its own, where Linux says so, for the maximum in getrusage begins with
    that of the process which started it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    (line,) = (each for each in status.read_text().splitlines() if each.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


# -- scalesim ----------------------------------------------------------------------------------------------------------


def side_by_side(gemms: Sequence[tuple[str, int, int, int]]) -> dict[str, Any]:
    """{"side_by_side": figures} of the same (name, M, N, K) here and in scalesim, for an array like that of `base`:
    `gemms` has the sums over products of equal shape, `total` those over all, and the memory.

    Ours are compiled and simulated one by one, each from DRAM and back to it, quantised and scaled; the cycles of
    scalesim are those of an array that never waits for memory. Utilisation is useful MACs over PEs and cycles in both.
    """
    config = heddle.get_config("base")
    ours = [_product(*each) for each in gemms]
    other = scalesim(config.rows, config.columns, gemms)
    shapes: dict[tuple[int, int, int], list[int]] = {}
    for number, (_, *shape) in enumerate(gemms):
        shapes.setdefault((shape[0], shape[1], shape[2]), []).append(number)

    def summed(figures: Sequence[dict[str, Any]], numbers: Sequence[int]) -> dict[str, Any]:
        cycles = sum(figures[each]["cycles"] for each in numbers)
        macs = sum(m * n * k for _, m, n, k in (gemms[each] for each in numbers))
        return {"cycles": cycles, "mac_utilisation": macs / (config.rows * config.columns * cycles),
                "cpu_seconds": sum(figures[each]["cpu_seconds"] for each in numbers)}  # fmt: skip

    everything = range(len(gemms))
    return {"side_by_side": {
        "gemms": [
            {"names": [gemms[each][0] for each in numbers], "m": m, "n": n, "k": k,
             "heddle": summed(ours, numbers), "scalesim": summed(other["gemms"], numbers)}
            for (m, n, k), numbers in shapes.items()
        ],
        "total": {
            "heddle": summed(ours, everything) | {"peak_bytes": _peak_bytes()},
            "scalesim": summed(other["gemms"], everything)
            | {"cpu_seconds": other["cpu_seconds"], "peak_bytes": other["peak_bytes"]},
        },
    }}  # fmt: skip


def scalesim(rows: int, columns: int, gemms: Sequence[Sequence[Any]], python: str = sys.executable) -> dict[str, Any]:
    """CPU seconds and peak bytes of the package scalesim for a list of (name, M, N, K), weight-stationary, in a process
    of its own; cycles and CPU seconds of each of `gemms`. Raises HeddleError if it is not installed, or fails."""
    child = Path(__file__).with_name("scalesim_child.py")
    request = json.dumps({"rows": rows, "columns": columns, "gemms": gemms})
    with processes.temporary_folder("heddle-scalesim-") as directory:
        command = [python, "-W", "ignore", str(child), str(directory)]
        pipe = subprocess.PIPE
        found = processes.run(command, input=request, stdout=pipe, stderr=pipe, text=True)
    if found.returncode:
        problem = found.stderr.strip().splitlines()[-1:] or ["no message"]
        raise heddle.HeddleError(f"scalesim did not run ({problem[0]}): install heddle[scalesim]")
    return json.loads(found.stdout)


# -- the table ---------------------------------------------------------------------------------------------------------


def rows(names: Sequence[str] = (), options: Sequence[str] = (), timeout: float = TIMEOUT_SECONDS) -> Iterator[dict]:
    """The rows of the cases of these names (default: all), as they are done. A row has the key that its `measure`
    names, whose value `goal` is for; all that the case found is in `figures`. Raises HeddleError for an unknown name,
    and where scalesim is asked for and not installed."""
    known = {each.name: each for each in CASES}
    for name in names:
        if name not in known:
            raise unknown("benchmark", name, known, "benchmarks")
    for name in names:
        if names.count(name) > 1:
            raise heddle.HeddleError(f"the benchmark {name} is named twice")
    if "--scalesim" in options and names and not set(names) & set(SIDE_BY_SIDE):
        raise heddle.HeddleError(f"--scalesim is for {' and '.join(SIDE_BY_SIDE)}, of which none is named")
    if "--scalesim" in options and find_spec("scalesim") is None:
        raise heddle.HeddleError("scalesim is not installed: install heddle[scalesim]")
    chosen = [known[name] for name in names] or CASES
    for number, case in enumerate(chosen, 1):
        _log.info("benchmark %d of %d: %s", number, len(chosen), case.name)
        figures = _run(case, options, timeout)
        notes = {name: figures.pop(name) for name in ("error", "note") if name in figures}
        for goal in case.goals:
            value = figures.get(goal.measure)
            yield {
                "name": goal.name, "case": case.name, "measure": goal.measure, goal.measure: value, "goal": goal.value,
                "at_least": goal.at_least, "reached": value is not None and goal.reached(value), **notes,
                "figures": figures,
            }  # fmt: skip


def cycles_per_second(rows: Sequence[dict[str, Any]]) -> float | None:
    """The simulator's speed: of the row whose goal it is, the Llama-2-7B prefill, if that was run; else of the slowest
    case. None where nothing was timed, or that row failed."""
    for row in rows:
        if row["measure"] == "cycles_per_second":
            return row["cycles_per_second"]
    speeds = (row["figures"].get("cycles_per_second") for row in rows)
    return min((each for each in speeds if each is not None), default=None)


@cache
def _build() -> None:
    """What numba builds the first time on a machine, in a process of its own: no case's memory counts it."""
    processes.run([sys.executable, "-m", "heddle.benchmarks"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _run(case: Case, options: Sequence[str], timeout: float) -> dict[str, Any]:
    _build()
    command = [sys.executable, "-m", "heddle.benchmarks", case.name, *options]
    try:
        code, output, errors = _output(command, timeout)
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {timeout:g} seconds"}
    if code:
        return {"error": (errors.strip().splitlines() or [f"no message, exit code {code}"])[-1]}
    return json.loads(output.splitlines()[-1])


def _output(command: Sequence[str], timeout: float) -> tuple[int, str, str]:
    """(exit code, standard output, standard error). Whatever ends the wait, time or a signal, ends the command and all
    that it has started: scalesim, a Verilator build. Raises TimeoutExpired."""
    pipe = subprocess.PIPE
    found = processes.run(command, stdout=pipe, stderr=pipe, text=True, timeout=timeout)
    return found.returncode, found.stdout, found.stderr


def main() -> None:
    """One case in this process: its figures, or the error on standard error and exit code 1. Without a case nothing but
    what all of them need is built."""
    if len(sys.argv) == 1:
        return _load_engine()
    case = next(each for each in CASES if each.name == sys.argv[1])
    try:
        figures = case.run()
    except heddle.HeddleError as error:
        sys.exit(str(error))
    print(json.dumps(figures | {"peak_bytes": _peak_bytes()}))


if __name__ == "__main__":
    main()
