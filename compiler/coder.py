"""What operators ask for codes: of their weights, and of the activations that they read."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ..arch.isa import COLUMNS
from .graph import Graph, Node
from .matrix import Matrix, quantise_matrix
from .precision import PrecisionRule
from .weightless import has_bytes

MOST_COLUMNS = (1 << COLUMNS) - 1


class Coder:
    """One for each compilation; what reads the same value shares its codes."""

    def __init__(self, graph: Graph, rule: PrecisionRule) -> None:
        self.graph, self.rule = graph, rule
        self._coded: dict[tuple[Node, int], Node] = {}

    def codes(self, user: Node, source: Node) -> Node:
        """The node of the codes of `source`, with as many digits as `user` wants. Raises HeddleError for longer rows
        than an instruction takes."""
        if source.columns > MOST_COLUMNS:
            raise user.refuse(f"K = {source.columns} is too large: an instruction takes rows of at most {MOST_COLUMNS} "
                              f"numbers")  # fmt: skip
        digits = self.rule.of(user.layer).activation_digits
        if (source, digits) not in self._coded:
            name = f"{source.name}_codes" + ("" if digits == 1 else f"_{digits}")
            node = Node(name, "quantise", [source], source.shape, source.source, source.layer, {"digits": digits})
            self._coded[source, digits] = node
            self.graph.insert_after(source, node)
        return self._coded[source, digits]

    def matrix(self, user: Node, weight: Tensor, bias: Tensor | None, factor: float = 1.0) -> Matrix:
        """The codes of a weight (N, K) that `user` multiplies by. Raises HeddleError for codes or scales beyond their
        format."""
        matrix = quantise_matrix(weight, bias, factor, self.rule.of(user.layer))
        for what, numbers in (("weights", matrix.codes), ("scales", matrix.scale), ("offsets", matrix.offset)):
            if has_bytes(numbers) and not np.isfinite(numbers).all():
                raise user.refuse(f"the {what} of its matrix are beyond the greatest number of their format")
        return matrix
