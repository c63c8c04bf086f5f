"""BERT (Devlin et al., 2019): a post-norm encoder over token, position and segment embeddings.

The class is read from the first token through a tanh pooler. Weights are random: there are none in the repository.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .activations import ACTIVATIONS


@dataclass(frozen=True)
class BertConfig:
    """Sizes of one BERT classifier. The defaults are small, for tests."""

    vocabulary: int = 97  # token ids are below this
    positions: int = 16  # longest sequence
    segments: int = 2  # segment ids are below this
    width: int = 32  # features of a token
    depth: int = 2  # encoder layers
    heads: int = 4  # attention heads of width / heads features
    hidden: int = 64  # features between the two linear layers of the MLP
    classes: int = 5
    epsilon: float = 1e-12  # of the layer norms
    activation: str = "gelu"  # a name of `ACTIVATIONS`


# Section 3 of the paper; vocabulary and positions as in the released bert_config.json files (uncased).
BERT_BASE = BertConfig(vocabulary=30522, positions=512, width=768, depth=12, heads=12, hidden=3072, classes=2)
BERT_LARGE = BertConfig(vocabulary=30522, positions=512, width=1024, depth=24, heads=16, hidden=4096, classes=2)


class Embeddings(nn.Module):
    """norm(token + position + segment)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.tokens = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.positions, config.width)
        self.segments = nn.Embedding(config.segments, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.epsilon)

    def forward(self, ids: Tensor, segments: Tensor) -> Tensor:
        positions = self.positions(torch.arange(ids.shape[1]))  # (T, W)
        return self.norm(self.tokens(ids) + self.segments(segments) + positions)  # (B, T, W)


class Attention(nn.Module):
    """Multi-head self-attention, to all tokens or those that are `seen` (B, T) bool."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query = nn.Linear(config.width, config.width)
        self.key = nn.Linear(config.width, config.width)
        self.value = nn.Linear(config.width, config.width)
        self.output = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        batch, tokens, width = x.shape
        mask = None if seen is None else seen[:, None, None, :]  # (B, 1, 1, T)
        shape = (batch, tokens, self.heads, width // self.heads)
        q = self.query(x).view(shape).transpose(1, 2)  # (B, H, T, W/H)
        k = self.key(x).view(shape).transpose(1, 2)  # (B, H, T, W/H)
        v = self.value(x).view(shape).transpose(1, 2)  # (B, H, T, W/H)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # (B, H, T, W/H)
        return self.output(y.transpose(1, 2).reshape(batch, tokens, width))  # (B, T, W)


class EncoderLayer(nn.Module):
    """norm(x + attention(x)), then norm(x + mlp(x))."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.norm1 = nn.LayerNorm(config.width, eps=config.epsilon)
        self.activation = ACTIVATIONS[config.activation]
        self.up = nn.Linear(config.width, config.hidden)
        self.down = nn.Linear(config.hidden, config.width)
        self.norm2 = nn.LayerNorm(config.width, eps=config.epsilon)

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        x = self.norm1(x + self.attention(x, seen))  # (B, T, W)
        return self.norm2(x + self.down(self.activation(self.up(x))))  # (B, T, W)


class Bert(nn.Module):
    """Token ids and segment ids (B, T) → logits (B, classes)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.depth))
        self.pooler = nn.Linear(config.width, config.width)
        self.classifier = nn.Linear(config.width, config.classes)

    def features(self, ids: Tensor, segments: Tensor, seen: Tensor | None = None) -> Tensor:
        """The last hidden states: (B, T, W)."""
        x = self.embeddings(ids, segments)  # (B, T, W)
        for layer in self.layers:
            x = layer(x, seen)  # (B, T, W)
        return x

    def pooled(self, x: Tensor) -> Tensor:
        """What is read from [CLS] of hidden states: (B, W)."""
        return torch.tanh(self.pooler(x[:, 0]))

    def forward(self, ids: Tensor, segments: Tensor) -> Tensor:
        return self.classifier(self.pooled(self.features(ids, segments)))  # (B, classes)


def seeded(config: BertConfig, seed: int = 0) -> Bert:
    """A model whose parameters are drawn from a seed. The global generator is left as is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Bert(config).eval()
