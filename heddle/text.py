"""The reference of language models, and text for them, for callers whose arguments may be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

import heddle
from heddle.layers import require_range, require_type, unknown

if TYPE_CHECKING:
    from torch import Tensor, nn

SPLITS = ("train", "test")


def greedy(model: nn.Module, ids: Sequence[int], count: int) -> tuple[list[int], Tensor]:
    """The `count` likeliest ids after `ids` in PyTorch, one at a time, and the logits (count, vocabulary) they were
    chosen by. Each step computes the whole sequence anew: the reference for a decoder with a cache."""
    require_type("the model", model, import_module("torch").nn.Module, "a torch.nn.Module")
    require_range("count", count, 1, 1 << 24)
    ids = list(ids)
    if not ids:
        raise heddle.HeddleError("ids must be at least one token, to go on from")
    for each in ids:
        require_range("each of ids", int(each), 0, (1 << 31) - 1)
    return import_module("heddle.models.text").greedy(model, ids, count)


def load_text(split: str) -> str:
    """The text of one split, "train" or "test", of the docstrings that the language models learn from."""
    require_type("split", split, str, f"one of {', '.join(SPLITS)}")
    if split not in SPLITS:
        raise unknown("split", split, SPLITS, "splits")
    return import_module("heddle.models.docstrings").load_text(split)
