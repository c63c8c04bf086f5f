"""torch.compile with the backend "heddle": tensors as PyTorch gives them, and an account of what ran where."""

import heddle
import pytest
import torch
from torch import nn

OPTIONS = {"config": "small", "precision": "w16a16"}


class Mixed(nn.Module):
    """`special.bessel_j0` has no rule."""

    def __init__(self, middle=torch.special.bessel_j0):
        super().__init__()
        self.linear, self.norm, self.middle = nn.Linear(8, 8), nn.LayerNorm(8), middle
        self.register_buffer("offset", torch.randn(8))

    def forward(self, x, factor=2):
        y = nn.functional.gelu(self.linear(x)) + self.offset * factor
        return self.norm(self.middle(y) * y), {"y": y, "greatest": y.argmax(-1)}


@pytest.fixture(autouse=True)
def fresh():
    torch.manual_seed(0)
    torch._dynamo.reset()


def compiled(model, **options):
    return torch.compile(model, backend="heddle", options={**OPTIONS, **options})


def assert_near(found, golden):
    assert found.shape == golden.shape and found.dtype == golden.dtype
    torch.testing.assert_close(found, golden, rtol=0.02, atol=0.03)


@torch.no_grad()
def test_what_has_no_rule_runs_in_pytorch_and_is_listed(capsys):
    model, x = Mixed().eval(), torch.randn(2, 3, 8)
    (a, others), (golden, expected) = compiled(model)(x), model(x)
    assert_near(a, golden)
    assert_near(others["y"], expected["y"])
    assert others["greatest"].dtype == torch.int64 and torch.equal(others["greatest"], expected["greatest"])
    run = heddle.last_run()
    assert [each.operator for each in run.unsupported] == ["aten.special_bessel_j0"]
    assert len(run.parts) == 2 and run.cycles == sum(each.result.cycles for each in run.parts) > 0
    assert 0.5 < run.share < 1 and abs(run.share + run.unsupported[0].share - 1) < 1e-9
    listed = capsys.readouterr().err
    assert "aten.special_bessel_j0" in listed and "test_backend.py" in listed and f"{run.cycles:,} cycles" in str(run)


@torch.no_grad()
def test_another_shape_is_compiled_and_a_changed_parameter_counts():
    model = Mixed(torch.sigmoid).eval()
    run = compiled(model)
    for rows in (2, 3, 4, 3):
        x = torch.randn(1, rows, 8)
        assert_near(run(x)[0], model(x)[0])
        assert heddle.last_run().share == 1 and not heddle.last_run().unsupported
    model.linear.weight.mul_(-2)
    assert_near(run(x)[0], model(x)[0])
    assert_near(run(x, factor=5)[0], model(x, factor=5)[0])


@torch.no_grad()
def test_what_cannot_be_traced_or_does_not_fit_runs_in_pytorch(capsys):
    large = nn.Sequential(nn.Linear(8, 1 << 14), nn.ReLU()).eval()
    x = torch.randn(1, 2, 8)
    assert torch.equal(compiled(large, config="nano")(x), large(x))
    assert "in PyTorch, 100" in capsys.readouterr().err and heddle.last_run().share == 0

    class Writes(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("count", torch.zeros(1))

        def forward(self, x):
            self.count += 1
            return x * self.count

    model = Writes().eval()
    run = compiled(model)
    assert torch.equal(run(x), x) and torch.equal(run(x), 2 * x)


@torch.no_grad()
def test_mistakes_are_errors_not_fallbacks():
    x = torch.randn(1, 2, 8)
    for options, message in (
        ({"confg": "small"}, "confg"),
        ({"config": "tiny"}, "tiny"),
        ({"config": "small", "precision": "bf16"}, "int8 PEs of small compute in w8a8, w8a16 or w16a16, not bf16"),
    ):
        with pytest.raises(Exception, match=message):
            torch.compile(Mixed().eval(), backend="heddle", options=options)(x)
