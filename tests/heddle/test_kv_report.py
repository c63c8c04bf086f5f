"""heddle kv-report: the costs are those of runs, and layers are counted right."""

import json
from dataclasses import replace

import pytest
from heddle.arch.config import PRESETS
from heddle.compiler.builder import Tiling
from heddle.compiler.cache import CachePlan
from heddle.models.deepseek import DeepseekConfig
from heddle.models.gpt2 import Gpt2, Gpt2Config
from heddle.models.shapes import SHAPES, Shape
from heddle.session import Session
from heddle.token_costs import Cost, Costs, TokenCosts, scaled

SMALL = PRESETS["small"]


def runs_of(model, tokens, head, chunk):
    options = {"head": head, "tiling": Tiling()}
    session = Session(model, SMALL, CachePlan(24), context=32, chunk=chunk, options=options)
    return [Cost(run.cycles, sum(run.result.bytes.values())) for run in session.feed(range(tokens))]


def test_costs_are_those_of_a_session(tiny):
    model = tiny.model()
    costs = Costs(model, SMALL, 24, 8, 32, {"tiling": Tiling()})
    step, body = runs_of(model, 18, True, 1)[-1], runs_of(model, 18, False, 1)[-1]
    sequence = sum(runs_of(model, 18, False, 8), Cost()) + step - body
    found = costs.at(18)
    assert found == TokenCosts(18, sequence * (1 / 18), step, sequence)
    assert found.ratio == sequence.cycles / step.cycles > 1


def test_all_layers_follow_from_one_and_two():
    one = TokenCosts(8, Cost(10, 100), Cost(20, 200), Cost(30, 300))
    two = TokenCosts(8, Cost(14, 101), Cost(25, 202), Cost(36, 303))
    assert scaled(one, two, 1) == one and scaled(one, two, 2) == two
    assert scaled(one, two, 12) == TokenCosts(8, Cost(54, 111), Cost(75, 222), Cost(96, 333))


def test_three_layers_are_near_what_one_and_two_say():
    def costs(depth):
        model = Gpt2(Gpt2Config(context=32, width=16, depth=depth, heads=2)).eval()
        return Costs(model, SMALL, 16, 8, 32, {"tiling": Tiling()}).at(16)

    one, two, three = map(costs, (1, 2, 3))
    said = scaled(one, two, 3)
    for name in ("prompt", "cached", "recomputed"):
        assert getattr(said, name).cycles == pytest.approx(getattr(three, name).cycles, rel=0.05)
        assert getattr(said, name).bytes == pytest.approx(getattr(three, name).bytes, rel=0.02)


def test_the_report_as_table_json_and_picture(heddle, tiny, tmp_path):
    arguments = "kv-report", "tiny", "--config", "small", "--contexts", "32,8"
    code, output, error = heddle(*arguments, "--json", "--plot", "kv.svg")
    assert code == 0, error
    figures = json.loads(output)
    assert [each["context"] for each in figures["contexts"]] == [8, 32]
    assert figures["layer_count"] == 1 and figures["measured_layer_counts"] == [1] and figures["chunk_tokens"] == 32
    short, long = figures["contexts"]
    assert long["recomputed_cycles_per_token"] > long["cached_cycles_per_token"] > short["cached_cycles_per_token"]
    assert long["prefill_cycles_per_token"] * 32 == pytest.approx(long["recomputed_cycles_per_token"])
    assert long["cycles_ratio"] > 1 and long["cached_bytes_per_token"] > short["cached_bytes_per_token"]
    assert (tmp_path / "kv.svg").read_text().startswith("<?xml")
    assert [each.name for each in tmp_path.iterdir()] == ["kv.svg"]


def test_a_shape_is_scaled_and_says_so(heddle, monkeypatch):
    shape = Gpt2Config(context=32, width=16, depth=5, heads=2)
    monkeypatch.setitem(SHAPES, "gpt2-small", Shape("gpt2-small", shape))
    code, output, error = heddle("kv-report", "gpt2-small", "--config", "small", "--contexts", "8", "--layers", "5")
    assert code == 0, error
    assert "No weights; timed with 1 and with 2 layers" in output and "× 5" in output
    monkeypatch.setitem(SHAPES, "gpt2-small", Shape("gpt2-small", replace(shape, depth=1)))
    figures = json.loads(
        heddle("kv-report", "gpt2-small", "--config", "small", "--contexts", "8", "--layers", "1", "--json")[1]
    )
    assert figures["measured_layer_counts"] == [1] and "per_layer" not in figures


@pytest.mark.parametrize(
    ("layers", "said"), [((), "2 of 9 layers (the dense ones)"), (("--layers", "1"), "1 of 9 layers")]
)
def test_a_part_of_a_model_says_so(heddle, monkeypatch, layers, said):
    sizes = dict(vocabulary=61, context=32, width=32, heads=2, hidden=48, query_rank=16, kv_rank=16, plain_width=8,
                 rotary_width=8, value_width=8)  # fmt: skip
    shape = Shape("deepseek-v3", DeepseekConfig(depth=2, expert_layers=7, **sizes))
    monkeypatch.setitem(SHAPES, "deepseek-v3", shape)
    arguments = "kv-report", "deepseek-v3", "--config", "small", "--contexts", "8", *layers
    assert f"deepseek-v3 on small, {said}: per token" in heddle(*arguments)[1]
    assert json.loads(heddle(*arguments, "--json")[1])["part"] == said


MISTAKES = {
    "unknown model": (["gpt5"], "unknown model 'gpt5' (did you mean gpt2?); models are gpt2, llama, deepseek, tiny, "),
    "no decoder": (["bert-base"], "bert-base has no cache to report on: it is not a causal language model"),
    "no file": (["nowhere/config.json"], "cannot read nowhere/config.json: No such file or directory"),
    "no number": (["tiny", "--contexts", "8,many"], "--contexts must be whole numbers with commas between"),
    "nothing": (["tiny", "--contexts", ""], "--contexts must be whole numbers"),
    "too long": (["tiny", "--contexts", "8,33"], "--contexts must be from 1 to 32, the context of tiny, not 33"),
    "zero": (["tiny", "--contexts", "0"], "--contexts must be from 1 to 32"),
    "layers of a trained model": (["tiny", "--layers", "3"], "--layers is for shapes"),
    "layers with experts": (["deepseek-v3", "--layers", "10"], "deepseek-v3 must have at most 3 layers, not 10"),
    "no layers": (["gpt2-small", "--layers", "0"], "gpt2-small must have at least 1 layer, not 0"),
    "no picture": (["tiny", "--contexts", "8", "--plot", "kv.txt"], "the name must end in .png, .svg or .pdf"),
    "no directory": (["tiny", "--contexts", "8", "--plot", "none/kv.png"], "its directory does not exist"),
    "unknown config": (["tiny", "--config", "huge"], "unknown configuration 'huge'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(heddle, tiny, mistake):
    arguments, message = MISTAKES[mistake]
    code, output, error = heddle("kv-report", *arguments)
    assert code == 2 and message in error and error.count("\n") == 1 and not output
