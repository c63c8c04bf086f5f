"""The zoo: one small model of every system that Heddle is for, each from its paper, by name.

A row has random weights from a seed (what is trained says so on its page) and a shape that RTL simulates in seconds;
`full` is the shape of its paper, without weights, for timing. `heddle zoo` compiles, runs and compares them all.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from . import bert_pretraining, components, dino, experts, ijepa, mae, mixtral, moco, simclr, sparse
from .bert import Bert, BertConfig
from .deepseek import Deepseek, DeepseekConfig
from .gpt2 import Gpt2, Gpt2Config
from .llama import Llama, LlamaConfig
from .llava import Llava, LlavaConfig
from .losses import NextToken, WithAuxiliary
from .self_supervised import TINY
from .shapes import SHAPES, weightless
from .token_merging import MergingVit
from .train_transformer import trained
from .transformer import TRANSFORMER_BASE, Transformer
from .vit import Vit, VitConfig

Inputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class System:
    """A row: `model` builds it, `inputs` draws the arguments of its forward, which may begin with its own weights."""

    name: str
    paper: str
    model: Callable[[], nn.Module]
    inputs: Callable[[Any], Inputs]
    full: Callable[[], tuple[nn.Module, Inputs]] | None = None
    optimiser: str = ""  # of a step of training: sgd or adamw

    def build(self, seed: int = 0) -> tuple[nn.Module, Inputs]:
        """The model in evaluation mode, and the arguments. The global generator is left as it is."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = self.model().eval()
            with torch.no_grad():
                return model, self.inputs(model)


def _ids(vocabulary: int, tokens: int) -> Callable[[Any], Inputs]:
    return lambda model: (torch.randint(0, vocabulary, (1, tokens)),)


def _tokens(tokens: int, width: int) -> Callable[[Any], Inputs]:
    return lambda model: (torch.randn(1, tokens, width),)


def _images(*counts: int) -> Inputs:
    """So many images of 8 × 8 pixels, for each of `counts`."""
    return tuple(torch.randn(count, 1, 8, 8) for count in counts)


def _views(count: int) -> Inputs:
    """Two noisy views of images."""
    (images,) = _images(count)
    return tuple(images + torch.randn(images.shape) / 4 for _ in range(2))


def _moved(module: nn.Module) -> Inputs:
    """Weights of a momentum encoder: not far from those of the online one."""
    return tuple(each.detach() + torch.randn(each.shape) / 100 for each in module.parameters())


def _followed(tokens: int, vocabulary: int) -> Inputs:
    """Ids, and the token after each."""
    ids = torch.randint(0, vocabulary, (1, tokens + 1))
    return ids[:, :-1], ids[:, 1:]


def _masked(model: nn.Module) -> Inputs:
    ids, segments, seen = bert_pretraining.pair([5, 6, 7], [8, 9, 10, 11], 16)
    words = torch.full_like(ids, bert_pretraining.IGNORED)
    for place in (2, 6):
        words[0, place] = ids[0, place]
        ids[0, place] = bert_pretraining.MASK
    return ids, segments, seen, words, torch.tensor([1])


def _shape(name: str, tokens: int | None = None) -> Callable[[], tuple[nn.Module, Inputs]]:
    return lambda: (SHAPES[name].build(), SHAPES[name].example_inputs(tokens))


def _base_transformer() -> tuple[nn.Module, Inputs]:
    ids = torch.zeros(1, 64, dtype=torch.int64)
    return weightless(lambda: Transformer(TRANSFORMER_BASE)), (ids, ids.clone())


def _experts(config: experts.ExpertsConfig, tokens: int) -> Callable[[], tuple[nn.Module, Inputs]]:
    return lambda: (weightless(lambda: experts.Experts(config)), (torch.zeros(1, tokens, config.width),))


_BERT, _VIT = BertConfig(), VitConfig(width=32, depth=2, heads=2)
_GPT2 = Gpt2Config(vocabulary=32, context=16, width=32, depth=2, heads=2)
_LLAMA = LlamaConfig(vocabulary=32, context=16, width=32, depth=2, heads=4, kv_heads=2, hidden=48)
_DEEPSEEK = DeepseekConfig(vocabulary=32, context=16, width=32, depth=2, heads=2, query_rank=24, kv_rank=16,
                           plain_width=16, rotary_width=16, value_width=16, hidden=48)  # fmt: skip
_SMALL = replace(TINY, width=16)  # where weights are inputs
_DEEPSEEK_EXPERTS = experts.ExpertsConfig(shared=1, scale=2.5, sigmoid=True)
_STEP = replace(_LLAMA, width=16, depth=1, hidden=24, context=8)  # of which no gradient is zero but for rounding


def _sparse(name: str) -> System:
    return System(
        f"sparse-{name}", _PAPERS.get(name, "Vaswani 2017"),
        lambda: sparse.SparseAttention(sparse.PATTERNS[name](128, *_SIZES.get(name, ())), 16), _tokens(128, 16),
    )  # fmt: skip


