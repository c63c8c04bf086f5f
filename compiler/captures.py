"""What compilations of one model for many machines share: graphs of quantised operators, which depend on no machine.

To capture a model and to bring it to operators takes as long as all that comes after; of a machine only the kind of its
PEs counts in it. `Captures` keeps the graphs, or why there are none, and gives each compilation a copy of its own, for
later passes change nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from itertools import chain
from typing import Any

from torch import Tensor, nn

from ..arch.errors import HeddleError, require_type
from .graph import Graph

Graphs = tuple[Graph | None, ...]


class Captures:
    """The graphs of one model, whose weights may change between two compilations."""

    def __init__(self) -> None:
        self._model: nn.Module | None = None
        self._weights: tuple = ()
        self._found: dict[Hashable, Graphs | HeddleError] = {}

    def graphs(self, model: nn.Module, key: Hashable, make: Callable[[], Graphs]) -> Graphs:
        """Copies of what `make` gives for this key, which is called once, or the error that it raised. Raises
        HeddleError for another model than the first."""
        if self._model is not None and self._model is not model:
            raise HeddleError(f"captures must be of one model: these are of a {type(self._model).__name__}, not of "
                              f"this {type(model).__name__}")  # fmt: skip
        self._model, weights = model, _state(model)
        if weights != self._weights:
            self._found.clear()
            self._weights = weights
        if key not in self._found:
            try:
                self._found[key] = make()
            except HeddleError as error:
                self._found[key] = error
        found = self._found[key]
        if isinstance(found, HeddleError):
            raise found
        return tuple(each and each.copy() for each in found)


def graphs_of(captures: Captures | None, model: nn.Module, key: Hashable, make: Callable[[], Graphs]) -> Graphs:
    """Those of `make`, or copies of those that the captures have. Raises HeddleError for captures that are none."""
    require_type("captures", captures, (Captures, type(None)), "Captures, or None")
    return make() if captures is None else captures.graphs(model, key, make)


def shapes_of(inputs: Any) -> tuple:
    """What counts of example inputs: names, shapes and types of numbers."""
    pairs = inputs.items() if hasattr(inputs, "items") else enumerate(inputs)
    return tuple((name, tuple(each.shape), each.dtype) for name, each in pairs)


def _state(model: nn.Module) -> tuple:
    """Changes when a weight is replaced, or changed in place."""
    tensors: chain[Tensor] = chain(model.parameters(), model.buffers())
    return tuple((id(each), each._version) for each in tensors)
