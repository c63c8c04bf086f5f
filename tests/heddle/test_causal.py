"""heddle generate with a directory of Hugging Face: a causal model as transformers writes it, its cache made by us."""

import json

import heddle as api
import pytest
import torch

transformers = pytest.importorskip("transformers", reason="the extra hf is not installed")
tokenizers = pytest.importorskip("tokenizers", reason="the extra hf is not installed")
from heddle.causal import read  # noqa: E402

SIZES = {
    "vocab_size": 24, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 8, "intermediate_size": 40, "max_position_embeddings": 4096, "eos_token_id": None, "pad_token_id": 0,
    "bos_token_id": 1,
}  # fmt: skip
IDS = [5, 7, 9, 11, 3, 8, 2, 14, 15, 16]
WORDS = ["the", "a", "cat", "dog", "sees", "hears", "big", "small", ".", ","]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Normed heads, grouped queries, rotary embeddings; weights so large that no two logits are near each other."""
    torch.manual_seed(2)
    path = tmp_path_factory.mktemp("hf") / "tiny-qwen"
    model = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**SIZES))
    for each in model.parameters():
        if each.ndim > 1:
            torch.nn.init.normal_(each, std=0.4)
    model.save_pretrained(path)
    return path


@pytest.fixture
def with_tokenizer(saved):
    path = saved / "tokenizer.json"
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="."))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(path))
    yield saved
    path.unlink()


def test_greedy_text_is_that_of_pytorch(heddle, saved):
    code, output, error = heddle("generate", saved, "--prompt", " ".join(map(str, IDS)), "--tokens", 4,
                                 "--precision", "w16a16", "--json")  # fmt: skip
    assert code == 0, error
    figures = json.loads(output)
    model = transformers.AutoModelForCausalLM.from_pretrained(saved).eval()
    ids = list(IDS)
    for _ in range(4):
        with torch.no_grad():
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    assert figures["text"] == "".join(f" {each}" for each in ids[len(IDS) :])
    assert figures["model"] == "tiny-qwen" and figures["matches_pytorch"] is True


def test_a_session_takes_the_model_as_transformers_has_it(saved):
    model = transformers.AutoModelForCausalLM.from_pretrained(saved).eval()
    session = api.Session(model, "small", api.CachePlan(32), chunk=8, options={"precision": "w16a16"})
    run = session.feed(IDS)[-1]
    with torch.no_grad():
        golden = model(input_ids=torch.tensor([IDS])).logits[0, -1]
    assert (golden - torch.from_numpy(run.logits[-1])).norm() < 0.03 * golden.norm()  # keys and values are int8


def test_text_goes_through_the_tokenizer_and_stops_at_its_end(heddle, with_tokenizer):
    model = read(str(with_tokenizer))
    assert model.encode("the cat sees") == [0, 2, 4] and model.decode([1, 3]) == "a dog"
    assert not model.stop and model.context == 4096
    ends = json.loads((with_tokenizer / "generation_config.json").read_text())
    first = int(model.model()(torch.tensor([[0, 2, 4, 6, 1, 3, 5, 7]]))[0, -1].argmax())
    (with_tokenizer / "generation_config.json").write_text(json.dumps({**ends, "eos_token_id": [first]}))
    try:
        code, output, error = heddle("generate", with_tokenizer, "--prompt", "the cat sees big a dog hears small",
                                     "--tokens", 6, "--precision", "w16a16", "--json")  # fmt: skip
        assert code == 0, error
        assert json.loads(output)["tokens"] == 1
    finally:
        (with_tokenizer / "generation_config.json").write_text(json.dumps(ends))


@pytest.mark.parametrize("prompt,message", [
    ("the cat", "without a tokenizer.json a prompt must be ids, such as \"17 4 23\", not 'the cat'"),
    ("3 24", "ids must be from 0 to 23, not 24"),
])  # fmt: skip
def test_a_prompt_of_no_ids_is_refused(heddle, saved, prompt, message):
    code, _, error = heddle("generate", saved, "--prompt", prompt)
    assert code == 2 and message in error


def test_what_is_no_causal_model_is_refused(heddle, tmp_path, saved):
    config = transformers.BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
                                     intermediate_size=8, max_position_embeddings=8)  # fmt: skip
    transformers.BertModel(config).save_pretrained(tmp_path / "bert")
    code, _, error = heddle("generate", tmp_path / "bert", "--prompt", "3")
    assert code == 2 and "has a BertModel, which is no causal language model" in error
    (saved / "tokenizer.json").write_text("{")
    code, _, error = heddle("generate", saved, "--prompt", "3")
    (saved / "tokenizer.json").unlink()
    assert code == 2 and "tokenizer.json cannot be read" in error
