"""torch.export into our graph: names, shapes, lines of the model, refusals."""

import pytest
import torch
from heddle.arch.config import PRESETS
from heddle.arch.errors import HeddleError
from heddle.compiler.builder import Tiling
from heddle.compiler.cache import CachePlan
from heddle.compiler.capture import capture
from heddle.compiler.decoder import compile_decoder
from heddle.compiler.pipeline import compile
from heddle.models import llama
from heddle.models.bert import BertConfig
from heddle.models.deepseek import DeepseekConfig
from heddle.models.gpt2 import Gpt2, Gpt2Config
from heddle.models.shapes import Shape
from torch import nn


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 2)

    def forward(self, x):
        return torch.sin(self.inner(x))


def test_nodes_carry_shape_layer_and_line():
    graph = capture(Small(), [torch.zeros(1, 3, 4)])
    linear, sine = graph.nodes[-2:]
    assert (linear.op, linear.shape, linear.layer) == ("aten.linear", (1, 3, 2), "inner")
    assert (sine.op, graph.output) == ("aten.sin", sine)
    assert linear.source.startswith("test_capture.py:") and "torch.sin(self.inner(x))" in linear.source


def test_inputs_keep_the_names_of_forward_and_know_whether_they_are_integers():
    class Choose(nn.Module):
        def forward(self, table, ids):
            return table[:, 0] + ids

    graph = capture(Choose(), [torch.zeros(1, 3, 4), torch.zeros(1, 4, dtype=torch.int64)])
    assert [(node.name, node.integer) for node in graph if node.op == "input"] == [("table", False), ("ids", True)]


def test_parameters_and_buffers_are_constants():
    model = Small()
    model.register_buffer("shift", torch.ones(2))
    model.forward = lambda x: model.inner(x) + model.shift  # type: ignore[method-assign]
    graph = capture(model, [torch.zeros(1, 3, 4)])
    values = {node.name: node.value for node in graph if node.op == "constant"}
    assert torch.equal(values["p_inner_weight"], model.inner.weight)
    assert torch.equal(values["b_shift"], model.shift)


def test_it_leaves_the_training_mode_alone():
    model = Small().train()
    capture(model, [torch.zeros(1, 3, 4)])
    assert model.training


def test_a_buffer_that_changes_is_refused():
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.zeros(1))

        def forward(self, x):
            self.seen += 1
            return x + self.seen

    with pytest.raises(HeddleError, match="Counter must change no buffer, but changes seen"):
        capture(Counter(), [torch.zeros(1, 3)])


def test_a_model_that_torch_cannot_export_is_refused():
    class Branch(nn.Module):
        def forward(self, x):
            return x if x.sum().item() > 0 else -x

    with pytest.raises(HeddleError, match="torch.export cannot capture Branch"):
        capture(Branch(), [torch.zeros(1, 3)])


class Written(nn.Module):
    """A sum of x and itself in a roundabout way, and in place."""

    def forward(self, x):
        y = torch.sin(x)
        y.add_(x.ravel().to(torch.float32).view(1, 3, 4))
        return y


def test_writes_and_rarer_views_are_reduced_to_what_the_compiler_follows():
    graph = capture(Written(), [torch.zeros(1, 3, 4)])
    ops = {node.op for node in graph}
    assert "aten.add.Tensor" in ops and not ops & {"aten.add_.Tensor", "aten.ravel", "aten.to.dtype"}


def test_a_plain_model_is_traced_once(monkeypatch):
    def decompose(*_):
        raise AssertionError("traced again")

    monkeypatch.setattr("torch.export.ExportedProgram.run_decompositions", decompose)
    config = llama.LlamaConfig(vocabulary=9, context=8, width=8, depth=1, heads=2, kv_heads=1, hidden=12)
    models = [llama.Llama(config), Gpt2(Gpt2Config(vocabulary=9, context=8, width=8, depth=1, heads=2))]
    for model in models:
        assert capture(model, [torch.zeros(1, 8, dtype=torch.int64)]).output.shape == (1, 8, 9)
    with pytest.raises(HeddleError, match="traced again"):
        capture(Written(), [torch.zeros(1, 3, 4)])


def test_one_tensor_given_twice_is_two_inputs():
    class Sum(nn.Module):
        def forward(self, x, y):
            return torch.sin(x) + torch.cos(y)

    x = torch.zeros(1, 3, 4)
    graph = capture(Sum(), [x, x])
    sine, cosine = (next(node for node in graph if node.op == op) for op in ("aten.sin", "aten.cos"))
    assert (sine.inputs[0].name, cosine.inputs[0].name) == ("x", "y") and graph.inputs == ["x", "y"]


@pytest.mark.parametrize("fails", [False, True])
def test_each_module_keeps_its_own_mode(fails):
    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.frozen, self.learning = nn.Dropout(0.5), nn.Dropout(0.5)

        def forward(self, x):
            if fails:
                raise ValueError("no")
            return self.learning(self.frozen(x))

    model = Holder().train()
    model.frozen.eval()
    try:
        capture(model, [torch.zeros(1, 3, 4)])
    except HeddleError:
        assert fails
    assert (model.training, model.frozen.training, model.learning.training) == (True, False, True)


def test_a_shape_that_depends_on_data_is_refused():
    class Seen(nn.Module):
        def forward(self, x):
            return torch.where(x > 0)[0]

    with pytest.raises(HeddleError, match="its shape depends on data"):
        capture(Seen(), [torch.zeros(1, 3, 4)]).require_possible()


def test_a_program_of_a_part_of_a_model_says_so():
    config = PRESETS["nano"]
    decoder = Shape("latent", DeepseekConfig(vocabulary=61, context=16, depth=2, expert_layers=7))
    encoder = Shape("encoder", BertConfig(vocabulary=61, positions=16, depth=3))
    for layers, said in ((None, "2 of 9 layers (the dense ones)"), (1, "1 of 9 layers")):
        assert compile_decoder(decoder.build(layers), config, CachePlan(16), tiling=Tiling()).part == said
    for layers, said in ((None, ""), (1, "1 of 3 layers"), (4, "4 layers instead of 3")):
        found = compile(encoder.build(layers), encoder.example_inputs(4), config, tiling=Tiling())
        assert found.part == said


def test_what_a_model_calls_its_part_otherwise_is_its_own():
    model = nn.Linear(8, 8)
    model.built_part = nn.Linear(8, 8)
    assert compile(model.eval(), (torch.zeros(1, 2, 8),), PRESETS["nano"]).part == ""
