"""The parts that transformers differ in: norms, activations, positions and heads, each by itself, in small modules.

Each module gives a result for every variant, under its name; docstrings name the papers.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from .llama import SwiGlu, rotary_tables, rotate
from .transformer import sinusoids


class Norms(nn.Module):
    """x (B, T, W): LayerNorm (Ba et al., 2016) and RMSNorm (Zhang and Sennrich, 2019), before or after a residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear, self.layer, self.rms = nn.Linear(width, width), nn.LayerNorm(width), nn.RMSNorm(width)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {
            f"{name}_{place}": x + self.linear(norm(x)) if place == "before" else norm(x + self.linear(x))
            for name, norm in (("layer", self.layer), ("rms", self.rms))
            for place in ("before", "after")
        }  # (B, T, W) each


class Activations(nn.Module):
    """x (B, T, W): those of one number, and gated ones (Shazeer, 2020); squared ReLU: So et al., 2021."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.geglu, self.swiglu = SwiGlu(width, 2 * width, activation="gelu"), SwiGlu(width, 2 * width)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {
            "gelu": functional.gelu(x), "gelu_tanh": functional.gelu(x, approximate="tanh"),
            "relu_squared": functional.relu(x).square(), "silu": functional.silu(x), "geglu": self.geglu(x),
            "swiglu": self.swiglu(x),
        }  # fmt: skip


def alibi(heads: int, tokens: int) -> Tensor:
    """A slope of 2^(−8 h / H) for each head times the distance (Press et al., 2022): (H, T, T), causal."""
    slopes = 2.0 ** (-8 * torch.arange(1, heads + 1) / heads)  # (H)
    distance = torch.arange(tokens)[:, None] - torch.arange(tokens)  # (T, T)
    return (-slopes[:, None, None] * distance).masked_fill(distance < 0, -torch.inf)


def interleaved(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (…, T, D) with each even feature and the next one turned by the angle of cos and sin (T, D/2)."""
    even, odd = x[..., ::2], x[..., 1::2]  # (…, T, D/2)
    return torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2)


def as_complex(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """The same by complex numbers, as in the code of LLaMA."""
    turned = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * torch.complex(cos, sin)  # (…, T, D/2)
    return torch.view_as_real(turned).flatten(-2)


class Positions(nn.Module):
    """x (1, T, W): attention that knows where tokens are, in every way of the papers, with the same weights.

    Rotary: Su et al., 2021, by halves, interleaved, complex, or of half of the features; relative bias: Raffel et al.,
    2020, a number for each head and clipped distance; softcap: Gemma 2, 2024; norms of queries and keys: Henry, 2020.
    """

    sinusoids: Tensor
    alibi: Tensor
    whole_cos: Tensor
    whole_sin: Tensor
    half_cos: Tensor
    half_sin: Tensor

    def __init__(self, width: int, heads: int, tokens: int, cap: float = 5.0) -> None:
        super().__init__()
        head = width // heads
        self.heads, self.cap = heads, cap
        self.qkv, self.norm = nn.Linear(width, 3 * width), nn.RMSNorm(head)
        self.learned, self.relative = nn.Embedding(tokens, width), nn.Embedding(9, heads)
        for name, value in (("sinusoids", sinusoids(tokens, width)), ("alibi", alibi(heads, tokens))):
            self.register_buffer(name, value, persistent=False)
        for name, size in (("whole", head), ("half", head // 2)):
            for part, table in zip(("cos", "sin"), rotary_tables(tokens, size, 10000.0), strict=True):
                self.register_buffer(f"{name}_{part}", table, persistent=False)

    def attend(self, x: Tensor, turn=lambda each: each, bias: Tensor | None = None) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)  # (1, H, T, D)
        y = functional.scaled_dot_product_attention(turn(q), turn(k), v, attn_mask=bias)  # (1, H, T, D)
        return y.transpose(1, 2).flatten(2)  # (1, T, W)

    def capped(self, x: Tensor) -> Tensor:
        """Scores through cap · tanh(score / cap)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)  # (1, H, T, D)
        scores = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5  # (1, H, T, T)
        return ((self.cap * torch.tanh(scores / self.cap)).softmax(-1) @ v).transpose(1, 2).flatten(2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        places = torch.arange(x.shape[1])  # (T)
        distance = (places[:, None] - places).clamp(-4, 4) + 4  # (T, T)
        cos, sin, half = self.whole_cos, self.whole_sin, self.half_cos.shape[-1] * 2

        def partial(each: Tensor) -> Tensor:
            return torch.cat([rotate(each[..., :half], self.half_cos, self.half_sin), each[..., half:]], dim=-1)

        return {
            "learned": self.attend(x + self.learned(places)), "sinusoidal": self.attend(x + self.sinusoids),
            "rotary_halves": self.attend(x, lambda each: rotate(each, cos, sin)),
            "rotary_interleaved": self.attend(x, lambda each: interleaved(each, cos, sin)),
            "rotary_complex": self.attend(x, lambda each: as_complex(each, cos, sin)),
            "rotary_partial": self.attend(x, partial), "alibi": self.attend(x, bias=self.alibi),
            "relative": self.attend(x, bias=self.relative(distance).permute(2, 0, 1)),
            "softcap": self.capped(x), "normed": self.attend(x, self.norm),
        }  # fmt: skip


class Heads(nn.Module):
    """x (1, T, W): heads with keys and values each, for groups of queries (Ainslie et al., 2023), for all of them
    (Shazeer, 2019); and linear attention (Katharopoulos et al., 2020), causal and not, with elu(x) + 1."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head = heads, width // heads
        self.query = nn.Linear(width, width)
        self.kv = nn.ModuleList(nn.Linear(width, 2 * count * self.head) for count in (heads, heads // 2, 1))

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.head)).transpose(1, 2)  # (1, H, T, D)

    def linear(self, q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
        q, k = functional.elu(q) + 1, functional.elu(k) + 1  # (1, H, T, D)
        if not causal:
            return q @ (k.transpose(2, 3) @ v) / (q @ k.sum(2, keepdim=True).transpose(2, 3))  # (1, H, T, D)
        scores = (q @ k.transpose(2, 3)).tril()  # (1, H, T, T)
        return scores @ v / scores.sum(-1, keepdim=True)  # (1, H, T, D)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        q, found = self.split(self.query(x)), {}  # (1, H, T, D)
        for name, kv in zip(("multi_head", "grouped", "multi_query"), self.kv, strict=True):
            k, v = (self.split(each) for each in kv(x).chunk(2, -1))  # (1, G, T, D)
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
            found[name] = y.transpose(1, 2).flatten(2)  # (1, T, W)
        k, v = (self.split(each) for each in self.kv[0](x).chunk(2, -1))  # (1, H, T, D)
        found |= {f"linear_{name}": self.linear(q, k, v, causal).transpose(1, 2).flatten(2)
                  for name, causal in (("causal", True), ("whole", False))}  # fmt: skip
        return found
