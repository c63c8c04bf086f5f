"""What operators ask for codes: of their weights, and of the activations that they read."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ..arch.isa import COLUMNS
from ..arch.numerics import CODE_LIMIT, WIDE_CODE_LIMIT
from .graph import Graph, Node
from .matrix import Matrix, quantise_matrix
from .precision import Precision, PrecisionRule
from .weightless import has_bytes

MOST_COLUMNS = (1 << COLUMNS) - 1
_LEAST_SCALE, _BEYOND_FLOAT32 = 2.0**-126, 2.0**128  # VECTOR reads smaller ones as 0; sums of as much saturate


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
        format, or such that products are lost."""
        precision = self.rule.of(user.layer)
        matrix = quantise_matrix(weight, bias, factor, precision)
        for what, numbers in (("weights", matrix.codes), ("scales", matrix.scale), ("offsets", matrix.offset)):
            if has_bytes(numbers) and not np.isfinite(numbers).all():
                raise user.refuse(f"the {what} of its matrix are beyond the greatest number of their format")
        if has_bytes(matrix.scale) and precision is not Precision.BF16 and factor:
            _require_in_range(user, matrix, factor, precision)
        return matrix


def _require_in_range(user: Node, matrix: Matrix, factor: float, precision: Precision) -> None:
    """Raise HeddleError for an output whose sums, times its scale, could be beyond float32 before the scale of the row
    makes them smaller; and for one whose scale float32 does not hold, though its weights are not 0."""
    limits = {1: float(CODE_LIMIT), 2: float(WIDE_CODE_LIMIT)}
    of_weights, of_rows = limits[precision.weight_digits], limits[precision.activation_digits]
    scale = np.abs(matrix.scale.astype(np.float64))
    lost = (scale < _LEAST_SCALE) & matrix.codes.any(axis=1)
    saturated = scale * of_weights * of_rows * matrix.depth >= _BEYOND_FLOAT32
    for wrong, found, expected in (
        (lost, "at most", f"0, or at least {_LEAST_SCALE * of_weights / abs(factor):.2g}"),
        (saturated, "as great as", f"below {_BEYOND_FLOAT32 / of_rows / matrix.depth / abs(factor):.2g}"),
    ):
        if wrong.any():
            output = int(wrong.argmax())
            greatest = scale[output] * of_weights / abs(factor)
            raise user.refuse(f"output {output} of its matrix of {matrix.outputs} × {matrix.depth} has weights {found} "
                              f"{greatest:.2g}: for {precision.value} the greatest must be {expected}")  # fmt: skip
