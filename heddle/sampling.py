"""Chooses the next token from logits by chance, on the host: temperature, top-k, top-p (Holtzman et al., 2020)."""

from __future__ import annotations

import heddle
import numpy as np
from numpy.typing import NDArray


def probabilities(
    logits: NDArray[np.floating], temperature: float, top_k: int | None = None, top_p: float | None = None
) -> NDArray[np.float64]:
    """The probability of each token (vocabulary,): softmax(logits / temperature), cut, and scaled to a sum of 1.

    top_k  the k likeliest stay; of equals those with the lower number; None: all
    top_p  of these, as few of the likeliest stay as have together at least the probability top_p; None: all
    Raises HeddleError for a temperature, top_k or top_p out of range.
    """
    check(temperature, top_k, top_p)
    if temperature == 0:
        raise heddle.HeddleError("with a temperature of 0 there is nothing to sample: take the greatest logit")
    scaled = np.asarray(logits, np.float64) / temperature
    order = np.argsort(-scaled, kind="stable")[:top_k]
    kept = np.exp(scaled[order] - scaled[order[0]])
    kept /= kept.sum()
    if top_p is not None:
        before = np.cumsum(kept) - kept  # of all that are likelier
        kept = np.where(before < top_p, kept, 0)
        kept /= kept.sum()
    result = np.zeros(len(scaled))
    result[order] = kept
    return result


def sample(
    logits: NDArray[np.floating],
    random: np.random.Generator,
    temperature: float,
    top_k: int | None = None,
    top_p: float | None = None,
) -> int:
    """A token drawn with the `probabilities` of logits (vocabulary,)."""
    chances = probabilities(logits, temperature, top_k, top_p)
    return int(random.choice(len(chances), p=chances))


def check(temperature: float, top_k: int | None = None, top_p: float | None = None) -> None:
    """Raise HeddleError for an option out of range. A temperature of 0 means the greatest logit."""
    if not 0 <= temperature < float("inf"):
        raise heddle.HeddleError(f"the temperature must be a number of at least 0, not {temperature:g}")
    if top_k is not None and top_k < 1:
        raise heddle.HeddleError(f"top_k must be at least 1, not {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise heddle.HeddleError(f"top_p must be above 0 and at most 1, not {top_p:g}")
