"""The language models that ship with weights, by name, and the prompts that runs of them start from.

All read and write characters of `docstrings`. A model is the plain forward over a whole sequence.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from .deepseek import Deepseek, DeepseekConfig
from .docstrings import decode, encode
from .gpt2 import Gpt2, Gpt2Config
from .llama import Llama, LlamaConfig

WEIGHTS = Path(__file__).parent / "weights"

# Chosen by PyTorch in float32 alone: in 64 greedy steps from each, with each of the models, the best logit is at least
# 0.04 above the second. Nearer ties are decided by the last bits of a 16-bit format, and say nothing about a machine.
PROMPTS = (
    "Raise ValueError if",
    "The default is",
    "Test whether the ",
    "Set the value of ",
    "Remove all ",
)  # fmt: skip


@dataclass(frozen=True)
class LanguageModel:
    """A trained decoder: `model` loads it; `encode` and `decode` are between text and the ids of its forward."""

    name: str
    description: str
    architecture: Callable[[Any], nn.Module]  # makes a model of the config, with random weights
    config: Gpt2Config | LlamaConfig | DeepseekConfig
    encode: Callable[[str], list[int]] = encode
    decode: Callable[[list[int]], str] = decode
    stop: frozenset[int] = frozenset()  # ids that end a text
    small: bool = True  # a cache for its whole context is no burden

    @property
    def context(self) -> int:
        """Longest sequence, in characters."""
        return self.config.context

    @property
    def weights(self) -> Path:
        """The file of the shipped weights, float16."""
        return WEIGHTS / f"{self.name}-docstrings.safetensors"

    def model(self) -> nn.Module:
        """The model with the shipped weights, in float32 and in evaluation mode."""
        if not self.weights.is_file():
            raise FileNotFoundError(
                f"{self.weights} is missing: make it with python -m heddle.models.train_text {self.name}"
            )
        model = self.architecture(self.config)
        model.load_state_dict({name: tensor.float() for name, tensor in load_file(self.weights).items()})
        return model.eval()


LANGUAGE_MODELS: dict[str, LanguageModel] = {
    language_model.name: language_model
    for language_model in [
        LanguageModel("gpt2", "learned positions, LayerNorm, GELU, tied head", Gpt2, Gpt2Config()),
        LanguageModel("llama", "rotary positions, RMSNorm, SwiGLU, grouped queries", Llama, LlamaConfig()),
        LanguageModel("deepseek", "multi-head latent attention, RMSNorm, SwiGLU", Deepseek, DeepseekConfig()),
    ]
}


@torch.no_grad()
def greedy(model: nn.Module, ids: list[int], count: int) -> tuple[list[int], Tensor]:
    """The `count` likeliest ids after `ids`, one at a time, and the logits (count, vocabulary) they were chosen by.

    Each step computes the whole sequence anew: the reference for a decoder with a cache.
    """
    sequence, chosen_by = list(ids), []
    for _ in range(count):
        logits = model(torch.tensor([sequence]))[0, -1]  # (V)
        chosen_by.append(logits)
        sequence.append(int(logits.argmax()))
    return sequence[len(ids) :], torch.stack(chosen_by)
