"""heddle/training.py: steps of training against torch.optim."""

from dataclasses import replace

import heddle
import pytest
import torch
from torch import nn
from torch.nn import functional

from ..machines import SMALL_VALUES

CONFIG = replace(SMALL_VALUES, pe="bf16", vector_lanes=8)


class Classifier(nn.Module):
    """The loss of a small one, with a frozen layer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.last = nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 4)
        self.last.bias.requires_grad_(False)

    def forward(self, x, y):
        return functional.cross_entropy(self.last(functional.gelu(self.norm(self.first(x)))), y)


class Gpt(nn.Module):
    """A language model of one layer."""

    def __init__(self, vocabulary=32, width=32, tokens=16):
        super().__init__()
        torch.manual_seed(0)
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Parameter(torch.randn(tokens, width) / 10)
        self.layer = nn.TransformerEncoderLayer(width, 2, 64, 0.0, "gelu", batch_first=True, norm_first=True)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(tokens), persistent=False)

    def forward(self, ids, targets):
        x = self.layer(self.tokens(ids) + self.places, src_mask=self.mask, is_causal=True)
        return functional.cross_entropy(self.head(self.norm(x)).flatten(0, 1), targets.flatten())


OPTIMISERS = {
    "sgd": (heddle.SGD(0.5), lambda p: torch.optim.SGD(p, 0.5)),
    "momentum": (heddle.SGD(0.2, 0.9), lambda p: torch.optim.SGD(p, 0.2, momentum=0.9)),
    "adamw": (
        heddle.AdamW(0.01, (0.8, 0.9), decay=0.1),
        lambda p: torch.optim.AdamW(p, 0.01, (0.8, 0.9), weight_decay=0.1),
    ),
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_two_steps_are_those_of_torch(name):
    ours, theirs = OPTIMISERS[name]
    model, x, y = Classifier(), torch.randn(5, 6), torch.tensor([0, 3, 1, 1, 2])
    training = heddle.Training(model, (x, y), CONFIG, ours)
    optimiser = theirs([each for each in model.parameters() if each.requires_grad])
    for _ in range(2):
        loss = model(x, y)
        assert training.step(x, y) == pytest.approx(float(loss.detach()), rel=0.01)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert "last.bias" not in training.parameters
    for key, value in training.parameters.items():
        torch.testing.assert_close(value, model.state_dict()[key], rtol=0.02, atol=0.004)


def test_a_loss_of_its_own():
    model, x = nn.Linear(6, 3), torch.randn(1, 4, 6)
    training = heddle.Training(model, (x,), CONFIG, heddle.SGD(0.1), loss=lambda result: result.square().mean())
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(2):
        loss = model(x).square().mean()
        assert training.step(x) == pytest.approx(float(loss.detach()), rel=0.01)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def test_what_cannot_be_trained_is_refused():
    with pytest.raises(heddle.HeddleError, match="one number as its result, the loss"):
        heddle.Training(nn.Linear(4, 4), (torch.randn(1, 2, 4),), CONFIG, heddle.SGD(0.1))
    with pytest.raises(heddle.HeddleError, match="no parameter that could be trained"):
        heddle.Training(nn.Identity(), (torch.randn(1, 2, 4),), CONFIG, heddle.SGD(0.1))


@pytest.mark.long
@pytest.mark.parametrize("name", OPTIMISERS)
def test_fifty_steps_of_a_gpt_follow_the_loss_of_torch(name):
    ours, theirs = OPTIMISERS[name]
    exact = {"value_format": "float32", "vector_format": "float32"}
    config = replace(heddle.get_config("base"), pe="bf16", value_words=32768, **exact)
    model, golden = Gpt().eval(), Gpt().eval()
    optimiser, generator = theirs(golden.parameters()), torch.Generator().manual_seed(3)

    def batch():
        start, step = (torch.randint(low, 32, (1,), generator=generator) for low in (0, 1))
        ids = (start + step * torch.arange(17)) % 32
        return ids[None, :-1], ids[None, 1:]

    training = heddle.Training(model, batch(), config, ours)
    for _ in range(50):
        ids, targets = batch()
        loss = golden(ids, targets)
        assert training.step(ids, targets) == pytest.approx(float(loss.detach()), rel=0.02)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


@pytest.mark.long
def test_a_step_on_the_rtl():
    model, x, y = Classifier(), torch.randn(5, 6), torch.tensor([0, 3, 1, 1, 2])
    training = heddle.Training(model, (x, y), CONFIG, heddle.AdamW(0.01))
    comparison = heddle.lockstep(training.program, [training.feed(x, y)], engine="verilator")
    assert comparison.agrees and comparison.instructions