_PAPERS = {name: "Zaheer 2020" for name in ("window", "global", "random", "big-bird", "causal-big-bird")} | {
    "strided": "Child 2019", "fixed": "Child 2019", "dilated": "Beltagy 2020", "longformer": "Beltagy 2020",
}  # fmt: skip
_SIZES = {"window": (8,), "global": (8, 1), "random": (8, 1), "big-bird": (8,), "causal-big-bird": (8,),
          "strided": (16,), "fixed": (16, 4), "dilated": (8, 4), "longformer": (8, 8)}  # fmt: skip

ZOO: dict[str, System] = {
    system.name: system
    for system in [
        System("transformer", "Vaswani 2017", trained,
               lambda model: (torch.randint(5, 31, (1, 11)), torch.randint(5, 31, (1, 11))), _base_transformer),
        System("bert", "Devlin 2019", lambda: Bert(_BERT), lambda model: (
            torch.randint(0, 97, (1, 16)), torch.arange(16)[None] // 8), _shape("bert-base", 384)),
        System("bert-pretraining", "Devlin 2019", lambda: bert_pretraining.PretrainingLoss(_BERT), _masked),
        System("bert-pair", "Devlin 2019", lambda: bert_pretraining.PairClassifier(_BERT),
               lambda model: bert_pretraining.pair([5, 6, 7], [8, 9, 10, 11], 16)),
        System("vit", "Dosovitskiy 2021", lambda: Vit(_VIT), lambda model: _images(1), _shape("vit-b16")),
        System("gpt2", "Radford 2019", lambda: Gpt2(_GPT2), _ids(32, 16), _shape("gpt2-small", 1024)),
        System("llama", "Touvron 2023", lambda: Llama(_LLAMA), _ids(32, 16)),
        System("deepseek", "DeepSeek-AI 2024", lambda: Deepseek(_DEEPSEEK), _ids(32, 16)),
        System("deepseek-experts", "DeepSeek-AI 2024", lambda: experts.Experts(_DEEPSEEK_EXPERTS), _tokens(4, 32),
               _experts(experts.DEEPSEEK_V3, 1)),
        System("mixtral", "Jiang 2024", lambda: mixtral.Mixtral(mixtral.MixtralConfig()), _ids(96, 4),
               _experts(experts.MIXTRAL, 1)),
        System("llava", "Liu 2023", lambda: Llava(LlavaConfig()), lambda model: (
            *_images(1), torch.randint(0, 64, (1, 8)))),
        System("dino", "Caron 2021", lambda: dino.Dino(_SMALL, dino.DinoConfig()), lambda model: (
            *_images(2), torch.randn(2, 1, 4, 4), torch.randn(24), *_moved(model.student))),
        System("mae", "He 2022", lambda: mae.Mae(mae.MaeConfig()), lambda model: (
            *_images(1), *mae.shuffled(16, 0.25, 0))),
        System("i-jepa", "Assran 2023", lambda: ijepa.IJepa(_SMALL, replace(_SMALL, depth=1)), lambda model: (
            *_images(1), torch.tensor([0, 1, 2, 4, 5, 6, 8]), torch.tensor([[10, 11, 14, 15], [3, 7, 9, 13]]),
            *_moved(model.encoder))),
        System("simclr", "Chen 2020", lambda: simclr.SimClr(TINY), lambda model: _views(2)),
        System("moco", "He 2020", lambda: moco.Moco(_SMALL), lambda model: (
            *_views(2), model.online(*_images(6)), torch.tensor([5]), *_moved(model.online))),
        System("token-merging", "Bolya 2023", lambda: MergingVit(Vit(_VIT), 2), lambda model: _images(1)),
        *(_sparse(name) for name in (
            "causal", "window", "global", "random", "big-bird", "strided", "fixed", "dilated", "longformer",
            "causal-big-bird",
        )),
        System("norms", "Ba 2016, Zhang 2019", lambda: components.Norms(32), _tokens(8, 32)),
        System("activations", "Shazeer 2020", lambda: components.Activations(16), _tokens(8, 16)),
        System("positions", "Su 2021, Press 2022", lambda: components.Positions(32, 2, 8), _tokens(8, 32)),
        System("heads", "Ainslie 2023, Katharopoulos 2020", lambda: components.Heads(32, 4), _tokens(8, 32)),
        System("next-token", "Radford 2018", lambda: NextToken(Gpt2(_GPT2)), lambda model: _followed(16, 32)),
        System("auxiliary", "Radford 2018", lambda: WithAuxiliary(Gpt2(_GPT2), 32, 3),
               lambda model: (*_followed(16, 32), torch.tensor([2]))),
        System("training-sgd", "Radford 2018", lambda: NextToken(Llama(_STEP)), lambda model: _followed(8, 32),
               optimiser="sgd"),
        System("training-adamw", "Loshchilov 2019", lambda: NextToken(Llama(_STEP)), lambda model: _followed(8, 32),
               optimiser="adamw"),
    ]
}  # fmt: skip
