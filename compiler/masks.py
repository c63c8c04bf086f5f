"""Constant masks of attention, as numbers that are added to its scores.

Softmax does not change when all scores of a row are shifted alike, so the greatest number of each row becomes 0:
numbers near 0 are what bf16 holds best. What a row does not see is minus infinity. Of a row that sees nothing all is,
and Softmax (arch/isa) makes zeros of it, as PyTorch's scaled_dot_product_attention does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .graph import Node
from .operands import name_of
from .weightless import has_bytes

# A float32 sum of a score and a mask of this size keeps nothing of the score: neighbouring numbers are 32 apart.
_DROWNS = 2.0**28
_DROWNED = -1e30  # added to all that a row sees where its mask drowns the scores, which then weigh the same


def added_to_scores(node: Node, mask: Node, keys: int, causal: bool = False) -> Tensor:
    """The mask of an attention (1, H, queries, D), and its being causal, as (H or 1, queries, keys) of such numbers.

    Raises HeddleError for a mask that is computed, that holds NaN or plus infinity, or that is of another shape.
    """
    if mask.op != "constant":
        raise node.refuse(f"its mask {mask.name} is computed; masks must be constants")
    if not has_bytes(mask.value):
        raise node.refuse(f"its mask {mask.name} is on the device meta; masks must have values")
    value = _numbers(node, mask)
    heads, queries = node.shape[-3:-1]
    value = value.expand(*value.shape[:-2], queries, keys).reshape(-1, queries, keys)
    if len(value) not in (1, heads):
        raise node.refuse(f"its mask {name_of(mask)} of shape {tuple(mask.shape)} must be one for all heads, or one "
                          f"for each of {heads}")  # fmt: skip
    if causal:
        value = value.masked_fill(torch.ones(queries, keys, dtype=torch.bool).triu(1), -torch.inf)
    return shifted_by_row(value)


def shifted_by_row(value: Tensor) -> Tensor:
    """Numbers that are added to scores, each row so that its greatest is 0, or −1e30 where it drowns the scores."""
    greatest = value.amax(-1, keepdim=True)
    shifted = value - greatest.masked_fill(greatest.isneginf(), 0)
    shifted = shifted.masked_fill(shifted <= -_DROWNS, -torch.inf)
    drowned = (greatest.abs() >= _DROWNS) & greatest.isfinite() & (shifted == 0)
    return shifted.masked_fill(drowned, _DROWNED).float()


def _numbers(node: Node, mask: Node) -> Tensor:
    """What PyTorch adds: false of a boolean mask hides."""
    value = mask.value
    if value.dtype == torch.bool:
        return torch.zeros(value.shape).masked_fill(~value, -torch.inf)
    value = value if value.dtype == torch.float64 else value.float()
    wrong = ~(value < torch.inf)
    if wrong.any():
        place = wrong.nonzero()[0].tolist()
        raise node.refuse(f"its mask {name_of(mask)} must hold numbers and minus infinities, but is "
                          f"{value[tuple(place)].item()} at {place}")  # fmt: skip
    return value


def hidden(added: Tensor) -> Tensor:
    """Which pairs such a mask hides, whatever their scores are: only these may be left out, and are no useful work."""
    return added.isneginf()


def rows_that_see_nothing(added: Tensor) -> list[list[int]]:
    """[head, query] of the rows of such a mask of which all is hidden."""
    return hidden(added).all(-1).nonzero().tolist()
