"""The reference of language models, and text for them, for callers whose arguments may be wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from operator import index
from typing import TYPE_CHECKING

import heddle
from heddle.layers import require_range, require_type, shown, unknown

if TYPE_CHECKING:
    from torch import Tensor, nn

SPLITS = ("train", "test")


def greedy(model: nn.Module, ids: Sequence[int], count: int) -> tuple[list[int], Tensor]:
    """The `count` likeliest ids after `ids` in PyTorch, one at a time, and the logits (count, vocabulary) they were
    chosen by. Each step computes the whole sequence anew: the reference for a decoder with a cache. Raises HeddleError
    for ids that the model does not know, and beyond its context."""
    require_type("the model", model, import_module("torch").nn.Module, "a torch.nn.Module")
    require_range("count", count, 1, 1 << 24)
    ids = token_ids(ids)
    if not ids:
        raise heddle.HeddleError("ids must be at least one token, to go on from")
    try:
        return import_module("heddle.models.text").greedy(model, ids, count)
    except (IndexError, RuntimeError, TypeError, ValueError) as error:  # whatever the model makes of them
        reason = str(error).partition("\n")[0]
        raise heddle.HeddleError(f"the model must take ids (1, up to {len(ids) + count - 1}) and give logits (1, ids, "
                                 f"vocabulary); ids must be of its vocabulary, and fit its context: {reason}"
                                 ) from error  # fmt: skip


def token_ids(ids: Iterable[int]) -> list[int]:
    """Ids of tokens as plain numbers. Raises HeddleError for what is none."""
    try:
        numbers = [index(each) for each in ids]
    except TypeError:
        raise heddle.HeddleError(f"ids must be whole numbers, one for each token, not {shown(ids)}") from None
    for each in numbers:
        require_range("each of ids", each, 0, (1 << 31) - 1)
    return numbers


def load_text(split: str) -> str:
    """The text of one split, "train" or "test", of the docstrings that the language models learn from."""
    require_type("split", split, str, f"one of {', '.join(SPLITS)}")
    if split not in SPLITS:
        raise unknown("split", split, SPLITS, "splits")
    return import_module("heddle.models.docstrings").load_text(split)
