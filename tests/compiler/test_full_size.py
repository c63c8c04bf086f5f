"""Full-size models without weights up to the graph of quantised operators: what they become, and how quickly."""

import subprocess
import sys

import pytest
from heddle.compiler.decoder import decoder_graph
from heddle.compiler.pipeline import front_end
from heddle.compiler.precision import PrecisionRule
from heddle.compiler.weightless import has_bytes
from heddle.models.shapes import find

ATTENTION = ["norm", "quantise", "attention", "quantise", "linear"]
CACHED = ["norm", "quantise", "cached_attention", "quantise", "linear"]
LATENT = [  # the latent of keys and values, and that of queries, each with its norm
    "norm", "quantise", "linear", "norm", "linear", "norm", "quantise", "cached_attention", "quantise", "linear",
]  # fmt: skip
MLP = ["norm", "quantise", "linear", "linear"]
GATED = ["norm", "quantise", "linear", "linear", "linear"]
HEAD = ["norm", "quantise", "linear"]


def graph_of(name, tokens, layers, rows=256):
    shape = find(name)
    if not shape.decoder:
        return front_end(shape.build(layers), shape.example_inputs(tokens), lambda name, graph: None)
    return decoder_graph(shape.build(layers), tokens, rows, PrecisionRule(), None, True, lambda name, graph: None)


def operators(graph):
    return [node.op for node in graph if node.op not in ("input", "constant")]


@pytest.mark.parametrize("name", ["gpt2-small", "gpt2-medium", "gpt2-large", "gpt2-xl"])
def test_gpt2_is_its_layers_between_embeddings_and_a_tied_head(name):
    graph = graph_of(name, 1024, layers=2)
    assert sorted(operators(graph)[:3]) == ["elementwise", "embedding", "position_rows"]
    assert operators(graph)[3:] == [*[*CACHED, *MLP] * 2, *HEAD]
    head, table = graph.output.matrix, next(node.table for node in graph if node.op == "embedding")
    assert head.codes.shape == table.shape == (50257, find(name).config.width)
    assert not has_bytes(head.codes) and not has_bytes(table)


@pytest.mark.parametrize("name", ["bert-base", "bert-large"])
def test_bert_is_its_layers_between_embeddings_and_a_pooler(name):
    graph = graph_of(name, 384, layers=2)
    layer = [*ATTENTION[1:], *MLP]  # and then a norm
    assert operators(graph) == [
        "embedding", "embedding", "elementwise", "elementwise", *["norm", *layer] * 2, "norm", "rows", "quantise",
        "linear", "linear",
    ]  # fmt: skip


def test_vit_is_its_layers_between_patches_and_a_head():
    graph = graph_of("vit-b16", None, layers=2)
    assert operators(graph) == ["patch_embedding", *[*ATTENTION, *MLP] * 2, "rows", *HEAD]
    patches = graph.nodes[1]
    assert (patches.shape, patches.patches, patches.matrix.codes.shape) == ((1, 197, 768), 196, (768, 768))


@pytest.mark.parametrize(("name", "kv_heads"), [("llama-2-7b", 32), ("llama-3-8b", 8)])
def test_llama_is_its_layers_between_an_embedding_and_a_head(name, kv_heads):
    graph = graph_of(name, 4096, layers=2)
    assert operators(graph) == ["embedding", *[*CACHED, *GATED] * 2, *HEAD]
    attention = next(node for node in graph if node.op == "cached_attention")
    assert {role: len(heads) for role, heads in attention.roles.items()} == {
        "query": 32, "key": kv_heads, "value": kv_heads,
    }  # fmt: skip
    assert attention.rotary[0].shape == (4096, 64) and has_bytes(*attention.rotary)


def test_deepseek_caches_one_latent_and_one_rotated_key():
    graph = graph_of("deepseek-v3", 4096, layers=2)
    assert operators(graph) == ["embedding", *[*LATENT, *GATED] * 2, *HEAD]
    attention = next(node for node in graph if node.op == "cached_attention")
    assert [part.width for part in attention.roles["key"][0]] == [512, 64] and len(attention.roles["key"]) == 1
    assert len(attention.roles["query"]) == 128 and attention.width == 128


MEASURE = """
import resource, sys, time
from heddle.compiler.decoder import decoder_graph
from heddle.compiler.pipeline import front_end
from heddle.compiler.precision import PrecisionRule
from heddle.models.shapes import find
begin, shape, tokens = time.process_time(), find(sys.argv[1]), int(sys.argv[2])
if shape.decoder:
    decoder_graph(shape.build(), tokens, 256, PrecisionRule(), None, True, lambda name, graph: None)
else:
    front_end(shape.build(), shape.example_inputs(tokens), lambda name, graph: None)
print(time.process_time() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""


@pytest.mark.long
@pytest.mark.parametrize(("name", "tokens", "seconds"), [("bert-base", 384, 5), ("llama-2-7b", 2048, 15)])
def test_whole_models_take_seconds_and_less_than_a_gigabyte(name, tokens, seconds):
    command = [sys.executable, "-c", MEASURE, name, str(tokens)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    took, gigabytes = map(float, result.stdout.split())
    assert took < seconds and gigabytes < 1
