"""Sessions: what a plain forward over the whole sequence gives, on pages that are handed out and used again."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from heddle.arch.config import PRESETS
from heddle.arch.errors import HeddleError
from heddle.compiler.builder import Tiling
from heddle.compiler.cache import CachePlan
from heddle.session import Session
from heddle.text import greedy
from torch import nn

SMALL = PRESETS["small"]


def session_of(model, tokens, **options) -> Session:
    context = model.config.context
    plan = CachePlan(tokens, page_tokens=8, pages=options.pop("pages", 0))
    return Session(model, SMALL, plan, context=context, options={"tiling": Tiling()}, **options)


def near(model, ids, runs) -> bool:
    with torch.no_grad():
        golden = model(torch.tensor([ids]))[0].numpy()
    found = np.concatenate([run.logits for run in runs])
    return 10 * np.log10((golden**2).sum() / ((golden - found) ** 2).sum()) > 27


def test_a_prompt_goes_in_by_chunks_and_its_rest_in_one_that_is_filled_up(tiny):
    model = tiny.model()
    session = session_of(model, 32, chunk=8)
    ids = torch.randint(0, 96, (19,), generator=torch.Generator().manual_seed(1)).tolist()
    runs = session.feed(ids)
    assert [(run.kind, run.tokens, run.positions) for run in runs] == [
        ("prefill", 8, (0,)), ("prefill", 8, (8,)), ("prefill", 3, (16,))
    ]  # fmt: skip
    assert near(model, ids, runs)
    assert session.lengths == [19] and session.runs == runs
    session.restart()
    again = session.feed(ids)
    for before, after in zip(runs, again, strict=True):
        np.testing.assert_array_equal(before.logits, after.logits)
        assert before.cycles == after.cycles


class WithoutPositions(nn.Module):
    """Tells places apart by its causal mask alone (Haviv et al., 2022)."""

    def __init__(self):
        super().__init__()
        self.config = SimpleNamespace(context=32)
        self.embedding, self.head = nn.Embedding(96, 16), nn.Linear(16, 96)
        self.q, self.k, self.v, self.out = (nn.Linear(16, 16) for _ in range(4))

    def forward(self, ids):
        x = self.embedding(ids)  # (1, T, 16)
        q, k, v = (each(x).unflatten(-1, (2, 8)).transpose(1, 2) for each in (self.q, self.k, self.v))
        seen = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.head(x + self.out(seen.transpose(1, 2).flatten(2)))


def test_a_model_without_positions():
    torch.manual_seed(6)
    model = WithoutPositions().eval()
    session = session_of(model, 32, chunk=8)
    ids = torch.randint(0, 96, (11,), generator=torch.Generator().manual_seed(4)).tolist()
    runs = session.feed(ids)
    assert [(run.kind, run.tokens) for run in runs] == [("prefill", 8), ("prefill", 3)]
    assert near(model, ids, runs)
    assert "positions" not in {tensor.name for tensor in session.decode.inputs()}


def test_a_model_without_positions_says_what_pytorch_does():
    torch.manual_seed(6)
    model = WithoutPositions().eval()
    session = Session(model, SMALL, CachePlan(32), chunk=1, options={"precision": "w16a16", "tiling": Tiling()})
    expected, _ = greedy(model, [3, 1, 4], 5)
    found = [int(session.feed([3, 1, 4])[-1].next[0])]
    while len(found) < 5:
        found.append(int(session.step([found[-1]]).next[0]))
    assert found == expected


def test_pages_that_left_the_window_are_used_again(windowed):
    session = session_of(windowed, 40, chunk=8, window=7)
    assert session.pages == 3 < session.entries == 5
    ids = torch.randint(0, 96, (38,), generator=torch.Generator().manual_seed(2)).tolist()
    assert near(windowed, ids, session.feed(ids))
    assert len(set(session.tables[0].tolist())) == 3


def test_two_sequences_are_each_as_if_alone(tiny):
    model = tiny.model()
    both = session_of(model, 32, sequences=2, chunk=8)
    both.feed(range(8), 0)
    both.feed(range(40, 48), 1)
    run = both.step([8, 48])
    for row, ids in enumerate((list(range(9)), list(range(40, 49)))):
        alone = session_of(model, 32, chunk=8)
        np.testing.assert_array_equal(alone.feed(ids)[-1].logits[0], run.logits[row])
    with pytest.raises(HeddleError, match="by chunks of 8 tokens, from a multiple of 8 on .*: 3 are left at 9"):
        both.feed(range(3), 0)


def test_a_cache_too_small_is_named(tiny):
    model = tiny.model()
    session = session_of(model, 16, chunk=1, pages=1)
    with pytest.raises(HeddleError, match="the cache holds 16 tokens of a sequence, not 17"):
        session.feed(range(17))
    with pytest.raises(HeddleError, match="the cache has only 1 pages of 8 tokens"):
        session_of(model, 16, chunk=1, pages=1).feed(range(9))
    with pytest.raises(HeddleError, match="page_tokens must be 8 times a power of two"):
        Session(model, SMALL, CachePlan(16, page_tokens=12))


def test_a_difference_of_the_rtl_stops_the_session(tiny, monkeypatch):
    from heddle.cosim import lockstep

    comparison = lockstep.Comparison("verilator", "small", 1, 1, 1, 1, 1, 0, 0, "byte 3")  # type: ignore[arg-type]
    monkeypatch.setattr(lockstep, "lockstep", lambda *arguments: comparison)
    session = replace(session_of(tiny.model(), 16, chunk=1), engine="verilator")
    with pytest.raises(HeddleError, match="the RTL differs from the simulator: byte 3"):
        session.feed([1])
    assert session.runs[-1].comparison is comparison
