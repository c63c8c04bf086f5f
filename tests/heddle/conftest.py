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
