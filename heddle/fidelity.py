"""How near the accelerator is to PyTorch in float32, layer by layer.

A model cut after its first k layers, its final norm behind them, is compiled and run like the whole; so what is
compared is what the head would read after k layers. The layers themselves are those of the model.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import heddle
import numpy as np
import torch
from numpy.typing import NDArray

PERPLEXITY_RATIO = {"w8a8": 1.01, "w8a16": 1.01, "w16a16": 1.002, "bf16": 1.002}  # at most, of the accelerator's
TOP1_AGREEMENT = 0.97  # of all tokens, at least, at any precision
CHUNK = 32  # tokens that are taken at once


@dataclass(frozen=True)
class Layer:
    """Outputs against those of PyTorch."""

    name: str
    sqnr_db: float  # over all outputs
    cosine: float  # least of all rows (tokens or images)


@dataclass(frozen=True)
class Threshold:
    """A promise: `value` is at least `goal`, or else at most."""

    name: str
    value: float
    goal: float
    at_least: bool = True

    @property
    def reached(self) -> bool:
        """Whether it holds."""
        return self.value >= self.goal if self.at_least else self.value <= self.goal


@dataclass(frozen=True)
class Logits:
    """Of a teacher-forced pass: the tokens of a text go in, whatever the model would have said."""

    golden: NDArray[np.float32]  # (tokens, vocabulary), of PyTorch
    found: NDArray[np.float32]
    likeliest: NDArray[np.int32]  # (tokens,), as the accelerator chose
    targets: NDArray[np.int64]  # (tokens,), the text's own next ones

    @property
    def perplexities(self) -> tuple[float, float]:
        """Of PyTorch and of the accelerator, per token."""
        return perplexity(self.golden, self.targets), perplexity(self.found, self.targets)

    @property
    def top1_agreement(self) -> float:
        """The share of the tokens after which both think the same one likeliest."""
        return float((self.golden.argmax(1) == self.likeliest).mean())


def compare(name: str, golden: NDArray, found: NDArray) -> Layer:
    """SQNR = 10·log10(Σ y² / Σ (y − ŷ)²), and the least cosine of a row."""
    golden = golden.astype(np.float64).reshape(len(golden), -1)
    found = found.astype(np.float64).reshape(golden.shape)
    noise = ((golden - found) ** 2).sum()
    sqnr = 10 * np.log10((golden**2).sum() / noise) if noise else float("inf")
    norms = np.linalg.norm(golden, axis=1) * np.linalg.norm(found, axis=1)
    return Layer(name, float(sqnr), float(((golden * found).sum(1) / np.maximum(norms, 1e-30)).min()))


def perplexity(logits: NDArray, targets: NDArray) -> float:
    """exp of the mean negative log-likelihood of targets (tokens,) by logits (tokens, vocabulary)."""
    logits = logits.astype(np.float64)
    greatest = logits.max(1, keepdims=True)
    normaliser = np.log(np.exp(logits - greatest).sum(1)) + greatest[:, 0]
    return float(np.exp((normaliser - logits[np.arange(len(targets)), targets]).mean()))


def truncated(model: Any, layers: int) -> Any:
    """A copy of the model with its first layers only. All of ours keep them in `layers`."""
    copy = deepcopy(model)
    copy.layers = copy.layers[:layers]
    return copy


def teacher_forced(
    model: Any, config: heddle.HardwareConfig, ids: list[int], context: int, precision: str,
    advance: Callable[[], None] = lambda: None,
) -> Logits:  # fmt: skip
    """A pass over ids[:-1], in sequences of at most `context` tokens; the last id is only a target."""
    sequences = _cut(ids[:-1], context)
    runs = _accelerated(model, config, sequences, context, precision, True)
    with torch.no_grad():
        golden = np.concatenate([model(torch.tensor([each]))[0].numpy() for each in sequences])
    advance()
    found, likeliest = (np.concatenate([getattr(run, what) for run in runs]) for what in ("logits", "next"))
    return Logits(golden, found, likeliest, np.array(ids[1:]))


def decoder_layers(
    model: Any, config: heddle.HardwareConfig, ids: list[int], context: int, precision: str,
    advance: Callable[[], None] = lambda: None,
) -> list[Layer]:  # fmt: skip
    """After each layer of a decoder, what its head would read."""
    found, sequences = [], _cut(ids, context)
    for count in range(1, len(model.layers) + 1):
        cut = truncated(model, count)
        runs = _accelerated(cut, config, sequences, context, precision, False)
        golden = np.concatenate([_before_head(cut, each) for each in sequences])
        found.append(compare(f"layer {count}", golden, np.concatenate([run.logits for run in runs])))
        advance()
    return found


def encoder_layers(
    workload: Any, model: Any, config: heddle.HardwareConfig, count: int, precision: str,
    advance: Callable[[], None] = lambda: None,
) -> tuple[list[Layer], NDArray, NDArray]:  # fmt: skip
    """For a workload, the outputs of its head after each layer on its first inputs; and the last of them, PyTorch's and
    the accelerator's."""
    samples, example = workload.load(count), workload.example_inputs()
    depth, layers = len(getattr(model, "layers", ())), []
    golden = found = np.zeros(0)
    for number in range(1, max(depth, 1) + 1):
        cut = truncated(model, number) if depth else model
        program = heddle.compile(cut, example, config, output=workload.output, precision=precision)
        with torch.no_grad():
            golden = cut(*samples.tensors()).numpy()
        found = heddle.simulate(program, samples.inputs, timing=False).outputs[workload.output].reshape(golden.shape)
        layers.append(compare(f"layer {number}", golden, found))
        advance()
    return layers, golden, found


def _cut(ids: list[int], context: int) -> list[list[int]]:
    return [ids[start : start + context] for start in range(0, len(ids), context)]


def _accelerated(
    model: Any, config: heddle.HardwareConfig, sequences: list[list[int]], context: int, precision: str, head: bool
) -> list[Any]:
    """The runs that take the sequences, one after the other."""
    longest = max(map(len, sequences))
    chunk = min(CHUNK, longest) // config.columns * config.columns
    problem = None
    for tiling in (heddle.Tiling(), None):  # the first that comes to mind is quick to compile; else search
        session = heddle.Session(
            model, config, heddle.CachePlan(longest), chunk=max(chunk, 1), context=context,
            options={"precision": precision, "head": head, "tiling": tiling},
        )  # fmt: skip
        try:
            for each in sequences:
                session.restart()
                session.feed(each)
            return session.runs
        except heddle.HeddleError as error:
            problem = error
    assert problem is not None, "each try returns or has a problem"
    raise problem


def _before_head(model: Any, ids: list[int]) -> NDArray[np.float32]:
    """What PyTorch's head reads: the output of the final norm, (tokens, width)."""
    kept = []
    handle = model.norm.register_forward_hook(lambda module, inputs, output: kept.append(output[0].numpy()))
    try:
        with torch.no_grad():
            model(torch.tensor([ids]))
    finally:
        handle.remove()
    return kept[0]
