"""Random models: calls of PyTorch one after the other, on shapes that fit, with values that stay near 1."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

MOST_SIZE = 600  # elements of a value
MOST_DIM = 12


def _without(x: Tensor, dim: int) -> list[int]:
    return [size for place, size in enumerate(x.shape) if place != dim]


class RandomModel(nn.Module):
    """Some calls chosen by a seed. Each takes values that are there; those that nobody took are the results.

    No step depends on which of two near numbers is greater, as rounding would decide it.
    """

    def __init__(self, seed: int, steps: int = 8) -> None:
        super().__init__()
        self.random = np.random.default_rng(seed)
        torch.manual_seed(seed)
        rank = int(self.random.integers(2, 5))
        shape = [1 if self.random.random() < 0.5 else 2, *self.random.integers(1, MOST_DIM, rank - 1).tolist()]
        while np.prod(shape) > MOST_SIZE:
            shape[int(np.argmax(shape))] //= 2
        self.x = torch.randn([max(each, 1) for each in shape])
        self.weights = nn.ParameterList()
        self.steps: list[tuple] = []  # (function, places of its operands)
        values, used = [self.x], set()
        for _ in range(steps):
            found = self._step(values)
            if found is not None:
                function, places, value = found
                self.steps.append((function, places))
                used.update(places)
                values.append(value)
        self.results = [place for place in range(1, len(values)) if place not in used]

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        values = [x]
        for function, places in self.steps:
            values.append(function(*(values[place] for place in places)))
        found = tuple(values[place] for place in self.results)
        return found[0] if len(found) == 1 else found

    def _step(self, values: list[Tensor]) -> tuple | None:
        """(function, places, value) of one more call, or None if the one that was chosen does not fit."""
        place = int(self.random.integers(max(0, len(values) - 4), len(values)))
        kinds = [self._function, self._number, self._pair, self._view, self._cut, self._cat, self._reduce, self._norm,
                 self._linear, self._product, self._broadcast]  # fmt: skip
        made = kinds[int(self.random.integers(len(kinds)))](values, place)
        if made is None:
            return None
        function, places = made
        with torch.no_grad():
            value = function(*(values[each] for each in places))
        good = 0 < value.numel() <= MOST_SIZE and bool(value.isfinite().all()) and float(value.abs().max()) < 30
        return (function, places, value) if good and float(value.abs().max()) > 1e-3 else None

    def _dim(self, x: Tensor) -> int:
        return int(self.random.integers(x.ndim)) if x.ndim else 0

    def _function(self, values, place):
        names = ("relu", "silu", "gelu", "tanh", "sigmoid", "softplus", "mish", "elu", "hardswish", "sin", "square")
        function = {"sin": torch.sin, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "relu": torch.relu,
                    "square": torch.square}  # fmt: skip
        name = names[int(self.random.integers(len(names)))]
        return function.get(name) or getattr(functional, name), (place,)

    def _number(self, values, place):
        number, kind = float(self.random.normal()), int(self.random.integers(5))
        size = abs(number)
        functions = (lambda x: x * number, lambda x: x + number, lambda x: number - x, lambda x: x / (size + 0.5),
                     lambda x: x.clamp(-size, size + 0.5))  # fmt: skip
        return functions[kind], (place,)

    def _pair(self, values, place):
        others = [i for i, each in enumerate(values) if each.shape == values[place].shape]
        other = others[int(self.random.integers(len(others)))]
        functions = (torch.add, torch.sub, torch.mul, torch.maximum, torch.minimum,
                     lambda x, y: x / (y.abs() + 1), lambda x, y: torch.add(x, y, alpha=0.5))  # fmt: skip
        return functions[int(self.random.integers(len(functions)))], (place, other)

    def _broadcast(self, values, place):
        x = values[place]
        if not x.ndim:
            return None
        dim = self._dim(x)
        if self.random.integers(2):
            return lambda x: x * x.narrow(dim, 0, 1), (place,)
        return lambda x: x - x.narrow(dim, 0, 1), (place,)

    def _view(self, values, place):
        x = values[place]
        if x.ndim < 2:
            return lambda x: x.reshape(1, -1), (place,)
        a, b = self._dim(x), self._dim(x)
        kind = int(self.random.integers(4))
        if kind == 0:
            return lambda x: x.transpose(a, b), (place,)
        if kind == 1:
            return lambda x: x.flatten(min(a, b), max(a, b)), (place,)
        if kind == 2:
            order = self.random.permutation(x.ndim).tolist()
            return lambda x: x.permute(order).reshape(-1, x.shape[order[-1]]), (place,)
        size = x.shape[a]
        factor = next((each for each in (2, 3, 5) if size % each == 0), 1)
        return lambda x: x.unflatten(a, (size // factor, factor)), (place,)

    def _cut(self, values, place):
        x = values[place]
        if not x.ndim:
            return None
        dim = self._dim(x)
        size = x.shape[dim]
        start = int(self.random.integers(size))
        count = int(self.random.integers(1, size - start + 1))
        step = int(self.random.integers(1, 3))
        index = (slice(None),) * dim + (slice(start, start + count, step),)
        return lambda x: x[index], (place,)

    def _cat(self, values, place):
        x = values[place]
        if not x.ndim:
            return None
        dim = self._dim(x)
        rest = _without(x, dim)
        fitting = [i for i, each in enumerate(values) if each.ndim == x.ndim and _without(each, dim) == rest]
        other = fitting[int(self.random.integers(len(fitting)))]
        if self.random.integers(2):
            return lambda x, y: torch.cat([x, y], dim), (place, other)
        return (lambda x: torch.roll(x, 1, dim)) if self.random.integers(2) else (lambda x: x.flip(dim)), (place,)

    def _reduce(self, values, place):
        x = values[place]
        if not x.ndim:
            return None
        dim, keep = self._dim(x), bool(self.random.integers(2))
        functions = (torch.mean, torch.amax, torch.amin, lambda x, d, keepdim: x.sum(d, keepdim=keepdim) / 3,
                     lambda x, d, keepdim: x.square().mean(d, keepdim=keepdim))  # fmt: skip
        function = functions[int(self.random.integers(len(functions)))]
        return lambda x: function(x, dim, keepdim=keep), (place,)

    def _norm(self, values, place):
        x = values[place]
        if not x.ndim or x.shape[-1] < 3:
            return None
        dim = self._dim(x)
        functions = (lambda x: functional.layer_norm(x, x.shape[-1:], eps=0.1), lambda x: x.softmax(dim) * 2,
                     lambda x: functional.rms_norm(x, x.shape[-1:], eps=0.1),
                     lambda x: (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 0.5).sqrt())  # fmt: skip
        return functions[int(self.random.integers(len(functions)))], (place,)

    def _linear(self, values, place):
        x = values[place]
        if not x.ndim:
            return None
        columns = int(self.random.integers(1, MOST_DIM))
        self.weights.append(nn.Parameter(torch.randn(columns, x.shape[-1]) / x.shape[-1] ** 0.5))
        self.weights.append(nn.Parameter(torch.randn(columns)))
        at = len(self.weights) - 2
        bias = bool(self.random.integers(2))
        return lambda x: functional.linear(x, self.weights[at], self.weights[at + 1] if bias else None), (place,)

    def _product(self, values, place):
        x = values[place]
        if x.ndim < 2:
            return None
        fitting = [i for i, each in enumerate(values) if each.ndim == x.ndim and each.shape[-1] == x.shape[-1]
                   and each.shape[:-2] == x.shape[:-2]]  # fmt: skip
        other = fitting[int(self.random.integers(len(fitting)))]
        scale = x.shape[-1] ** -0.5
        if self.random.integers(2):
            return lambda x, y: x @ y.transpose(-1, -2) * scale, (place, other)
        return lambda x, y: functional.scaled_dot_product_attention(x, y, y), (place, other)
