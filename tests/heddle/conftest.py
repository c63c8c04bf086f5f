"""The command as a function, and language models small enough to compile in seconds."""

import sys

import pytest
import torch
from heddle.cli import main
from heddle.models import text
from heddle.models.gpt2 import Gpt2, Gpt2Config
from heddle.models.llama import Llama, LlamaConfig


@pytest.fixture
def heddle(monkeypatch, capsys, tmp_path):
    """Run `heddle ARGUMENTS` in an empty directory: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["heddle", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        output = capsys.readouterr()
        return code, output.out, output.err

    return call


class Untrained(text.LanguageModel):
    """Has random weights, always the same."""

    def model(self) -> torch.nn.Module:
        torch.manual_seed(5)
        return self.architecture(self.config).eval()


@pytest.fixture
def tiny(monkeypatch) -> Untrained:
    """The language model `tiny`: a GPT-2 of one layer that reads 32 characters."""
    config = Gpt2Config(context=32, width=16, depth=1, heads=2)
    language_model = Untrained("tiny", "for tests", Gpt2, config)
    monkeypatch.setitem(text.LANGUAGE_MODELS, "tiny", language_model)
    return language_model


@pytest.fixture
def windowed() -> torch.nn.Module:
    """A Llama of one layer whose tokens see 7."""
    torch.manual_seed(5)
    return Llama(LlamaConfig(context=48, width=16, depth=1, heads=2, kv_heads=1, hidden=24, window=7)).eval()


@pytest.fixture(scope="session")
def tiny_minilm(tmp_path_factory):
    """A directory as the package of MiniLM has it: a BERT of one layer, and a tokenizer of ten words."""
    transformers, tokenizers = pytest.importorskip("transformers"), pytest.importorskip("tokenizers")
    path = tmp_path_factory.mktemp("minilm") / "model"
    torch.manual_seed(4)
    config = transformers.BertConfig(vocab_size=16, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                                     intermediate_size=48, max_position_embeddings=24)  # fmt: skip
    transformers.BertModel(config).save_pretrained(path)
    words = ["a", "the", "cat", "dog", "sees", "hears", "big", "small", ".", ","]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="."))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(path / "tokenizer.json"))
    return path


@pytest.fixture
def minilm(monkeypatch, tiny_minilm):
    """`tiny_minilm` in the place of the package's."""
    monkeypatch.setattr("heddle.models.minilm.directory", lambda: tiny_minilm)
    return tiny_minilm
