"""The layer that hurts is found, why, and what 16 bits for it are worth: against programs."""

import heddle
import numpy as np
import pytest
import torch
from heddle.compiler.sensitivity import choose_precision, greatest_loss, in_codes
from torch import nn
from torch.nn import functional


class Mlps(nn.Module):
    """Three residual MLPs; the second reads a channel that is 300 times the others, and hardly weighs it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.ups, self.downs = (nn.ModuleList(nn.Linear(24, 24) for _ in range(3)) for _ in range(2))
        with torch.no_grad():
            self.ups[1].weight[5] *= 300
            self.downs[1].weight[:, 5] /= 3000

    def forward(self, x):
        for up, down in zip(self.ups, self.downs, strict=True):
            x = x + down(functional.relu(up(x)))
        return x


X = torch.randn(1, 16, 24, generator=torch.Generator().manual_seed(3))


def sqnr_db(precision):
    model = Mlps().eval()
    found = heddle.simulate(heddle.compile(model, (X,), "small", precision=precision), {"x": X[0].numpy()})
    golden = model(X)[0].detach().numpy().astype(np.float64)
    return 10 * np.log10((golden**2).sum() / ((golden - found.outputs["output"]) ** 2).sum())


def test_rows_in_codes():
    x = torch.tensor([[127.0, 1.4], [0.0, 0.0]])
    assert in_codes(x, 1).tolist() == [[127.0, 1.0], [0.0, 0.0]]
    assert in_codes(x, 2)[0, 1] == pytest.approx(1.4, abs=127 / 32639 / 2)


def test_the_layer_with_the_outlier_is_found_and_why():
    loss = greatest_loss(Mlps(), [(X,)], None, "small")
    assert loss.layer == "downs.1" and loss.share > 0.7
    assert "channel 5 of what it reads" in loss.cause and "times the median channel" in loss.cause
    assert loss.all_layers_db == pytest.approx(sqnr_db(None), abs=1)
    assert str(loss) in loss.explained(loss.all_layers_db)


def test_sixteen_bits_for_few_layers_reach_the_target():
    chosen = choose_precision(Mlps(), [(X,)], "small", target_db=chosen_db())
    assert "downs.1" in chosen.precision and len(chosen.precision) < 6 and chosen.raised[0].layer == "downs.1"
    assert chosen.sqnr_db >= chosen_db() and 1 < chosen.raised[-1].passes < 2
    assert sqnr_db(chosen.precision) == pytest.approx(chosen.sqnr_db, abs=1.5)
    assert next(iter(chosen.noise)) == "downs.1"


def chosen_db():
    """Six dB more than 8 bits leave."""
    return choose_precision(Mlps(), [(X,)], "small", target_db=0).before_db + 6


def test_no_more_layers_are_raised_than_wanted():
    chosen = choose_precision(Mlps(), [(X,)], "small", target_db=90, most_layers=1)
    assert set(chosen.precision) == {"downs.1"}
    assert choose_precision(Mlps(), [(X,)], "small", target_db=90, most_layers=0).precision == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samples": []}, "at least one set of inputs"),
        ({"samples": [X]}, "each of samples must be a tuple"),
        ({"target_db": "40"}, "target_db must be a number of dB"),
        ({"most_layers": -1}, "most_layers must be a whole number"),
    ],
)
def test_a_mistake_is_named(arguments, message):
    with pytest.raises(heddle.HeddleError, match=message):
        choose_precision(**{"model": Mlps(), "samples": [(X,)], "config": "small", **arguments})
