"""Rules: each call of PyTorch, brought to the closed set, computes what PyTorch does; and so for nested results."""

import math
from pathlib import Path

import pytest
import torch
from heddle.arch.errors import HeddleError
from heddle.compiler import ir
from heddle.compiler.capture import capture
from heddle.compiler.document import operators_page
from heddle.compiler.fold import fold_constants
from heddle.compiler.legalise import legalise
from heddle.compiler.rearrange import follow_views
from heddle.compiler.rules import RULES
from torch import nn
from torch.nn import functional

ROOT = Path(__file__).parent.parent.parent


class Calls(nn.Module):
    """Any function of the inputs, and of a parameter."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.w = nn.Parameter(torch.randn(6, 6, generator=torch.Generator().manual_seed(1)))

    def forward(self, *inputs):
        return self.function(self, *inputs)


class One(Calls):
    def forward(self, x):
        return self.function(self, x)


class Two(Calls):
    def forward(self, x, y):
        return self.function(self, x, y)


def torch_of(function):
    """A function of torch as one of a model and its inputs."""
    return lambda m, *inputs: function(*inputs)


def rows(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def check(function, *inputs):
    model = (One if len(inputs) == 1 else Two)(function).eval()
    graph = legalise(follow_views(fold_constants(capture(model, inputs))))
    ir.verify(graph, "legalise")
    found = ir.interpret(graph, dict(zip(graph.inputs, inputs, strict=True)))
    with torch.no_grad():
        golden = model(*inputs)
    expected = [golden] if isinstance(golden, torch.Tensor) else list(golden)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, ir.as_number(theirs), rtol=2e-5, atol=2e-5, equal_nan=True)


def _written(x, where, value):
    x = x.clone()
    x[where] = value
    return x


X, Y, SQUARE = rows(2, 3, 6), rows(2, 3, 6, seed=1), rows(6, 6, seed=2)
TABLE = rows(6, 6, 4, seed=3)
IMAGE, SEQUENCE = rows(2, 4, 6, 8), rows(2, 4, 9)
PAIRS = {
    "add alpha": lambda m, x, y: torch.add(x, y, alpha=3),
    "sub alpha": lambda m, x, y: torch.sub(x, y, alpha=0.5),
    "rsub": lambda m, x, y: torch.rsub(x, y, alpha=2),
    "number before": lambda m, x, y: 1 - x + 2 / (y.abs() + 1),
    "mul": lambda m, x, y: x * y * 3,
    "div": lambda m, x, y: x / (y.abs() + 1) / 2,
    "div by a parameter": lambda m, x, y: x / (m.w[0].abs() + 1),
    "broadcast": lambda m, x, y: x[:, :1] + y[0, :, :1] * m.w[2],
    "maximum": lambda m, x, y: torch.maximum(x, y) + torch.minimum(x, y * 2),
    "lerp": lambda m, x, y: torch.lerp(x, y, 0.3),
    "addcmul": lambda m, x, y: torch.addcmul(x, y, y, value=2),
    "less": lambda m, x, y: (x < y).float() + (x <= 0).float() * 2,
    "greater": lambda m, x, y: torch.where((x > y) & (x >= 0) | (y < -1), x, y),
    "equal": lambda m, x, y: ((x * 0 == y * 0) & ~(x == y)).float(),
    "and": lambda m, x, y: torch.logical_and(x > 0, y) & ~(y > 1),
    "xor": lambda m, x, y: torch.logical_or(x.relu(), y > 1) ^ (x > y),
    "not equal": lambda m, x, y: (x != y) * x,
    "masked_fill": lambda m, x, y: x.masked_fill(y > 0, -5.0),
    "where with a number": lambda m, x, y: torch.where(y > 0, x, 2.0),
    "matmul": lambda m, x, y: x @ y.transpose(1, 2),
    "matmul with a parameter": lambda m, x, y: x @ m.w + m.w[:3] @ y[0].T @ y,
    "vectors": lambda m, x, y: (x @ m.w[0]) + (y[0, 0] @ m.w)[:3],
    "addmm": lambda m, x, y: torch.addmm(m.w[0], x[0], m.w, beta=2, alpha=0.5),
    "computed weights": lambda m, x, y: functional.linear(x[0], y[1], x[0, 0, :3]),
    "bmm": lambda m, x, y: torch.bmm(x, y.transpose(1, 2)),
    "einsum": lambda m, x, y: torch.einsum("btc,bsc->bts", x, y),
    "einsum, no batch": lambda m, x, y: torch.einsum("btc,dc->dtb", x, y[0]),
    "einsum, outer": lambda m, x, y: torch.einsum("i,j->ji", x[0, 0], y[0, 0]),
    "einsum of three": lambda m, x, y: torch.einsum("btd,de,bse->bts", x, m.w, y),
    "einsum, any batch": lambda m, x, y: torch.einsum("...td,...sd->...ts", x, y),
    "einsum, any batch of one": lambda m, x, y: torch.einsum("...i,ij", x + y, m.w),
    "einsum of a diagonal": lambda m, x, y: torch.einsum("bii->bi", x @ y.mT),
    "einsum without sums": lambda m, x, y: torch.einsum("btd,bd->bdt", x, y[:, 0]),
    "power of numbers": lambda m, x, y: (x.abs() + 0.5) ** y,
    "power of whole numbers": lambda m, x, y: (x + y) ** torch.tensor([0.0, 1.0, 2.0, -1.0, 3.0, 5.0]),
    "einsum of sums": lambda m, x, y: torch.einsum("btc,bsd->tc", x, y),
    "cosine similarity": lambda m, x, y: functional.cosine_similarity(x, y, dim=-1),
    "mse": lambda m, x, y: functional.mse_loss(x, y),
    "l1": lambda m, x, y: functional.l1_loss(x, y, reduction="sum"),
    "cat": lambda m, x, y: torch.cat([x, y, m.w[None, :3].expand(2, 3, 6)], 1),
    "cat of features": lambda m, x, y: torch.cat([x, y[..., 2:4]], -1),
    "stack": lambda m, x, y: torch.stack([x, y], 2),
    "several results": lambda m, x, y: (x + y, x.sum(-1)),
    "attention": lambda m, x, y: functional.scaled_dot_product_attention(x, y, y, is_causal=True),
    "attention, masks": lambda m, x, y: functional.scaled_dot_product_attention(
        x, y, y, attn_mask=torch.tensor([[True, False, False], [True, True, False], [False, True, True]])),
    "attention, lowest numbers": lambda m, x, y: functional.scaled_dot_product_attention(
        x, y, y, attn_mask=torch.full((3, 3), torch.finfo(torch.float32).min).triu(1)),
    "attention, computed mask": lambda m, x, y: functional.scaled_dot_product_attention(x, y, y, x[..., :3], scale=0.3),
    "attention, grouped": lambda m, x, y: functional.scaled_dot_product_attention(
        x.view(1, 6, 3, 2), y.view(1, 6, 3, 2)[:, :2], y.view(1, 6, 3, 2)[:, :2], enable_gqa=True),
    "index_put by scatter": lambda m, x, y: x.scatter(-1, y.topk(2, -1)[1], y.topk(2, -1)[0]),
    "scatter_add": lambda m, x, y: x.scatter_add(1, y.argsort(1)[:, :2], y),
    "scatter_add, known places": lambda m, x, y: x.scatter_add(
        1, torch.tensor([2, 2, 0])[None, :, None].expand(2, 3, 6), y),
    "scatter_reduce, rows": lambda m, x, y: x.scatter_reduce(
        1, y[..., :3].argmax(-1)[..., None].expand(-1, -1, 6), y, "mean"),
    **{f"scatter_reduce, {kind}, own {own}": lambda m, x, y, kind=kind, own=own: x.scatter_reduce(
        -1, y[..., :4].topk(3, -1)[1], y, kind, include_self=own)
        for kind in ("sum", "mean", "prod", "amax", "amin") for own in (True, False)},
    "index_add": lambda m, x, y: x.index_add(1, torch.tensor([2, 2, 0]), y, alpha=0.5),
    "places gathered": lambda m, x, y: x.gather(-1, y.argsort(-1).gather(-1, x.argsort(-1)[..., :2])),
    "places compared": lambda m, x, y: (x.argmax(-1) == y.argmax(-1)) + (x.argmax(-1) < 3).float(),
    "places as numbers": lambda m, x, y: x.argmax(-1).float() * y[..., 0],
    "atan2": torch_of(torch.atan2), "hypot": torch_of(torch.hypot), "logaddexp": torch_of(torch.logaddexp),
    "heaviside": torch_of(torch.heaviside), "addcdiv": lambda m, x, y: torch.addcdiv(x, x, y.abs() + 1, value=0.5),
    "xlogy": lambda m, x, y: torch.xlogy(x.relu(), y.abs()),
    "cdist": torch_of(torch.cdist), "cdist 1": lambda m, x, y: torch.cdist(x, y, 1),
    "pairwise_distance": torch_of(functional.pairwise_distance),
    "bilinear": lambda m, x, y: functional.bilinear(x, y, m.w.view(1, 6, 6).repeat(2, 1, 1)),
    "kl_div": lambda m, x, y: functional.kl_div(x.log_softmax(-1), y.softmax(-1), reduction="batchmean"),
    "cross_entropy, shares": lambda m, x, y: functional.cross_entropy(
        x[0], y[0].softmax(-1), weight=m.w[0].abs(), label_smoothing=0.2),
    "searchsorted": lambda m, x, y: m.w[
        torch.searchsorted(torch.tensor([-1.0, 0.0, 0.5]), y[..., 0].contiguous(), right=True)] * x,
    "complex": lambda m, x, y: torch.view_as_real(
        torch.view_as_complex(x.view(2, 3, 3, 2)) * torch.view_as_complex(y.view(2, 3, 3, 2))).flatten(2),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_calls_of_two(name):
    check(PAIRS[name], X, Y)


FUNCTIONS = {
    name: lambda m, x, function=function: function(x)
    for name, function in {
        "relu": torch.relu, "silu": functional.silu, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "exp": torch.exp,
        "exp2": torch.exp2, "gelu": functional.gelu, "erf": torch.erf, "mish": functional.mish, "sin": torch.sin,
        "hardswish": functional.hardswish, "cos": torch.cos, "softplus": functional.softplus, "elu": functional.elu,
        "sqrt": lambda x: x.abs().sqrt(), "rsqrt": lambda x: (x.abs() + 0.1).rsqrt(), "log": lambda x: x.abs().log(),
        "reciprocal": lambda x: x.reciprocal(), "square": torch.square, "neg": torch.neg,
        "clamp": lambda x: x.clamp(-1),
        "clamp, one end": lambda x: x.clamp(0.2, math.inf), "clamp both": lambda x: x.clamp(-0.5, 0.5),
        "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
        "softplus, beta": lambda x: functional.softplus(x, 2), "elu, alpha": lambda x: functional.elu(x, 0.5),
        "leaky": functional.leaky_relu, "leaky, steep": lambda x: functional.leaky_relu(x, 2.0),
        "relu6": lambda x: functional.relu6(4 * x), "hardtanh": functional.hardtanh, "celu": functional.celu,
        "hardsigmoid": functional.hardsigmoid, "log_sigmoid": functional.logsigmoid, "expm1": torch.expm1,
        "log1p": lambda x: torch.log1p(x.abs()), "glu": functional.glu, "selu": functional.selu,
        "softsign": functional.softsign, "tanhshrink": functional.tanhshrink, "square, cube": lambda x: x**2 + x**3,
        "fourth": lambda x: x**4, "root": lambda x: x.abs() ** 0.5, "base": lambda x: 2.0**x,
        "round": lambda x: torch.round(4 * x), "floor": lambda x: torch.floor(4 * x), "ceil": lambda x: (4 * x).ceil(),
        "trunc": lambda x: torch.trunc(4 * x), "frac": torch.frac, "decimals": lambda x: x.round(decimals=1),
        "remainder": lambda x: x % 0.75, "remainder, below 0": lambda x: x % -0.75,
        "floor of a quotient": lambda x: x // 0.3,
        "fmod": lambda x: torch.fmod(x, 0.75), "trunc of a quotient": lambda x: x.div(-0.3, rounding_mode="trunc"),
        "softplus, threshold": lambda x: functional.softplus(x, 3, 2),
        "whole powers": lambda x: x**5 + x**19 + (x + 5) ** -3,
        "steep power": lambda x: x.abs() ** 2.5, "norm 3": lambda x: x.norm(3, 1), "norm 0": lambda x: x.norm(0, 1),
        "reflect": lambda x: functional.pad(x, (2, 1), "reflect"), "pad with ends": lambda x: functional.pad(
            x, (0, 2), "replicate"), "circular": lambda x: functional.pad(x, (1, 2), "circular"),
        "relative shift": lambda x: x.gather(-1, torch.arange(3)[:, None].sub(torch.arange(3)).add(2).expand(2, 3, 3)),
        "places by rows": lambda x: x.gather(-1, torch.arange(12).view(3, 4).pow(2).remainder(6).expand(2, 3, 4)),
        "softmax": lambda x: x.softmax(-1), "softmax, rows": lambda x: x.softmax(1),
        "log_softmax": lambda x: x.log_softmax(-1),
        "sum": lambda x: x.sum(), "sum, dims": lambda x: x.sum((0, 2)), "mean": lambda x: x.mean(1, keepdim=True),
        "var": lambda x: x.var(-1), "var, biased": lambda x: x.var(-1, unbiased=False), "std": lambda x: x.std(-1),
        "amax": lambda x: x.amax(1), "amin": lambda x: x.amin((0, 1)), "max": lambda x: x.max(),
        "norm": lambda x: x.norm(dim=-1),
        "norm 1": lambda x: torch.linalg.vector_norm(x, 1, -1),
        "norm inf": lambda x: torch.linalg.vector_norm(x, math.inf, -1),
        "normalize": lambda x: functional.normalize(x, dim=-1), "logsumexp": lambda x: x.logsumexp(-1),
        "cumsum": lambda x: x.cumsum(1), "max of dim": lambda x: x.max(-1), "min of dim": lambda x: x.min(1),
        "argmax": lambda x: x.argmax(-1), "argmin": lambda x: x.argmin(1), "argmax of all": lambda x: x.argmax(),
        "topk": lambda x: x.topk(3, -1), "topk, least": lambda x: x.topk(2, 1, largest=False),
        "sort": lambda x: x.sort(-1),
        "windows": lambda x: x.unfold(1, 2, 1).unfold(2, 3, 2) * 2,
        "scatter to rows": lambda x: x.scatter(1, x.argmax(1, keepdim=True), 9.0),
        "scatter to rows, from rows": lambda x: x.scatter(1, x.argsort(1)[:, :2], x.flip(1)),
        "permuted and back": lambda x: x.gather(-1, x.argsort(-1)).gather(-1, x.argsort(-1).argsort(-1)),
        "argsort": lambda x: x.argsort(-1, descending=True), "any": lambda x: (x > 1).any(-1),
        "any of numbers": lambda x: x.relu().any(1), "all of numbers": lambda x: x.relu().all(-1),
        "all": lambda x: (x > -1).all(),
        "layer_norm": lambda x: functional.layer_norm(x, (6,)),
        "statistics": lambda x: torch.native_layer_norm(x, [3, 6], None, None, 0.1),
        "layer_norm of two": lambda x: functional.layer_norm(x, (3, 6)),
        "rms_norm": lambda x: functional.rms_norm(x, (6,)), "group_norm": lambda x: functional.group_norm(x, 3),
        "instance_norm": lambda x: functional.instance_norm(x), "flip": lambda x: x.flip(-1),
        "roll": lambda x: x.roll(1, 1),
        "roll of all": lambda x: x.roll(2), "repeat": lambda x: x.repeat(2, 1, 2), "tril": lambda x: x.tril(),
        "repeat_interleave": lambda x: x.repeat_interleave(2, 1),
        "pad": lambda x: functional.pad(x, (1, 2, -1, 1), value=3.0),
        "known rows": lambda x: x[:, [2, 0, 1]], "known places": lambda x: x[[0, 1], [2, 1]],
        "strided": lambda x: x[:, ::2, 1::2],
        "views": lambda x: x.transpose(0, 1).reshape(3, 12)[:, 3:9].unflatten(1, (2, 3)).permute(1, 2, 0),
        "chunks": lambda x: x.chunk(2, -1)[1] - x.chunk(2, -1)[0], "scalar": lambda x: x[0, 0, 0] * x,
        "zeros_like": lambda x: torch.zeros_like(x) + x, "to": lambda x: x.to(torch.float32),
        "one of several": lambda x: torch.std_mean(x, -1)[1], "pool": lambda x: functional.avg_pool1d(x, 2),
        "max pool": lambda x: functional.max_pool1d(x, 3, 1, 1),
        "places at two dimensions": lambda x: x[:, torch.tensor([[0], [2]]), torch.tensor([1, 5, 3])],
        "places apart": lambda x: x[torch.tensor([1, 0]), :, torch.tensor([3, 4])],
        "places at strides": lambda x: x[:, :, torch.tensor([[0, 2], [1, 3], [2, 4]])],
        "places by strides, from behind": lambda x: x[:, torch.tensor([-2, -1])],
        "unfold": lambda x: functional.unfold(x[:, None], (2, 3), padding=1, stride=2),
        "slice written": lambda x: _written(x, (slice(None), slice(1, None)), 7.0),
        "slice written, shifted": lambda x: _written(x, (Ellipsis, slice(1, None)), x[..., :-1]),
        "slice written, in steps": lambda x: _written(x, (Ellipsis, slice(1, None, 2)), x[..., :3]),
        "row written": lambda x: _written(x, (slice(None), -1), x[:, 0]),
        "places written": lambda x: _written(x, (slice(None), torch.tensor([2, 0])), x[:, :2]),
        "places written, masked": lambda x: _written(x, x > 0, 3.0),
        "known mask written": lambda x: _written(x, (slice(None), torch.tensor([True, False, True])), x[:, :2]),
        "copy": lambda x: torch.zeros_like(x).copy_(x[:, :1]), "isnan": lambda x: torch.isnan(x).float() + x,
        "new_full": lambda x: x.new_full((2, 1), 3.0) + x[..., 0] + x.new_zeros(()),
        "nothing to rotate": lambda x: torch.cat([x[..., :6] * 2, x[..., 6:]], -1),
        "fold": lambda x: functional.fold(x.reshape(1, 6, 6), (3, 5), (2, 3), stride=(1, 2), padding=(0, 1)),
        "fold, apart": lambda x: functional.fold(x.reshape(1, 12, 3)[..., :2], (2, 4), (2, 2), stride=2),
        "sums put": lambda x: x.index_put((torch.tensor([1, 1, 0]), torch.tensor([2, 2, 1])), x[0], accumulate=True),
        "memory not set": lambda x: _written(
            _written(x.new_empty(2, 3, 6), (Ellipsis, slice(0, 2)), x[..., :2]), (Ellipsis, slice(2, 6)), x[..., 2:]),
        "chosen matrices": lambda x: x[0, :, None] @ TABLE[x[0].argmax(-1)],
        "chosen matrices before": lambda x: TABLE[x[0].argmax(-1)].mT @ x[0, :, :, None],
        "chosen matrices, several": lambda x: (
            TABLE[x[0].topk(2, -1)[1].reshape(-1)].mT @ x[0].repeat_interleave(2, 0)[:, :, None]).squeeze(-1),
        "chosen matrices, by parts": lambda x: (TABLE[torch.stack([x[0].argmax(-1), x[0].argmin(-1)], 1).reshape(-1)].mT
                                                @ x[0].repeat_interleave(2, 0)[:, :, None]),
        "chosen by parts": lambda x: SQUARE[torch.stack([x[0].argmax(-1), x[1].argmin(-1)], 1)],
        "fft": lambda x: torch.fft.fft(torch.fft.fft(x, dim=-1), dim=1).real,
        "fft of two": lambda x: torch.view_as_real(torch.fft.fftn(x, dim=(1, 2), norm="ortho")),
        "ifft": lambda x: torch.view_as_real(torch.fft.ifft(torch.fft.fft(x, norm="ortho"))),
        "rfft": lambda x: torch.view_as_real(torch.fft.rfft2(x)),
        "rfft, odd": lambda x: torch.fft.rfft(x[..., :5]).imag,
        "irfft": lambda x: torch.fft.irfft(torch.fft.rfft(x) * 2), "irfft, odd": lambda x: torch.fft.irfft(
            torch.fft.rfft(x[..., :5]), n=5),
        "irfft of two": lambda x: torch.fft.irfft2(torch.fft.rfft2(x, norm="ortho"), norm="ortho"),
        "complex": lambda x: torch.view_as_real(
            torch.complex(x, x + 1) * torch.polar(x.new_ones(6), torch.arange(6.0))),
        "atan": torch.atan, "tan": torch.tan, "asin": lambda x: torch.asin(x.tanh()), "sinh": torch.sinh,
        "acos": lambda x: torch.acos(x.tanh()), "cosh": torch.cosh, "asinh": torch.asinh, "sign": torch.sign,
        "acosh": lambda x: torch.acosh(x.abs() + 1), "atanh": lambda x: torch.atanh(x / 4), "erfc": torch.erfc,
        "logit": lambda x: torch.logit(x.sigmoid()), "logit, within": lambda x: torch.logit(x, 0.1),
        "isfinite": lambda x: torch.isfinite(x).float() + torch.isinf(x).float() * 2,
        "nan_to_num": lambda x: torch.nan_to_num(x, 2.0, 1.0, -1.0), "prod": lambda x: x.prod(), "prod, dim": lambda x:
        x.prod(1, keepdim=True), "cumprod": lambda x: x.cumprod(-1), "cummax": lambda x: x.cummax(1)[0],
        "cummin": lambda x: x.cummin(-1)[0], "logcumsumexp": lambda x: (9 * x).logcumsumexp(-1),
        "kthvalue": lambda x: x.kthvalue(2, -1), "median": lambda x: x[0, 0].median(),
        "median, dim": lambda x: x.median(1),
        "diagonal": lambda x: torch.diagonal(x @ x.mT, 1, 1, 2) * 2, "diag_embed": lambda x: torch.diag_embed(x[0]),
        "adaptive max": lambda x: functional.adaptive_max_pool1d(x, 4),
        "adaptive pool": lambda x: functional.adaptive_avg_pool1d(x, 3),
    }.items()
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_calls_of_one(name):
    check(FUNCTIONS[name], X)


class Interpolated(nn.Module):
    def __init__(self, **how):
        super().__init__()
        self.how = how

    def forward(self, x):
        return functional.interpolate(x, **self.how)


CONVOLUTIONS = {
    "1d": (nn.Conv1d(4, 5, 3, padding=1), SEQUENCE), "1d, strided": (nn.Conv1d(4, 5, 3, stride=2), SEQUENCE),
    "1d, apart": (nn.Conv1d(4, 5, 2, dilation=3), SEQUENCE),
    "depthwise": (nn.Conv1d(4, 4, 3, padding=1, groups=4), SEQUENCE),
    "groups": (nn.Conv1d(4, 6, 3, groups=2), SEQUENCE), "2d": (nn.Conv2d(4, 3, 3, padding=1), IMAGE),
    "2d, oblong": (nn.Conv2d(4, 3, (2, 3), stride=(2, 1), bias=False), IMAGE),
    "patches": (nn.Conv2d(4, 5, 2, 2), IMAGE),
    "same": (nn.Conv2d(4, 3, 3, padding="same"), IMAGE), "2d, depthwise": (nn.Conv2d(4, 4, 3, groups=4), IMAGE),
    "batch_norm": (nn.BatchNorm1d(4), SEQUENCE), "batch_norm, 2d": (nn.BatchNorm2d(4, affine=False), IMAGE),
    "group_norm": (nn.GroupNorm(2, 4), IMAGE), "pool": (nn.MaxPool2d(2), IMAGE),
    "average": (nn.AvgPool2d((2, 4)), IMAGE),
    "shuffle": (nn.PixelShuffle(2), IMAGE), "unshuffle": (nn.PixelUnshuffle(2), IMAGE),
    "up": (nn.Upsample(scale_factor=2), IMAGE), "up, nearest": (nn.Upsample(size=(9, 5)), IMAGE),
    "up by a part": (nn.Upsample(scale_factor=1.5), SEQUENCE),
    "up, linear": (nn.Upsample(scale_factor=2.5, mode="linear"), SEQUENCE),
    "up, bilinear": (nn.Upsample(scale_factor=2, mode="bilinear"), IMAGE),
    "up, to a size": (nn.Upsample(size=(9, 5), mode="bilinear", align_corners=True), IMAGE),
    "up, bicubic": (nn.Upsample(size=(4, 11), mode="bicubic"), IMAGE),
    "up, antialiased": (Interpolated(size=(4, 5), mode="bicubic", antialias=True), IMAGE),
    "up, scale kept": (Interpolated(scale_factor=1.3, mode="bilinear", recompute_scale_factor=False), IMAGE),
    "up, of three": (nn.Upsample(scale_factor=2, mode="trilinear"), IMAGE[None]),
    "pool, rest": (nn.MaxPool2d(3, 2, 1, ceil_mode=True), IMAGE),
    "pool, apart": (nn.MaxPool1d(2, 1, dilation=3), SEQUENCE),
    "average, padded": (nn.AvgPool2d(3, 2, 1), IMAGE),
    "average, rest": (nn.AvgPool1d(4, 3, 1, ceil_mode=True), SEQUENCE),
    "average, own": (nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), IMAGE),
    "average, by a number": (nn.AvgPool2d(2, divisor_override=3), IMAGE),
    "transposed": (nn.ConvTranspose2d(4, 3, 2, stride=2), IMAGE[..., :3, :4]),
    "transposed, apart": (
        nn.ConvTranspose2d(4, 3, (3, 2), stride=(1, 3), padding=(2, 1), dilation=2), IMAGE[..., :3, :4]
    ),
    "transposed, groups": (nn.ConvTranspose1d(4, 6, 4, stride=3, padding=1, output_padding=2, groups=2), SEQUENCE),
    "pool of three": (nn.AvgPool3d(2), IMAGE[None]),
    "adaptive, unequal": (nn.AdaptiveAvgPool2d((4, 3)), IMAGE),
    "adaptive, 3d": (nn.AdaptiveAvgPool3d((2, 3, 5)), IMAGE),
}  # fmt: skip


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_modules_of_channels(name):
    module, x = CONVOLUTIONS[name]
    if hasattr(module, "running_mean"):
        module.running_mean += torch.arange(4) / 3
        module.running_var += torch.arange(4) / 2
    check(lambda m, x: module.eval()(x), x)


MASK = torch.tensor([[True, True, False, True, False, True]])
TRUTH = {
    "view of a mask": lambda m, x, y: functional.scaled_dot_product_attention(x, x, x, y[:, None, :]),
    "mask for heads": lambda m, x, y: functional.scaled_dot_product_attention(
        *[x.view(1, 6, 2, 3).transpose(1, 2)] * 3, y[:, None, None, :]),
    "not of a view": lambda m, x, y: x.masked_fill(~y[:, :, None], 2),
    "and of views": lambda m, x, y: x * (y[:, :, None] & y[:, None, :]),
    "numbers of truth": lambda m, x, y: functional.scaled_dot_product_attention(x, x, x, y.float()[:, None, :]),
    "like numbers": lambda m, x, y: functional.scaled_dot_product_attention(x, x, x, y[:, None].type_as(x)),
    "truth of whole numbers": lambda m, x, y: functional.scaled_dot_product_attention(
        x, x, x, y.long().to(torch.bool)[:, None]),
    "found on the way": lambda m, x, y: functional.scaled_dot_product_attention(
        x, x, x, (x > -1)[:, :, :6] | y[:, None]),
    "sum of truth": lambda m, x, y: x * ((x > 0) + (x > -1)).float() + (y + y).float()[:, :, None],
    "sum of numbers": lambda m, x, y: x * ((x > 0).float() + (x > -1).float()) + y[:, :, None],
    "known mask, a view": lambda m, x, y: functional.scaled_dot_product_attention(
        x, x, x, MASK[:, None, :]) * y[..., None],
    "full of whole numbers": lambda m, x, y: x * (torch.full_like(y.long(), 2) + y.long())[:, :, None],
}  # fmt: skip


@pytest.mark.parametrize("name", TRUTH)
def test_truth_is_told_from_numbers(name):
    check(TRUTH[name], rows(1, 6, 6), MASK)


IDS = torch.tensor([[1, 4, 0, 5]])
WHOLE = {
    "rounded down": lambda m, x, y: x * ((y - 3) // 2)[..., None] + torch.div(y, 3, rounding_mode="floor")[..., None],
    "remainders": lambda m, x, y: x * ((y - 3) % 4)[..., None] - functional.embedding(((y + 1) * 31) % 6, m.w),
    "by each other": lambda m, x, y: x * torch.remainder(y.flip(1) - 2, y + 1)[..., None],
    "rows of an image among words": lambda m, x, y: x.masked_scatter((y > 2)[..., None].expand_as(x), x.flip(1) * 2),
    "the last of some": lambda m, x, y: x[torch.arange(1), (y == 5).int().argmax(-1)],
    "two of whole numbers": lambda m, x, y: m.w[y, (y + 1) % 6],
    "shifted": lambda m, x, y: functional.embedding(
        _written(_written(y.new_zeros(1, 4), (slice(None), slice(1, None)), y[:, :-1]), (slice(None), 0), 2), m.w),
    "copied": lambda m, x, y: functional.embedding(torch.empty_like(y).copy_(y > 2), m.w),
    "bags": lambda m, x, y: functional.embedding_bag(y, m.w, mode="mean") + functional.embedding_bag(
        y, m.w, mode="max"),
    "buckets": lambda m, x, y: functional.embedding(torch.bucketize(y, torch.tensor([1, 3, 5])), m.w),
    "ignored": lambda m, x, y: functional.cross_entropy(x[0], torch.where(y[0] > 3, -100, y[0])),
    "ignored, weights": lambda m, x, y: functional.cross_entropy(
        x[0], y[0], weight=m.w[0].abs(), ignore_index=4, label_smoothing=0.3),
    "likelihood, forward": lambda m, x, y: torch.ops.aten.nll_loss_forward(
        x[0], torch.where(y[0] > 3, -100, y[0]), m.w[0].abs(), 1, -100),
    "likelihood": lambda m, x, y: functional.nll_loss(
        x.log_softmax(-1).mT, torch.where(y > 3, -100, y), weight=m.w[0].abs(), reduction="sum"),
    "gradient of a table": lambda m, x, y: torch.ops.aten.embedding_dense_backward(x, y, 7, 4, False),
    "a mask put": lambda m, x, y: functional.embedding(_written(y, y > 3, 2), m.w),
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_whole_numbers_on_the_host(name):
    check(WHOLE[name], rows(1, 4, 6), IDS)


INFINITE = {
    "expm1 of small ones": lambda m, x: torch.expm1(x * 1e-4) * 1e4,
    "log1p of small ones": lambda m, x: torch.log1p(x * 1e-4) * 1e4,
    "gradient of silu": lambda m, x: torch.ops.aten.silu_backward(x, x.flip(1)),
    "triangle of −∞": lambda m, x: (x @ x.mT + torch.triu(torch.full_like(x @ x.mT, -math.inf), 1)).softmax(-1),
    "triangle beside −∞": lambda m, x: x.masked_fill(x > 1, -math.inf).tril().clamp(-5, 5),
    "gathered beside −∞": lambda m, x: x.masked_fill(x > 0, -math.inf).gather(
        -1, torch.arange(3).expand(2, 3, 3)).clamp(-9),
    "logsumexp of −∞": lambda m, x: x.masked_fill(x < 9, -math.inf).logsumexp(-1).clamp(-5),
    "classes that are hidden": lambda m, x: functional.cross_entropy(
        x[0].masked_fill(torch.arange(6) > 3, -math.inf), torch.tensor([0, 1, 3])),
    "targets that do not count": lambda m, x: functional.cross_entropy(
        x[0], torch.tensor([0, 1, 3]), ignore_index=1),
    "a sum without them": lambda m, x: functional.cross_entropy(
        x[0], torch.tensor([0, 1, 3]), ignore_index=0, reduction="sum"),
    "einsum to a scalar": lambda m, x: torch.einsum("ijk->", x) + torch.einsum("i,j->", x[0, 0], x[1, 1]),
    "scatter of a part": lambda m, x: x[:1, :1].scatter(-1, torch.tensor([[[1, 2]]]), x),
    "cosine of small ones": lambda m, x: functional.cosine_similarity(x * 1e-3, x.flip(1), dim=-1, eps=1e-2),
    "weights of ones": lambda m, x: (
        x @ torch.ones_like(x[0]).mT + functional.linear(x, torch.ones_like(x[0, 0]))[..., None]),
    "complex views": lambda m, x: torch.view_as_real(
        torch.view_as_complex(x.view(2, 3, 3, 2)).transpose(1, 2) * torch.tensor(1j)).flatten(1),
    "baddbmm": lambda m, x: torch.baddbmm(x[:, :, :3], x, x.mT, beta=2, alpha=0.5),
}  # fmt: skip


@pytest.mark.parametrize("name", INFINITE)
def test_hidden_numbers_and_rare_forms(name):
    check(INFINITE[name], X)


def test_what_is_chosen_by_an_input():
    ids = torch.tensor([[4, 0, 2]])
    check(lambda m, x: functional.embedding(x, m.w), ids)
    check(lambda m, x, y: torch.gather(x, 1, y[..., None].expand(-1, -1, 6)), rows(1, 5, 6), ids)
    check(lambda m, x, y: x.index_select(1, y[0]), rows(2, 5, 6), ids)
    check(lambda m, x, y: x[:, y[0]], rows(2, 5, 6), ids)
    check(lambda m, x, y: functional.cross_entropy(x[0], y[0]), rows(1, 3, 6), ids)
    check(lambda m, x, y: functional.one_hot(y, 5) * x[:, :, :5], rows(1, 3, 6), ids)


class Nested(nn.Module):
    def forward(self, x):
        return {"logits": x + 1, "states": (x * 2, [x - 1])}


def test_results_are_named_by_their_places():
    graph = capture(Nested(), [X])
    assert graph.names == ["logits", "states.0", "states.1.0"]
    assert capture(One(lambda m, x: x + 1), [X]).names == [""]


def test_all_that_is_missing_is_listed():
    model = One(lambda m, x: torch.special.bessel_j0(x) + torch.special.i1e(x))
    with pytest.raises(HeddleError) as error:
        legalise(follow_views(fold_constants(capture(model, [X]))))
    assert [line.split(" ")[0] for line in str(error.value).splitlines()] == [
        "aten.special_bessel_j0", "aten.special_i1e",
    ]  # fmt: skip


REFUSED = {
    "buffer of truth": (lambda m, x: x[x > 0], "depends on data|cannot capture"),
    "scattered by numbers": (lambda m, x: x.masked_scatter(x > 0, x.flip(0)), "its mask must depend on whole numbers"),
    "put by places that are found": (lambda m, x: x[0].index_put((x[0].argmax(-1),), x[0, 0]), "places that are known"),
    "inverse": (lambda m, x: torch.linalg.inv(x[:, :, :3]), "linalg_inv_ex.*there is no rule for it"),
    "narrow numbers": (lambda m, x: x * x.argmax(-1, keepdim=True).to(torch.uint8), "wrap around; use int64"),
    "sizes of a letter": (lambda m, x: torch.einsum("ij,jk->ik", x[0], x[0, :1]), "a letter must have one size"),
    "places of maxima": (lambda m, x: x.cummax(1)[1], "result 1 of it cannot be"),
    "bits": (lambda m, x: x.argmax(-1) & 1, "bits of whole numbers cannot be combined"),
    "numbers of places": (lambda m, x: x.argmax(-1) * 2, "has whole numbers, which can only choose rows"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_meaning_here_is_refused(name):
    function, message = REFUSED[name]
    with pytest.raises(HeddleError, match=message):
        check(function, X)


@pytest.mark.parametrize("y", [49, -7, 0.75, 3])
def test_multiples_are_divided_exactly(y):
    """k·y / y, where a product with 1 / y comes out below k."""
    x = torch.arange(-60.0, 60.0).view(1, 2, 60) * y
    check(lambda m, x: (torch.floor_divide(x, y), torch.remainder(x, y), torch.div(x, y, rounding_mode="trunc")), x)


def test_verify_finds_a_wrong_shape():
    graph = legalise(follow_views(fold_constants(capture(One(lambda m, x: torch.relu(x)), [X]))))
    graph.output.shape = (2, 3, 5)
    with pytest.raises(AssertionError, match="after the test: relu.*its meaning has shape"):
        ir.verify(graph, "the test")


def test_the_page_of_operators_names_each_rule():
    page = operators_page()
    assert [name for name in RULES if not name.endswith("_") and f"`{name}`" not in page] == []


def test_the_page_of_operators_is_up_to_date():
    assert (ROOT / "docs" / "operators.md").read_text() == operators_page(), "run make docs"
