"""Training of the language models: windows, initial weights, repeatability."""

import math

import pytest
import torch
from heddle.models.gpt2 import Gpt2, Gpt2Config
from heddle.models.text import LANGUAGE_MODELS, LanguageModel
from heddle.models.train_text import DEVIATION, evaluate, initialise, load_ids, train

TINY = LanguageModel("tiny", "for tests", Gpt2, Gpt2Config(context=16, width=16, depth=1, heads=2))


@pytest.fixture
def threads():
    """Training leaves torch on one thread."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_training_is_repeatable_and_learns(threads):
    first, second = train(TINY, steps=40), train(TINY, steps=40)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not first.training
    assert evaluate(first, load_ids("test")[:2000], 16) < 0.9 * math.log(96)


def test_a_model_that_knows_nothing_has_the_perplexity_of_its_vocabulary():
    model = Gpt2(TINY.config)
    torch.nn.init.zeros_(model.tokens.weight)
    assert evaluate(model, torch.randint(0, 96, (100,)), 16) == pytest.approx(math.log(96))


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_initial_matrices_are_small_and_smaller_where_a_branch_ends(name):
    model = LANGUAGE_MODELS[name].architecture(LANGUAGE_MODELS[name].config)
    initialise(model)
    deviation = {name: parameter.std().item() for name, parameter in model.named_parameters() if parameter.dim() == 2}
    ends = {each for each in deviation if each.endswith(("attention.output.weight", "mlp.down.weight"))}
    assert len(ends) == 8
    for each, value in deviation.items():
        assert value == pytest.approx(DEVIATION / math.sqrt(8) if each in ends else DEVIATION, rel=0.1)
