"""Hugging Face configuration files: a config.json becomes the configuration of one of our models.

Only the sizes are read, from the file alone. What the file asks for and our models do not have is refused by the name
of its field; where a field is missing, it has the value that the transformers library gives it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from .bert import Bert, BertConfig
from .deepseek import Deepseek, DeepseekConfig
from .gpt2 import Gpt2, Gpt2Config
from .llama import Llama, LlamaConfig
from .vit import Vit, VitConfig

Config = BertConfig | VitConfig | Gpt2Config | LlamaConfig | DeepseekConfig
_MISSING = object()


@dataclass(frozen=True)
class Family:
    """What a model_type means here.

    sizes    fields that must be in the file → ours
    others   fields that may be missing → (ours, the value that they then have)
    fixed    fields that our model has only one value for, which is also theirs where they are missing
    derived  values of our fields that take more than one of theirs
    """

    architecture: Callable[[Any], nn.Module]
    config: Callable[..., Config]
    sizes: Mapping[str, str]
    others: Mapping[str, tuple[str, Any]] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    derived: Callable[[Mapping[str, Any]], dict[str, Any]] = lambda fields: {}


def _classes(fields: Mapping[str, Any]) -> int:
    """Labels of a classifier: the library writes their names, or nothing for two."""
    return len(fields.get("id2label") or {}) or _whole({"num_labels": 2, **fields}, "num_labels")


def _vit(fields: Mapping[str, Any]) -> dict[str, Any]:
    width, hidden = fields["hidden_size"], _whole(fields, "intermediate_size")
    _require(hidden % width == 0, "intermediate_size", hidden, f"a multiple of hidden_size ({width})")
    size, patch = fields["image_size"], fields["patch_size"]
    _require(size % patch == 0, "image_size", size, f"a multiple of patch_size ({patch})")
    return {"mlp_ratio": hidden // width, "classes": _classes(fields)}


def _gpt2(fields: Mapping[str, Any]) -> dict[str, Any]:
    hidden, usual = fields.get("n_inner"), 4 * fields["n_embd"]
    _require(hidden in (None, usual), "n_inner", hidden, f"null or {usual}, four times n_embd")
    return {}


def _theta(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The base of the rotary angles: a field of its own, or of rope_parameters."""
    rotary = fields.get("rope_parameters") or {}
    kind = rotary.get("rope_type", "default")
    _require(kind == "default", "rope_parameters.rope_type", kind, '"default"')
    return {"theta": _number("rope_theta", rotary.get("rope_theta", fields.get("rope_theta", 10000.0)))}


def _llama(fields: Mapping[str, Any]) -> dict[str, Any]:
    heads, width = fields["num_attention_heads"], fields["hidden_size"]
    groups = fields.get("num_key_value_heads") or heads
    _require(heads % groups == 0, "num_key_value_heads", groups, f"a divisor of num_attention_heads ({heads})")
    head_width = fields.get("head_dim") or width // heads
    _require(
        head_width == width // heads, "head_dim", head_width, f"hidden_size / num_attention_heads ({width // heads})"
    )
    return {"kv_heads": groups, **_theta(fields)}


