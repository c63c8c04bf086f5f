"""Which layers a precision hurts: each product of the closed set computed in codes, by PyTorch, one layer at a time.

Noise of one layer at the results is nearly independent of that of the others, so what several layers do together is
about the sum. The few that make most of it, because some channels of what they read are far greater than the others and
take the bits of these, are worth 16 bits: `choose_precision` finds them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..arch.config import Config, get_config
from ..arch.errors import HeddleError, require_type
from ..arch.numerics import CODE_LIMIT, WIDE_CODE_LIMIT
from ..arch.ranges import require_range
from . import ir
from .capture import Inputs, capture, evaluating, require_model
from .fold import fold_constants
from .graph import Graph, Node
from .legalise import legalise
from .outliers import OUTLIERS, outlier_channels
from .precision import SPLIT, Precision, PrecisionChoice, PrecisionRule
from .rearrange import follow_views, origin
from .smooth import Ranges, channel_scale

Bits = Precision | str  # a precision, or SPLIT
Precise = Callable[[str], Bits | None]  # of a layer; None: exact
_RAISED: tuple[Bits, ...] = (SPLIT, Precision.W8A16, Precision.W16A16)  # what a layer at w8a8 can be given
_ELSEWHERE_DB = 6  # that products may leave more than a program has, before others are to blame
_OUTLIER = 8  # times the median, from which a channel is one
_TRIED = 6  # layers at each step: those that make most noise


@dataclass(frozen=True)
class Raised:
    """A step: a layer gets more bits."""

    layer: str
    precision: str
    sqnr_db: float  # of the results, with this step and those before it
    passes: float  # of the array over all products, likewise: 1 where all are at w8a8


@dataclass(frozen=True)
class ChosenPrecision:
    """A precision for each layer that needs more than w8a8, as `precision` of compile takes it, and how it was found.

    sqnr_db are of a model of the numbers: products in codes, all else exact. `heddle check` measures a program.
    """

    precision: dict[str, str]  # layer → precision; empty: none needs more
    before_db: float  # of the results with all layers at w8a8
    raised: list[Raised]  # step by step
    noise: dict[str, float]  # layer → noise over signal of the results if it alone is at w8a8, the greatest first

    @property
    def sqnr_db(self) -> float:
        """Of the results, as chosen."""
        return self.raised[-1].sqnr_db if self.raised else self.before_db


@torch.no_grad()
def choose_precision(
    model: nn.Module,
    samples: Iterable[Inputs],
    config: Config,
    *,
    target_db: float = 40.0,
    most_layers: int | None = None,
    ranges: Ranges | None = None,
) -> ChosenPrecision:
    """Which linear layers to give 16 bits, so that the results of `samples` have an SQNR of `target_db`.

    Step by step a layer is raised to w16a16, w8a16 or, if there are `ranges`, w8a8+outliers: that which removes most
    noise for a multiply-accumulate more, together with those raised before. It ends when the noise is low enough or
    nothing helps any more: see `sqnr_db` of what comes back.

    most_layers  so many at most are raised
    samples  inputs of the model, one set after the other, as for `compile`; few do
    ranges   those of `calibrate`, if the model is compiled with them
    Raises HeddleError for a machine of bf16 PEs, whose layers have one precision.
    """
    require_model(model)
    config = get_config(config)
    if config.pe == "bf16":
        raise HeddleError(f"the bf16 PEs of {config.title} compute all layers in bf16: there is nothing to choose")
    if most_layers is not None:
        require_range("most_layers", most_layers, 0, 1 << 16)
    require_type("target_db", target_db, (int, float), "a number of dB")
    runs = [_Run.of(graph, inputs, ranges or {}) for graph, inputs in _graphs(model, samples)]
    if not runs:
        raise HeddleError("samples must hold at least one set of inputs")
    macs, free = _macs(runs[0].graph), _free_layers(runs[0].graph)
    alone = _alone(runs, lambda layer: Precision.W8A8)
    raised: dict[str, Bits] = {}
    now = before = _noise(runs, lambda layer: Precision.W8A8)
    cost = {(layer, bits): _more(runs[0], layer, bits) for layer in free for bits in _RAISED}
    steps: list[Raised] = []
    while _db(now) < target_db:
        full = most_layers is not None and len(raised) >= most_layers
        open_layers = [each for each in (raised if full else alone) if each in free and raised.get(each) != _RAISED[-1]]
        paid = {layer: cost[layer, raised[layer]] if layer in raised else 0.0 for layer in open_layers}
        tried = {
            (layer, bits): _noise(runs, _with(raised | {layer: bits}))
            for layer in open_layers[:_TRIED]
            for bits in _RAISED
            if paid[layer] < cost[layer, bits] < math.inf
        }
        gain = {key: (now - noise) / (cost[key] - paid[key[0]]) for key, noise in tried.items()}
        best = max(gain, key=gain.__getitem__, default=None)
        if best is None or tried[best] >= now:
            break
        layer, bits = best
        raised[layer], now = bits, tried[best]
        passes = 1 + sum(cost[each] for each in raised.items()) / sum(macs.values())
        steps.append(Raised(layer, _name(bits), _db(now), passes))
    return ChosenPrecision({layer: _name(bits) for layer, bits in raised.items()}, _db(before), steps, alone)


@dataclass(frozen=True)
class Loss:
    """Where most of the error at the results enters."""

    layer: str
    precision: str
    sqnr_db: float  # of the results, if this layer alone were not exact
    share: float  # of the noise of all layers, 0 to 1
    cause: str
    all_layers_db: float  # SQNR of the results that the precision of all layers leaves
    vector_format: str  # of what else the machine computes

    def __str__(self) -> str:
        return (f"{self.layer or 'the model'} loses most, {self.share:.0%} of the noise of all layers (at "
                f"{self.precision} it alone leaves {self.sqnr_db:.1f} dB): {self.cause}")  # fmt: skip

    def explained(self, measured_db: float) -> str:
        """What to say where a program has this SQNR: that is less than its layers leave, where other operators lose."""
        if measured_db > self.all_layers_db - _ELSEWHERE_DB or self.vector_format == "float32":
            return str(self)
        return (f"norms, softmax and functions, in {self.vector_format}, lose most: codes of all layers alone would "
                f"leave {self.all_layers_db:.1f} dB. Of the layers {self}")  # fmt: skip


@torch.no_grad()
def greatest_loss(
    model: nn.Module, samples: Iterable[Inputs], precision: PrecisionChoice | None, config: Config,
    ranges: Ranges | None = None,
) -> Loss | None:  # fmt: skip
    """The layer that hurts the results of `samples` most, and why; None for a model without products. By a model of
    the numbers: products in codes, one layer at a time, all else exact."""
    config = get_config(config)
    rule = PrecisionRule(precision, config)
    runs = [_Run.of(graph, inputs, ranges or {}) for graph, inputs in _graphs(model, samples)]
    alone = _alone(runs, _by(rule))
    total = sum(alone.values())
    if not total:
        return None
    layer, noise = next(iter(alone.items()))
    cause = _cause(runs, layer, rule.of(layer), noise)
    together = _db(_noise(runs, _by(rule)))
    return Loss(layer, rule.of(layer).value, _db(noise), noise / total, cause, together, config.vector_format)


def _cause(runs: Sequence[_Run], layer: str, precision: Precision, noise: float) -> str:
    """Which operand of a layer its noise comes from, and what is special about that."""
    if precision is Precision.BF16:
        return "numbers of bf16 have 8 significant bits"
    products = [(run, node) for run in runs for node in run.graph if node.op in ir.PRODUCTS and node.layer == layer]
    run, node = products[0]
    if node.op != "ir.linear":
        return f"both operands of its products are computed, in {8 * precision.activation_digits} bits"
    read = torch.stack([_channels(run, node) for run, node in products]).amax(0)
    finer = Precision.W16A16 if precision.weight_digits == 2 else Precision.W8A16
    of_weights = _noise(runs, lambda each: finer if each == layer else None)
    if precision.activation_digits == 2 or of_weights > noise / 2:
        return f"{8 * precision.weight_digits} bits are few for its weights"
    channel, times = int(read.argmax()), _outlier(read)
    if times < _OUTLIER:
        return f"{8 * precision.activation_digits} bits are few for what it reads"
    return (f"channel {channel} of what it reads reaches {read[channel]:.3g}, {times:,.0f} times the median channel, "
            f"which takes the bits of the others")  # fmt: skip


def _channels(run: _Run, node: Node) -> Tensor:
    """The greatest magnitude of each channel that a linear layer reads, as SmoothQuant leaves it."""
    x = run.exact[node.inputs[0]]
    scale = run.scales.get(origin(node.inputs[0])[0])
    x = x if scale is None or len(scale) != x.shape[-1] else x / scale
    return x.abs().reshape(-1, x.shape[-1]).amax(0)


def _outlier(greatest: Tensor) -> float:
    """How many times as large as the median channel the largest one is."""
    return float(greatest.max() / greatest.median().clamp(min=1e-30))


def _alone(runs: Sequence[_Run], precise: Precise) -> dict[str, float]:
    """Noise of each layer if it alone is not exact, the greatest first."""
    found = {layer: _noise(runs, lambda each, layer=layer: precise(each) if each == layer else None)
             for layer in _macs(runs[0].graph)}  # fmt: skip
    return dict(sorted(found.items(), key=lambda each: -each[1]))


def _with(raised: Mapping[str, Bits]) -> Precise:
    """All at w8a8 but these."""
    return lambda layer: raised.get(layer, Precision.W8A8)


def _by(rule: PrecisionRule) -> Precise:
    return lambda layer: SPLIT if rule.splits(layer) else rule.of(layer)


def _name(bits: Bits) -> str:
    return bits if isinstance(bits, str) else bits.value


def _more(run: _Run, layer: str, bits: Bits) -> float:
    """Multiply-accumulates besides those of w8a8; infinite where a layer cannot be split."""
    found = 0.0
    for node in run.graph:
        if node.op == "ir.linear" and node.layer == layer:
            k = node.inputs[0].shape[-1]
            if isinstance(bits, Precision):
                found += node.size * k * (bits.weight_digits * bits.activation_digits - 1)
            elif outlier_channels(node, run.ranges) is None:
                return math.inf
            else:
                found += 4 * OUTLIERS * (node.size + node.rows * k)
    return found


def _db(noise: float) -> float:
    return -10 * math.log10(noise) if noise > 0 else math.inf


# -- what a layer computes ---------------------------------------------------------------------------------------------


def _graphs(model: nn.Module, samples: Iterable[Inputs]) -> list[tuple[Graph, dict[str, Tensor]]]:
    """The closed graph for each sample, one for each kind of shapes, and its inputs by name."""
    graphs: dict[object, Graph] = {}
    found = []
    with evaluating(model):
        for each in samples:
            require_type("each of samples", each, (tuple, list, Mapping), "a tuple of tensors, or a dict by name")
            tensors = list(each.values() if isinstance(each, Mapping) else each)
            names = tuple(each) if isinstance(each, Mapping) else None
            key = names, tuple((tensor.shape, tensor.dtype) for tensor in tensors)
            if key not in graphs:
                graphs[key] = legalise(follow_views(fold_constants(capture(model, each))))
            named = names or graphs[key].inputs
            found.append((graphs[key], dict(zip(named, tensors, strict=True))))
    return found


@dataclass(frozen=True)
class _Run:
    """A sample: the graph, what it reads, and the exact value of every node."""

    graph: Graph
    inputs: dict[str, Tensor]
    exact: dict[Node, Tensor]
    scales: dict[Node, Tensor]  # norm → what SmoothQuant divides its channels by
    ranges: Ranges

    @staticmethod
    def of(graph: Graph, inputs: dict[str, Tensor], ranges: Ranges) -> _Run:
        run = _Run(graph, inputs, {}, _scales(graph, ranges), ranges)
        run.exact.update(run.values(lambda layer: None))
        return run

    def values(self, precise: Precise) -> dict[Node, Tensor]:
        """Of every node. What lies before the first layer that is not exact is not computed again."""
        known: dict[Node, Tensor] = {}
        for node in self.graph:
            precision = precise(node.layer) if node.op in ir.PRODUCTS and not node.host else None
            if node.op == "input":
                known[node] = ir.as_number(self.inputs[node.name])
            elif node.op == "constant":
                known[node] = ir.as_number(node.value)
            elif precision is not None:
                known[node] = self._product(node, [known[each] for each in node.inputs], precision)
            elif self.exact and all(known[each] is self.exact[each] for each in node.inputs):
                known[node] = self.exact[node]
            else:
                known[node] = ir.OPERATORS[node.op].meaning(node, *(known[each] for each in node.inputs))
            if self.exact and node.op in ("input", "constant"):
                known[node] = self.exact[node]
        return known

    def _product(self, node: Node, operands: list[Tensor], precision: Bits) -> Tensor:
        if isinstance(precision, str):
            channels = outlier_channels(node, self.ranges)
            return self._product(node, operands, Precision.W8A8) if channels is None else _split(operands, channels)
        if node.op == "ir.attention":
            return _attended(node, operands, precision)
        x, weight, *bias = operands
        scale = self.scales.get(origin(node.inputs[0])[0])
        if scale is not None and len(scale) == x.shape[-1] and node.op == "ir.linear":
            x, weight = x / scale, weight * scale
        of_weight = precision if node.op == "ir.linear" else _computed(precision)
        x, weight = _coded(x, _computed(precision)), _coded(weight, of_weight, of_weight.weight_digits)
        return functional.linear(x, weight, *bias) if node.op == "ir.linear" else x @ weight.mT


def _split(operands: Sequence[Tensor], channels: Tensor) -> Tensor:
    """A linear layer in two, as outliers.py makes it."""
    x, weight, *bias = operands
    keep = torch.ones(x.shape[-1])
    keep[channels] = 0
    few = functional.linear(in_codes(x[..., channels], 2), in_codes(weight[:, channels], 2))
    return functional.linear(in_codes(x * keep, 1), in_codes(weight * keep, 1), *bias) + few


def _computed(precision: Precision) -> Precision:
    """Of a product of two activations: both as activations are."""
    return Precision.W16A16 if precision.activation_digits == 2 else precision


def _coded(x: Tensor, precision: Precision, digits: int | None = None) -> Tensor:
    if precision is Precision.BF16:
        return x.bfloat16().float()
    return in_codes(x, precision.activation_digits if digits is None else digits)


def _attended(node: Node, operands: Sequence[Tensor], precision: Precision) -> Tensor:
    """An attention whose probabilities, times the scales of the values, are codes too."""
    q, k, v, *mask = operands
    heads = q.shape[-3] // k.shape[-3] if q.ndim > 2 else 1
    k, v = (each if heads == 1 else each.repeat_interleave(heads, -3) for each in (k, v))
    scores = _coded(q, precision) @ _coded(k, precision).mT * node.scale
    if mask:
        scores = scores + mask[0]
    if node.causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), -torch.inf)
    powers = scores.softmax(-1).nan_to_num()
    scale = v.abs().amax(-1, keepdim=True).clamp(min=1e-30)
    return _coded(powers * scale.mT, precision) @ (_coded(v, precision) / scale)


def in_codes(x: Tensor, digits: int) -> Tensor:
    """Each row as codes of int8, or of two such digits, ±127 or ±32639 at its greatest magnitude, and back."""
    limit = float(WIDE_CODE_LIMIT if digits == 2 else CODE_LIMIT)
    step = x.abs().amax(-1, keepdim=True).clamp(min=1e-30) / limit
    return (x / step).round() * step


def _scales(graph: Graph, ranges: Ranges) -> dict[Node, Tensor]:
    found = {}
    for node in graph:
        if node.op != "ir.norm" or len(ranges.get(node.layer, ())) != node.columns:
            continue
        weights = [reader.inputs[1].value for reader in graph if reader.op == "ir.linear"
                   and origin(reader.inputs[0])[0] is node and reader.inputs[1].op == "constant"
                   and reader.inputs[1].shape[-1] == node.columns]  # fmt: skip
        if weights:
            found[node] = channel_scale(ranges[node.layer], weights).float()
    return found


def _noise(runs: Sequence[_Run], precise: Precise) -> float:
    """Noise over signal at the results, the mean of the samples."""
    found = []
    for run in runs:
        values = run.values(precise)
        noise = signal = 0.0
        for node in run.graph.outputs:
            if not node.integer:
                signal += float(run.exact[node].double().square().sum())
                noise += float((values[node].double() - run.exact[node].double()).square().sum())
        found.append(noise / max(signal, 1e-300))
    return sum(found) / len(found)


def _macs(graph: Graph) -> Counter[str]:
    """Multiply-accumulates of the products of each layer."""
    found: Counter[str] = Counter()
    for node in graph:
        if node.op in ir.PRODUCTS and not node.host:
            depth = node.inputs[0].shape[-1]
            found[node.layer] += node.size * depth if node.op != "ir.attention" else 2 * node.size * node.inputs[1].rows
    return found


def _free_layers(graph: Graph) -> set[str]:
    """Layers of linear layers that no attention takes in."""
    taken = {origin(each)[0] for node in graph if node.op == "ir.attention" for each in node.inputs[:3]}
    return {node.layer for node in graph if node.op == "ir.linear" and node not in taken}
