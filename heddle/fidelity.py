"""How near the accelerator is to PyTorch in float32, layer by layer.

Of any module, the outputs of its layers are compared, as further results of one program. A decoder with a cache is cut
after its first k layers, its final norm behind them, and compiled and run like the whole; so what is compared is what
the head would read after k layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import wraps
from importlib import import_module
from typing import Any

import heddle
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_capture = import_module("heddle.compiler.capture")
evaluating, result_name, tensors_of = _capture.evaluating, _capture.result_name, _capture.tensors_of
sensitivity = import_module("heddle.compiler.sensitivity")

PERPLEXITY_RATIO = {"w8a8": 1.01, "w8a16": 1.01, "w16a16": 1.002, "bf16": 1.002}  # at most, of the accelerator's
TOP1_AGREEMENT = 0.97  # of all tokens, at least, at any precision
CHUNK = 32  # tokens that are taken at once
LOSS_SAMPLES = 4  # of which it is worked out which layer loses most


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
    model: Any, config: heddle.HardwareConfig, ids: list[int], context: int, precision: Any,
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
    model: Any, config: heddle.HardwareConfig, ids: list[int], context: int, precision: Any,
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


@dataclass(frozen=True)
class Check:
    """A model on an accelerator against PyTorch."""

    layers: list[Layer]  # what each layer gives; empty: the model does not compile with these as results too
    outputs: list[Layer]  # the results
    loss: Any  # compiler/sensitivity.py's Loss; None where nothing is computed in codes
    golden: dict[str, NDArray]  # the results of PyTorch, (N, …)
    found: dict[str, NDArray]  # those of the accelerator

    @property
    def sqnr_db(self) -> float:
        """Over all results."""
        pairs = _pairs(self.golden, self.found)
        golden = np.concatenate([each.ravel() for _, each, _ in pairs])
        found = np.concatenate([each.ravel() for _, _, each in pairs])
        return compare("", golden[None], found[None]).sqnr_db

    def __str__(self) -> str:
        rows = [f"{each.name}: {each.sqnr_db:.1f} dB, least cosine {each.cosine:.6f}"
                for each in (*self.layers, *self.outputs)]  # fmt: skip
        return "\n".join(rows + ([self.loss.explained(self.sqnr_db)] if self.loss else []))


def check(
    model: nn.Module,
    samples: Iterable[Any],
    config: Any,
    *,
    precision: Any = None,
    ranges: Any = None,
    output: str = "output",
    advance: Callable[[], None] = lambda: None,
) -> Check:
    """What a model computes on the accelerator of `config` for samples, against PyTorch in float32: the outputs of its
    layers, its results, and which layer loses most.

    samples  inputs of the model, one set after the other, all of the same shapes, as for `compile`
    The layers are the modules in lists of modules. Other arguments are those of `compile`.
    """
    samples = list(samples)
    if not samples:
        raise heddle.HeddleError("samples must hold at least one set of inputs")
    paths = layer_paths(model)
    options = {"precision": precision, "ranges": ranges}
    program = heddle.compile(model, samples[0], config, output=output, **options)
    golden, found = _compared(model, program, samples, output)
    advance()
    layers = []
    if paths:
        with _tapped(model, paths) as names, suppress(heddle.HeddleError):
            tapped = heddle.compile(model, samples[0], config, output=output, **options)
            layers = [
                compare(names[name], each, ours)
                for name, each, ours in _pairs(*_compared(model, tapped, samples, output))
                if name in names
            ]
    advance()
    loss = sensitivity.greatest_loss(model, samples[:LOSS_SAMPLES], precision, config, ranges)
    advance()
    return Check(layers, [compare(*each) for each in _pairs(golden, found)], loss, golden, found)


def loss_of_text(model: nn.Module, config: heddle.HardwareConfig, ids: list[int], context: int, precision: Any) -> Any:
    """The layer of a decoder that hurts the logits of a text most: compiler/sensitivity.py's Loss."""
    samples = [(torch.tensor([each]),) for each in _cut(ids[:-1], context)[:1]]
    return sensitivity.greatest_loss(model, samples, precision, config)