def _deepseek(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Layers with experts are not built, only the dense ones before them."""
    layers, heads = _whole(fields, "num_hidden_layers"), fields["num_attention_heads"]
    groups = fields.get("num_key_value_heads", heads)
    _require(groups == heads, "num_key_value_heads", groups, f"num_attention_heads ({heads})")
    dense = fields.get("first_k_dense_replace", 3) if fields.get("n_routed_experts", 256) else layers
    _require(dense > 0, "first_k_dense_replace", dense, "above 0: layers with experts are not built")
    return {"depth": min(layers, dense), **_theta(fields)}


_ROTARY = {"rope_scaling": None, "attention_bias": False, "quantization_config": None, "tie_word_embeddings": False}
_TIMELESS = ("rope_scaling", "quantization_config")  # change numbers, and no cycles on our accelerators

FAMILIES: dict[str, Family] = {
    "bert": Family(
        Bert, BertConfig,
        sizes={
            "vocab_size": "vocabulary", "max_position_embeddings": "positions", "hidden_size": "width",
            "num_hidden_layers": "depth", "num_attention_heads": "heads", "intermediate_size": "hidden",
        },
        others={"type_vocab_size": ("segments", 2), "layer_norm_eps": ("epsilon", 1e-12)},
        fixed={
            "hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False,
            "add_cross_attention": False, "quantization_config": None,
        },
        derived=lambda fields: {"classes": _classes(fields)},
    ),
    "vit": Family(
        Vit, VitConfig,
        sizes={
            "image_size": "image_size", "patch_size": "patch_size", "hidden_size": "width",
            "num_hidden_layers": "depth", "num_attention_heads": "heads",
        },
        others={"num_channels": ("channels", 3), "layer_norm_eps": ("epsilon", 1e-12)},
        fixed={"hidden_act": "gelu", "qkv_bias": True, "quantization_config": None},
        derived=_vit,
    ),
    "gpt2": Family(
        Gpt2, Gpt2Config,
        sizes={
            "vocab_size": "vocabulary", "n_positions": "context", "n_embd": "width", "n_layer": "depth",
            "n_head": "heads",
        },
        others={"layer_norm_epsilon": ("epsilon", 1e-5)},
        fixed={
            "activation_function": "gelu_new", "scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False,
            "tie_word_embeddings": True, "add_cross_attention": False, "quantization_config": None,
        },
        derived=_gpt2,
    ),
    "llama": Family(
        Llama, LlamaConfig,
        sizes={
            "vocab_size": "vocabulary", "max_position_embeddings": "context", "hidden_size": "width",
            "num_hidden_layers": "depth", "num_attention_heads": "heads", "intermediate_size": "hidden",
        },
        others={"rms_norm_eps": ("epsilon", 1e-6)},
        fixed={**_ROTARY, "hidden_act": "silu", "mlp_bias": False},
        derived=_llama,
    ),
    "deepseek_v3": Family(
        Deepseek, DeepseekConfig,
        sizes={
            "vocab_size": "vocabulary", "max_position_embeddings": "context", "hidden_size": "width",
            "num_attention_heads": "heads", "q_lora_rank": "query_rank", "kv_lora_rank": "kv_rank",
            "qk_nope_head_dim": "plain_width", "qk_rope_head_dim": "rotary_width", "v_head_dim": "value_width",
            "intermediate_size": "hidden",
        },
        others={"rms_norm_eps": ("epsilon", 1e-6)},
        fixed={**_ROTARY, "hidden_act": "silu"},
        derived=_deepseek,
    ),
}  # fmt: skip


def read_config(path: str | Path) -> Config:
    """The configuration that a config.json describes. Raises ValueError that names the field which is missing, or asks
    for what our models do not have; OSError for a file that cannot be read."""
    try:
        fields = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError:
        raise ValueError(f"{path} is not a JSON file") from None
    if not isinstance(fields, dict):
        raise ValueError(f"{path} must hold a JSON object, the fields of a configuration")
    try:
        return from_fields(fields)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def from_fields(fields: Mapping[str, Any]) -> Config:
    """The same for the fields of the file."""
    model_type = fields.get("model_type")
    if model_type not in FAMILIES:
        raise ValueError(f"model_type must be one of {', '.join(FAMILIES)}, not {model_type!r}")
    family = FAMILIES[model_type]
    for name, expected in family.fixed.items():
        found = fields.get(name, expected)
        advice = " (set it so to time the model without)" if name in _TIMELESS else ""
        _require(found == expected, name, found, json.dumps(expected) + advice)
    values = {ours: _whole(fields, name) for name, ours in family.sizes.items()}
    values |= {ours: _number(name, fields.get(name, default)) for name, (ours, default) in family.others.items()}
    heads, width = values["heads"], values["width"]
    if "query_rank" not in values:  # DeepSeek's heads are not a part of the width
        name = next(theirs for theirs, ours in family.sizes.items() if ours == "heads")
        _require(width % heads == 0, name, heads, f"a divisor of the {width} features of a token")
    return family.config(**values, **family.derived(fields))


def architecture_of(config: Config) -> Callable[[Any], nn.Module]:
    """The model that a configuration is for."""
    return next(family.architecture for family in FAMILIES.values() if type(config) is family.config)


def _whole(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name, _MISSING)
    if value is _MISSING:
        raise ValueError(f"{name} is missing")
    _require(
        isinstance(value, int) and not isinstance(value, bool) and value > 0, name, value, "a whole number above 0"
    )
    return value


def _number(name: str, value: Any) -> Any:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
    _require(good, name, value, "a number above 0")
    return value


def _require(condition: bool, name: str, found: Any, expected: str) -> None:
    if not condition:
        raise ValueError(f"{name} must be {expected}, not {json.dumps(found)}")
