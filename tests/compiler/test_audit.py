"""All that is missing in a model is listed at once, with where it stands and what to write instead."""

import pytest
import torch
from heddle.arch.errors import HeddleError
from heddle.compiler import ir
from heddle.compiler.audit import audit
from heddle.compiler.cache import CachePlan
from heddle.compiler.capture import capture
from heddle.compiler.fold import fold_constants
from heddle.compiler.instead import EXPRESSIONS, instead_of
from heddle.compiler.legalise import legalise
from heddle.compiler.pipeline import compile
from heddle.compiler.rearrange import follow_views
from heddle.compiler.rules import RULES
from heddle.models.gpt2 import Gpt2, Gpt2Config
from torch import nn

IDS = torch.zeros(1, 8, dtype=torch.int64)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.Linear(8, 8)

    def forward(self, x):
        return torch.log10(self.up(x)) + torch.special.bessel_j0(x)  # the line


class Model(nn.Module):
    """Several calls without a rule, one in two layers, one whose shape depends on data."""

    def __init__(self):
        super().__init__()
        self.layers, self.rows = nn.Sequential(Block(), Block()), nn.Embedding(9, 8)

    def forward(self, ids, mask):
        places = (mask.cumsum(-1) - 1).clamp(min=0)
        x = self.layers(self.rows(ids) + self.rows(places))
        return {"sum": x[x > 0].exp().sum(), "noise": x * torch.rand(8), "cache": object()}


@pytest.fixture(scope="module")
def found():
    return audit(Model(), (IDS, IDS), "nano")


def test_every_call_is_listed_once(found):
    calls = {each.operator: each for each in found.findings}
    assert set(calls) == {"aten.log10", "aten.special_bessel_j0", "aten.index.Tensor", "aten.rand"}
    assert not found.compiles and {each.kind for each in found.findings} == {"operator"}
    log = calls["aten.log10"]
    assert log.count == 2 and log.in_modules == ("layers.0", "layers.1") and log.instead == "x.log() / 2.302585"
    assert log.operands == ((1, 8, 8),) and log.shape == (1, 8, 8) and log.source.startswith("test_audit.py:")
    assert "log10(self.up(x))" in log.source and 0 < log.share < 0.2
    assert calls["aten.index.Tensor"].shape == ("u0",) and "random numbers" in calls["aten.rand"].instead
    shares = [each.share for each in found.findings]
    assert shares == sorted(shares, reverse=True)
    assert "2 × aten.log10 of shape (1, 8, 8) in layers.0, layers.1 at test_audit.py" in str(found)


def test_what_the_host_computes_and_what_is_left_out_is_told_too(found):
    assert [each.operator for each in found.host] == ["aten.cumsum", "aten.sub.Tensor", "aten.clamp"]
    assert found.left_out == {"cache": "object"}


def test_a_compilation_names_all_of_them_as_well():
    with pytest.raises(HeddleError) as error:
        compile(Model(), (IDS, IDS), "nano")
    lines = str(error.value).splitlines()
    assert len(lines) == 6 and sum("aten.log10" in line for line in lines) == 2
    assert sum("layers.1 at test_audit.py" in line for line in lines) == 2


def test_a_model_that_compiles_has_no_findings(nano):
    found = audit(nn.Sequential(nn.Linear(8, 4)), (torch.zeros(1, 3, 8),), nano, precision={"0": "w8a16"})
    assert found.compiles and not found.findings and found.program.total_macs == 3 * 8 * 4
    assert "w8a16 of 1 operators" in [each.chosen for each in found.program.choices]


def test_a_decoder_is_compiled_with_its_cache(nano):
    model = Gpt2(Gpt2Config(vocabulary=17, context=16, width=16, depth=1, heads=2)).eval()
    assert audit(model, None, nano, plan=CachePlan(16)).program.positions


def test_each_memory_that_is_too_small_is_listed(nano):
    model = nn.Sequential(nn.Linear(8, 40_000), nn.ReLU(), nn.Linear(40_000, 8)).to("meta")
    found = audit(model, (torch.zeros(1, 2, 8),), nano)
    assert {each.kind for each in found.findings} == {"room"} and not found.compiles


def test_a_model_that_torch_cannot_trace_is_a_finding(nano):
    class Branch(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    (finding,) = audit(Branch(), (torch.zeros(1, 3),), nano).findings
    assert finding.kind == "capture" and "Branch" in finding.reason


def test_a_pattern_without_layers_is_a_finding_and_a_wrong_name_a_mistake(nano):
    model, inputs = nn.Sequential(nn.Linear(8, 4)), (torch.zeros(1, 3, 8),)
    (finding,) = audit(model, inputs, nano, precision={"1": "w8a16"}).findings
    assert finding.kind == "precision" and "layers with a precision are *" in finding.reason
    with pytest.raises(HeddleError, match="unknown precision 'w8a61'"):
        audit(model, inputs, nano, precision={"0": "w8a61"})


REFERENCES = {
    "log10": lambda x, mask, ids: torch.log10(x),
    "masked_select": lambda x, mask, ids: torch.where(mask, x, torch.zeros(())),
    "bincount": lambda x, mask, ids: torch.bincount(ids, minlength=7),
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_what_to_write_instead_compiles_and_is_the_same(name):
    expression = EXPRESSIONS[name].split(", whose ")[0]
    x = torch.rand(5, 6, generator=torch.Generator().manual_seed(1)) * 0.8 + 0.1
    ids, mask = torch.tensor([3, 0, 3, 2, 4]), x > 0.5

    class Written(nn.Module):
        def forward(self, x, mask, ids):
            return eval(expression, {"torch": torch}, {"x": x, "mask": mask, "ids": ids, "n": 7})

    graph = legalise(follow_views(fold_constants(capture(Written(), (x, mask, ids)))))
    found = ir.interpret(graph, {"x": x, "mask": mask, "ids": ids})[0]
    torch.testing.assert_close(found.double(), REFERENCES[name](x, mask, ids).double(), rtol=1e-4, atol=1e-5)
    assert name not in RULES


def test_of_a_call_with_a_rule_it_says_what_the_rule_takes():
    assert "whole numbers" in instead_of("aten.index.Tensor") and instead_of("aten.special_bessel_j0") == ""
