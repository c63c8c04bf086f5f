"""Full-size models of which only the shapes are there: timing needs no weights, so 7 billion of them take no memory.

`build` makes the module with its parameters on the device "meta". Tables that are no parameters (rotary angles, masks)
are real and on the CPU: the compiler reads some of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .bert import BERT_BASE, BERT_LARGE, BertConfig
from .deepseek import DEEPSEEK_V3, DeepseekConfig
from .gpt2 import GPT2_LARGE, GPT2_MEDIUM, GPT2_SMALL, GPT2_XL
from .huggingface import Config, architecture_of, read_config
from .llama import LLAMA2_7B, LLAMA3_8B, LlamaConfig
from .vit import VIT_B16, VitConfig

LONGEST_MASK = 16384  # tokens: the mask of a sliding window has a byte for each pair of them


@dataclass(frozen=True)
class Shape:
    """A model without weights."""

    name: str
    config: Config

    @property
    def layers(self) -> int:
        """Layers, if `build` is not told otherwise."""
        return self.config.depth

    @property
    def all_layers(self) -> int:
        """Layers of the model itself: with those that cannot be built."""
        return self.layers + self._expert_layers

    @property
    def _expert_layers(self) -> int:
        return self.config.expert_layers if isinstance(self.config, DeepseekConfig) else 0

    def part(self, layers: int | None = None) -> str:
        """What is built with so many layers, of all that the model has; empty for just these."""
        built = layers or self.layers
        if built == self.all_layers:
            return ""
        if built > self.all_layers:
            return f"{built} layers instead of {self.all_layers}"
        return f"{built} of {self.all_layers} layers" + (" (the dense ones)" if built == self.layers else "")

    def check_layers(self, layers: int | None) -> None:
        """Raise ValueError for a number of layers that cannot be built."""
        if layers is not None and layers < 1:
            raise ValueError(f"{self.name} must have at least 1 layer, not {layers}")
        if layers is not None and self._expert_layers and layers > self.layers:
            raise ValueError(f"{self.name} must have at most {self.layers} layers, not {layers}: the others of its "
                             f"{self.all_layers} have experts, which are not built")  # fmt: skip

    @property
    def decoder(self) -> bool:
        """Whether it is a causal language model, which can be compiled with a KV cache."""
        return not isinstance(self.config, (BertConfig, VitConfig))

    @property
    def context(self) -> int:
        """Longest sequence, in tokens."""
        if isinstance(self.config, VitConfig):
            return self.config.patches + 1
        return self.config.positions if isinstance(self.config, BertConfig) else self.config.context

    def cut(self, context: int) -> Shape:
        """The same for sequences of up to `context` tokens, if it has a sliding window: its mask has an element for
        each pair of them, and it needs none where the window sees them all."""
        config = self.config
        if not isinstance(config, LlamaConfig) or not config.window or not 0 < context < config.context:
            return self
        return replace(self, config=replace(config, context=context, window=config.window * (config.window < context)))

    def build(self, layers: int | None = None) -> nn.Module:
        """The module, in evaluation mode, with as many layers as asked for; its `built_part` says what `part` does.
        Raises ValueError for less than one layer, for layers that cannot be built and for a mask that is too large."""
        self.check_layers(layers)
        if isinstance(self.config, LlamaConfig) and self.config.window and self.context > LONGEST_MASK:
            raise ValueError(f"{self.name} has a sliding window: its context must be at most {LONGEST_MASK}, not "
                             f"{self.context}")  # fmt: skip
        config = replace(self.config, depth=self.layers if layers is None else layers)
        module = weightless(lambda: architecture_of(config)(config))
        module.built_part = self.part(layers)  # type: ignore[arg-type]
        return module

    def example_inputs(self, tokens: int | None = None) -> tuple[Tensor, ...]:
        """The arguments of forward for one sequence (default: the longest), zeros. Raises ValueError for a length that
        the model cannot have."""
        config, tokens = self.config, self.context if tokens is None else tokens
        if isinstance(config, VitConfig):
            if tokens != self.context:
                raise ValueError(f"{self.name} always has {self.context} tokens, not {tokens}")
            return (torch.zeros(1, config.channels, config.image_size, config.image_size),)
        if not 1 <= tokens <= self.context:
            raise ValueError(f"{self.name} takes from 1 to {self.context} tokens, not {tokens}")
        ids = torch.zeros(1, tokens, dtype=torch.int64)
        return (ids, ids.clone()) if isinstance(config, BertConfig) else (ids,)


SHAPES: dict[str, Shape] = {
    shape.name: shape
    for shape in [
        Shape("bert-base", BERT_BASE),
        Shape("bert-large", BERT_LARGE),
        Shape("vit-b16", VIT_B16),
        Shape("gpt2-small", GPT2_SMALL),
        Shape("gpt2-medium", GPT2_MEDIUM),
        Shape("gpt2-large", GPT2_LARGE),
        Shape("gpt2-xl", GPT2_XL),
        Shape("llama-2-7b", LLAMA2_7B),
        Shape("llama-3-8b", LLAMA3_8B),
        Shape("deepseek-v3", replace(DEEPSEEK_V3, depth=3, expert_layers=58)),
    ]
}


def find(name: str) -> Shape:
    """The shape of that name, or of the Hugging Face config.json (or the directory with it) at that path. Raises
    ValueError for an unknown name or a file that asks for what our models do not have; OSError for one that cannot be
    read."""
    if name in SHAPES:
        return SHAPES[name]
    path = Path(name) / "config.json" if Path(name).is_dir() else Path(name)
    if path.suffix != ".json":
        raise ValueError(f"unknown model {name!r}; models are {', '.join(SHAPES)}, or the path of a config.json")
    return Shape(path.parent.name if path.stem == "config" and path.parent.name else path.stem, read_config(path))


def build(name: str, layers: int | None = None) -> nn.Module:
    """The module of the shape of that name or path."""
    return find(name).build(layers)


def weightless(build: Callable[[], nn.Module]) -> nn.Module:
    """What `build` makes, in evaluation mode, its parameters without bytes: on "meta"."""
    with _ParametersOnMeta():
        return build().eval()


class _ParametersOnMeta(TorchFunctionMode):
    """Sends to "meta" what parameters are made by; other tensors are computed as ever."""

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in (torch.empty, torch.randn):
            kwargs = {**kwargs, "device": "meta"}
        return function(*args, **kwargs)