def layer_paths(model: nn.Module) -> list[str]:
    """Paths of the modules in lists of modules, but for lists within those."""
    found: list[str] = []
    for path, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and not any(path.startswith(each + ".") for each in found):
            found += [f"{path}.{number}" if path else str(number) for number in range(len(module))]
    return found


@contextmanager
def _tapped(model: nn.Module, paths: Sequence[str]) -> Iterator[dict[str, str]]:
    """While this holds, forward returns what these modules give beside its own results. Yields the names that these
    have among the results, with the paths."""
    seen: dict[str, Tensor] = {}
    names = {f"layer_{number}": path for number, path in enumerate(paths)}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kept: Any) -> None:
            kept = kept[0] if isinstance(kept, (tuple, list)) and kept else kept
            if isinstance(kept, Tensor) and kept.is_floating_point() and kept.ndim > 1:
                seen[name] = kept

        return hook

    before, forward = model.__dict__.get("forward"), model.forward

    @wraps(forward)
    def with_layers(*args: Any, **kwargs: Any) -> dict[str, Any]:
        seen.clear()
        return {"results": forward(*args, **kwargs), **seen}

    handles = [model.get_submodule(path).register_forward_hook(keep(name)) for name, path in names.items()]
    model.forward = with_layers
    try:
        yield names
    finally:
        del model.forward
        if before is not None:
            model.forward = before
        for handle in handles:
            handle.remove()


def _compared(
    model: nn.Module, program: Any, samples: Sequence[Any], output: str
) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
    """The results of PyTorch and of a program by name, (N, …)."""
    names = list(program.takes())
    arguments = [list(each.values() if isinstance(each, Mapping) else each) for each in samples]
    given = list(samples[0]) if isinstance(samples[0], Mapping) else names
    inputs = {name: np.concatenate([_array(each[place]) for each in arguments]) for place, name in enumerate(given)}
    found = heddle.simulate(program, inputs, timing=False).outputs
    golden: dict[str, list[NDArray]] = {}
    with torch.no_grad(), evaluating(model):
        for each in samples:
            results = model(**each) if isinstance(each, Mapping) else model(*each)
            for path, tensor in tensors_of(results).items():
                golden.setdefault(result_name(path, output), []).append(_array(tensor))
    return {name: np.stack(arrays) for name, arrays in golden.items()}, found


def _array(tensor: Tensor) -> NDArray:
    """Numbers of formats that numpy does not have as float32."""
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


def _pairs(golden: dict[str, NDArray], found: dict[str, NDArray]) -> list[tuple[str, NDArray, NDArray]]:
    """(name, PyTorch's, ours) of the results that are numbers."""
    return [(name, each, found[name].reshape(each.shape)) for name, each in golden.items()
            if name in found and each.dtype.kind == "f"]  # fmt: skip


def _cut(ids: list[int], context: int) -> list[list[int]]:
    return [ids[start : start + context] for start in range(0, len(ids), context)]


def _accelerated(
    model: Any, config: heddle.HardwareConfig, sequences: list[list[int]], context: int, precision: Any, head: bool
) -> list[Any]:
    """The runs that take the sequences, one after the other."""
    longest = max(map(len, sequences))
    rule = heddle.PrecisionRule(precision, config).within([name for name, _ in model.named_modules()])
    chunk = min(CHUNK, longest) // config.columns * config.columns
    problem = None
    for tiling in (heddle.Tiling(), None):  # the first that comes to mind is quick to compile; else search
        session = heddle.Session(
            model, config, heddle.CachePlan(longest), chunk=max(chunk, 1), context=context,
            options={"precision": rule, "head": head, "tiling": tiling},
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
