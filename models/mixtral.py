"""Mixtral (Jiang et al., 2024, "Mixtral of Experts"): a Llama whose MLPs are mixtures of experts."""

from dataclasses import dataclass

from torch import Tensor, nn

from .experts import Experts, ExpertsConfig
from .llama import Attention, LlamaConfig, rotary_tables


@dataclass(frozen=True)
class MixtralConfig:
    """The attention is that of a Llama; `hidden` of it is not used."""

    llama: LlamaConfig = LlamaConfig(context=32, width=32, depth=2, heads=4, kv_heads=2)
    experts: ExpertsConfig = ExpertsConfig()


class DecoderLayer(nn.Module):
    """x + attention(norm(x)), then x + experts(norm(x))."""

    def __init__(self, config: MixtralConfig) -> None:
        super().__init__()
        self.norm1 = nn.RMSNorm(config.llama.width, eps=config.llama.epsilon)
        self.attention = Attention(config.llama)
        self.norm2 = nn.RMSNorm(config.llama.width, eps=config.llama.epsilon)
        self.experts = Experts(config.experts)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x), cos, sin, None)  # (B, T, W)
        return x + self.experts(self.norm2(x))  # (B, T, W)


class Mixtral(nn.Module):
    """Token ids (B, T) int64 → logits (B, T, vocabulary) of the token after each."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: MixtralConfig) -> None:
        super().__init__()
        llama = config.llama
        self.tokens = nn.Embedding(llama.vocabulary, llama.width)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(llama.depth))
        self.norm = nn.RMSNorm(llama.width, eps=llama.epsilon)
        self.head = nn.Linear(llama.width, llama.vocabulary, bias=False)
        cos, sin = rotary_tables(llama.context, llama.head_width, llama.theta)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        cos, sin = self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]  # (T, D/2)
        x = self.tokens(ids)  # (B, T, W)
        for layer in self.layers:
            x = layer(x, cos, sin)  # (B, T, W)
        return self.head(self.norm(x))  # (B, T, V)
