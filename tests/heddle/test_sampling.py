"""Sampling against the plain formulas."""

import numpy as np
import pytest
from heddle.arch.errors import HeddleError
from heddle.sampling import probabilities, sample

LOGITS = np.log(np.array([0.1, 0.4, 0.2, 0.3], np.float32))


def softmax(x):
    e = np.exp(np.asarray(x, np.float64) - np.max(x))
    return e / e.sum()


def plain(logits, temperature, top_k, top_p):
    """One token after the other, as the papers say it."""
    p = softmax(np.asarray(logits, np.float64) / temperature)
    ranked = sorted(range(len(p)), key=lambda token: (-p[token], token))[:top_k]
    total = sum(p[token] for token in ranked)
    chosen, mass = [], 0.0
    for token in ranked:
        chosen.append(token)
        mass += p[token] / total
        if top_p is not None and mass >= top_p:
            break
    result = np.zeros(len(p))
    result[chosen] = p[chosen] / p[chosen].sum()
    return result


def test_by_hand():
    np.testing.assert_allclose(probabilities(LOGITS, 1), [0.1, 0.4, 0.2, 0.3], rtol=1e-6)
    np.testing.assert_allclose(probabilities(LOGITS, 1, top_k=2), [0, 4 / 7, 0, 3 / 7], rtol=1e-6)
    np.testing.assert_allclose(probabilities(LOGITS, 1, top_p=0.65), [0, 4 / 7, 0, 3 / 7], rtol=1e-6)
    np.testing.assert_allclose(probabilities(LOGITS, 1, top_p=0.75), [0, 4 / 9, 2 / 9, 3 / 9], rtol=1e-6)
    np.testing.assert_allclose(probabilities(LOGITS, 0.5), np.array([1, 16, 4, 9]) / 30, rtol=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_like_the_plain_formula(seed):
    random = np.random.default_rng(seed)
    logits = random.normal(size=random.integers(1, 60)).astype(np.float32) * 3
    temperature = float(random.uniform(0.1, 3))
    top_k = int(random.integers(1, 70)) if seed % 2 else None
    top_p = float(random.uniform(0.05, 1)) if seed % 3 else None
    found = probabilities(logits, temperature, top_k, top_p)
    np.testing.assert_allclose(found, plain(logits, temperature, top_k, top_p), atol=1e-12)
    assert found.sum() == pytest.approx(1)


def test_edges():
    assert probabilities(LOGITS, 1, top_k=1).tolist() == [0, 1, 0, 0]
    assert probabilities(LOGITS, 1, top_p=1e-9).tolist() == [0, 1, 0, 0]
    np.testing.assert_array_equal(probabilities(LOGITS, 1, top_k=99, top_p=1.0), probabilities(LOGITS, 1))
    assert probabilities(np.array([1e30, 0.0, -1e30]), 1e-3).tolist() == [1, 0, 0]
    assert probabilities(np.zeros(4), 1, top_k=2).tolist() == [0.5, 0.5, 0, 0]


def test_drawn_as_often_as_likely_and_the_same_for_the_same_seed():
    drawn = [sample(LOGITS, np.random.default_rng(7), 1) for _ in range(3)]
    assert len(set(drawn)) == 1
    random = np.random.default_rng(8)
    counts = np.bincount([sample(LOGITS, random, 1, top_k=3) for _ in range(4000)], minlength=4) / 4000
    np.testing.assert_allclose(counts, [0, 4 / 9, 2 / 9, 3 / 9], atol=0.03)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((-1.0,), "temperature must be a number of at least 0, not -1"),
        ((float("nan"),), "temperature must be a number of at least 0, not nan"),
        ((0.0,), "nothing to sample"),
        ((1.0, 0), "top_k must be at least 1, not 0"),
        ((1.0, None, 0.0), "top_p must be above 0 and at most 1, not 0"),
        ((1.0, None, 1.5), "top_p must be above 0 and at most 1, not 1.5"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(HeddleError, match=message):
        probabilities(LOGITS, *options)
