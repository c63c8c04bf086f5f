"""What the host computes before a launch: the same as PyTorch, by steps that a file holds, and only what depends on
whole numbers and truth alone."""

import heddle
import numpy as np
import pytest
import torch
from heddle.arch.errors import HeddleError
from heddle.arch.host import Argument, Step, prepared
from torch import nn

IDS = torch.tensor([[4, 5, 6, 7, 8, 1, 1]])


class Positions(nn.Module):
    """RoBERTa's: counted from behind the number of padding, and hidden where that is."""

    def __init__(self):
        super().__init__()
        self.words, self.positions = nn.Embedding(20, 8, padding_idx=1), nn.Embedding(12, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)

    def forward(self, ids):
        seen = ids.ne(1).int()
        places = (torch.cumsum(seen, dim=1).type_as(seen) * seen).long() + 1
        return self.layer(self.words(ids) + self.positions(places), src_key_padding_mask=ids.eq(1))


class Lengths(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)

    def forward(self, x, lengths):
        return self.layer(x, src_key_padding_mask=torch.arange(x.shape[1])[None] >= lengths)


class Hashed(nn.Module):
    """Tables whose rows are hashes of ids, and groups of four."""

    def __init__(self):
        super().__init__()
        self.words, self.groups = nn.Embedding(11, 8), nn.Embedding(5, 8)

    def forward(self, ids):
        shifted = ids.new_zeros(ids.shape)
        shifted[:, 1:] = ids[:, :-1]
        return self.words((ids - 20) * 31 % 11) + self.groups(shifted // 4)


def sqnr_db(golden, found):
    noise = np.square(golden.ravel() - found.ravel()).sum()
    return 10 * np.log10(np.square(golden).sum() / noise)


def test_positions_and_masks_come_from_ids(tmp_path):
    torch.manual_seed(0)
    model = Positions().eval()
    program = heddle.compile(model, (IDS,), "nano")
    assert program.takes() == {"ids": (7,)} and {each.name for each in program.inputs()} > {"ids"}
    program.save(tmp_path / "x.heddle")
    program = heddle.Program.load(tmp_path / "x.heddle")
    for ids in (IDS, torch.tensor([[3, 9, 1, 1, 1, 1, 1]])):
        found = heddle.simulate(program, {"ids": ids[0].numpy()}).outputs["output"]
        assert sqnr_db(model(ids).detach().numpy(), found) > 35


def test_hashes_and_shifted_ids(tmp_path):
    torch.manual_seed(2)
    model = Hashed().eval()
    heddle.compile(model, (IDS,), "nano").save(tmp_path / "x.heddle")
    program = heddle.Program.load(tmp_path / "x.heddle")
    for ids in (IDS, torch.tensor([[0, 19, 2, 17, 4, 15, 6]])):
        found = heddle.simulate(program, {"ids": ids[0].numpy()}).outputs["output"]
        np.testing.assert_allclose(found[0], model(ids)[0].detach().numpy(), rtol=2**-6, atol=2**-7)


def test_a_divisor_of_0_is_refused():
    for operator in ("quotient", "remainder"):
        steps = [Step("x", "argument", (), {"shape": [2]}), Step("y", operator, ("x", "x"))]
        assert prepared(steps, {"x": np.array([3, 2])})["y"].tolist() == [1, 1] if operator == "quotient" else [0, 0]
        with pytest.raises(HeddleError, match="the step 'y' of the host cannot be computed .it divides by 0."):
            prepared(steps, {"x": np.array([3, 0])})


def test_lengths_choose_what_is_seen():
    torch.manual_seed(1)
    model, x = Lengths().eval(), torch.randn(1, 6, 8)
    program = heddle.compile(model, (x, torch.tensor([[4]])), "nano")
    for length in (1, 4, 6):
        given = {"x": x[0].numpy(), "lengths": np.array([length])}
        golden = model(x, torch.tensor([[length]])).detach().numpy()
        assert sqnr_db(golden, heddle.simulate(program, given).outputs["output"]) > 35


def test_a_batch_has_its_own_masks():
    torch.manual_seed(1)
    model, x = Lengths().eval(), torch.randn(2, 6, 8)
    program = heddle.compile(model, (x[:1], torch.tensor([[4]])), "nano")
    found = heddle.simulate(program, {"x": x.numpy(), "lengths": np.array([[2], [5]])}).outputs["output"]
    assert sqnr_db(model(x, torch.tensor([[2], [5]])).detach().numpy(), found) > 35


def test_numbers_are_the_accelerators():
    program = heddle.compile(nn.Linear(4, 4), (torch.zeros(1, 3, 4),), "nano")
    assert program.host == () and program.arguments == ()


def test_what_is_given_must_fit():
    program = heddle.compile(Lengths().eval(), (torch.zeros(1, 6, 8), torch.tensor([[4]])), "nano")
    x = np.zeros((6, 8), np.float32)
    with pytest.raises(HeddleError, match=r"takes the inputs \['lengths', 'x'\], not \['x'\]"):
        heddle.simulate(program, {"x": x})
    with pytest.raises(HeddleError, match="input 'lengths' must hold whole numbers, not float64"):
        heddle.simulate(program, [{"x": x, "lengths": np.array([4.0])}])
    with pytest.raises(HeddleError, match=r"input 'lengths' must have shape \(1,\), not \(2,\)"):
        heddle.simulate(program, [{"x": x, "lengths": np.array([4, 4])}])


X = np.array([[3, -1, 2]])
STEPS = {
    "combine": (Step("y", "combine", ("x", "x"), {"kind": "multiply"}), X * X),
    "compare": (Step("y", "combine", ("x", "x"), {"kind": "less"}), np.zeros((1, 3), np.float32)),
    "choose": (Step("y", "choose", ("x", "x", "x")), X),
    "reduce": (Step("y", "reduce", ("x",), {"kind": "maximum", "dim": 1}), [[3]]),
    "cumsum": (Step("y", "cumsum", ("x",), {"dim": 1}), [[3, 2, 4]]),
    "cat": (Step("y", "cat", ("x", "x"), {"dim": 0}), np.concatenate([X, X])),
    "number": (Step("y", "number", ("x",)), X.astype(np.float32)),
    "rearrange": (Step("y", "rearrange", ("x",), {"sizes": [3, 2], "strides": [1, 0], "offset": 0, "shape": [3, 2]}),
                  [[3, 3], [-1, -1], [2, 2]]),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_each_operator(name):
    step, expected = STEPS[name]
    found = prepared([Step("x", "argument", (), {"shape": [1, 3]}), step], {"x": X})["y"]
    np.testing.assert_array_equal(found, expected)


def test_rows_of_a_table():
    table = Step("table", "constant", (), {"values": [1, 2, 3, 4, 5, 6], "shape": [3, 2], "type": "integer"})
    steps = [Step("x", "argument", (), {"shape": [2]}), table, Step("y", "gather", ("table", "x"))]
    assert prepared(steps, {"x": np.array([2, 0])})["y"].tolist() == [[5, 6], [1, 2]]
    whole = Step("y", "integer", ("x",))
    assert prepared([steps[0], whole], {"x": np.array([1.9, -1.9])})["y"].tolist() == [1, -1]


def test_a_file_that_was_altered_is_refused():
    with pytest.raises(HeddleError, match="'eval' is no operator of the host"):
        Step("y", "eval", ("x",))
    with pytest.raises(HeddleError, match="the step 'y' of the host cannot be computed"):
        prepared([Step("y", "combine", ("x", "x"), {"kind": "add"})], {})
    with pytest.raises(HeddleError, match="an argument must be integer, truth or number, not 'text'"):
        Argument("x", (1,), "text")


def test_truth_is_told_from_numbers():
    argument = Argument("x", (2,), "truth")
    assert argument.checked([True, False]).tolist() == [1, 0] and argument.checked([1, 0]).tolist() == [1, 0]
    with pytest.raises(HeddleError, match=r"input 'x' must hold truth \(bool\), not float64"):
        argument.checked([0.5, 1])
