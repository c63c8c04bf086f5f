"""Full-size models without weights."""

import json

import pytest
import torch
from heddle.models.gpt2 import Gpt2
from heddle.models.llama import LlamaConfig, banded_mask
from heddle.models.shapes import SHAPES, Shape, build, find
from torch import nn

# As counted in the weights that were released; of DeepSeek-V3 from the sizes in its report.
PARAMETERS = {
    "bert-base": 109_482_240 + 2 * 769, "bert-large": 335_141_888 + 2 * 1025, "vit-b16": 86_567_656,
    "gpt2-small": 124_439_808, "gpt2-medium": 354_823_168, "gpt2-large": 774_030_080, "gpt2-xl": 1_557_611_200,
    "llama-2-7b": 6_738_415_616, "llama-3-8b": 8_030_261_248,
    "deepseek-v3": 2 * 129280 * 7168 + 7168 + 3 * (
        7168 * 1536 + 1536 + 1536 * 128 * 192 + 7168 * 576 + 512 + 512 * 128 * 256 + 128 * 128 * 7168
        + 3 * 7168 * 18432 + 2 * 7168
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_full_sizes_have_the_published_number_of_parameters_and_no_bytes(name):
    model = build(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]
    assert all(parameter.is_meta for parameter in model.parameters())
    assert not any(buffer.is_meta for buffer in model.buffers())
    assert not model.training


@pytest.mark.parametrize("name", SHAPES)
def test_models_take_their_example_inputs(name):
    shape = find(name)
    inputs = shape.example_inputs() if name == "vit-b16" else shape.example_inputs(5)
    model = shape.build(layers=1)
    assert len(model.layers) == 1  # type: ignore[arg-type]
    with torch.device("meta"):
        result = model.to("meta")(*(each.to("meta") for each in inputs))
    assert result.shape == ((1, 5, shape.config.vocabulary) if shape.decoder else (1, shape.config.classes))


def test_tables_are_those_of_a_model_with_weights():
    config = LlamaConfig(window=7)
    model = Shape("small", config).build()
    assert torch.equal(model.mask, banded_mask(config.context, 7)) and model.cos[0].eq(1).all()


def test_lengths_and_depths_are_checked():
    assert [find(name).context for name in ("bert-base", "vit-b16", "llama-3-8b")] == [512, 197, 8192]
    assert find("bert-base").example_inputs()[1].shape == (1, 512)
    with pytest.raises(ValueError, match="gpt2-xl must have at least 1 layer, not 0"):
        build("gpt2-xl", layers=0)
    with pytest.raises(ValueError, match="bert-base takes from 1 to 512 tokens, not 513"):
        find("bert-base").example_inputs(513)
    with pytest.raises(ValueError, match="vit-b16 always has 197 tokens, not 196"):
        find("vit-b16").example_inputs(196)


def test_a_configuration_file_is_a_shape_too(tmp_path):
    directory = tmp_path / "my-gpt2"
    directory.mkdir()
    fields = {"model_type": "gpt2", "vocab_size": 31, "n_positions": 16, "n_embd": 8, "n_layer": 3, "n_head": 2}
    (directory / "config.json").write_text(json.dumps(fields))
    for path in (directory, directory / "config.json"):
        shape = find(str(path))
        assert (shape.name, shape.layers, shape.context, shape.decoder) == ("my-gpt2", 3, 16, True)
    model = build(str(directory), layers=2)
    assert isinstance(model, Gpt2) and isinstance(model.layers, nn.ModuleList) and len(model.layers) == 2


def test_unknown_names_are_refused():
    with pytest.raises(
        ValueError, match="unknown model 'bert'; models are bert-base, .*, or the path of a config.json"
    ):
        find("bert")
    with pytest.raises(FileNotFoundError):
        find("nowhere/config.json")
