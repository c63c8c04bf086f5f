"""Hugging Face configuration files: a config.json becomes the configuration of one of our models.

Only the sizes are read, from the file alone. What the file asks for and our models do not have is refused by the name
of its field; where a field is missing, it has the value that the transformers library gives it.

A shape has no values, so what changes values and no cycles is ignored: how rotary angles are stretched for a long
context (rope_scaling, rope_parameters; yarn's factor on the scores is part of a scale that is there anyway), and the
format that the weights were released in (quantization_config; here precision is the compiler's choice).
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
_LARGEST = 1 << 20  # of any size: the product of three is still a number of bytes, and a table of angles fits
_MISSING = object()


@dataclass(frozen=True)
class Family:
    """What a model_type means here.

    sizes    fields that must be in the file → ours
    others   fields that may be missing → (ours, the value that they then have: a whole number, or any)
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
    return len(_object(fields, "id2label")) or _whole(fields, "num_labels", 2)


def _vit(fields: Mapping[str, Any]) -> dict[str, Any]:
    width, hidden = fields["hidden_size"], _whole(fields, "intermediate_size")
    _require(hidden % width == 0, "intermediate_size", hidden, f"a multiple of hidden_size ({width})")
    size, patch = fields["image_size"], fields["patch_size"]
    _require(size % patch == 0, "image_size", size, f"a multiple of patch_size ({patch})")
    return {"mlp_ratio": hidden // width, "classes": _classes(fields)}


def _gpt2(fields: Mapping[str, Any]) -> dict[str, Any]:
    hidden, usual = fields.get("n_inner"), 4 * fields["n_embd"]
    _require(_same(hidden, None) or _same(hidden, usual), "n_inner", hidden, f"null or {usual}, four times n_embd")
    return {}


def _rotary(fields: Mapping[str, Any], name: str, width: int) -> dict[str, Any]:
    """The base of the rotary angles, of which field `name` makes as many as half of `width`: rope_theta, or in the
    files of newer libraries rope_parameters.rope_theta."""
    _require(width % 2 == 0, name, fields[name], f"such that the {width} rotated features of a head are an even number")
    parameters = _object(fields, "rope_parameters")
    if "rope_theta" in parameters:
        return {"theta": _number(parameters, "rope_theta", shown="rope_parameters.rope_theta")}
    return {"theta": _number(fields, "rope_theta", 10000.0)}


def _llama(fields: Mapping[str, Any]) -> dict[str, Any]:
    heads, width = fields["num_attention_heads"], fields["hidden_size"]
    groups = _whole_or_null(fields, "num_key_value_heads", heads)
    _require(heads % groups == 0, "num_key_value_heads", groups, f"a divisor of num_attention_heads ({heads})")
    usual = width // heads
    head_width = _whole_or_null(fields, "head_dim", usual)
    _require(head_width == usual, "head_dim", head_width, f"hidden_size / num_attention_heads ({usual})")
    for group in ("rope_parameters", "rope_scaling"):
        part = _object(fields, group).get("partial_rotary_factor", 1.0)
        _require(part == 1 and part is not True, f"{group}.partial_rotary_factor", part, "1.0")
    return {"kv_heads": groups, **_rotary(fields, "num_attention_heads", usual)}


def _deepseek(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Layers with experts are not built, only the dense ones before them."""
    layers, heads = _whole(fields, "num_hidden_layers"), fields["num_attention_heads"]
    groups = _whole_or_null(fields, "num_key_value_heads", heads)
    _require(groups == heads, "num_key_value_heads", groups, f"num_attention_heads ({heads})")
    dense, experts = layers, fields.get("n_routed_experts", 256)
    if experts is not None:
        _require(type(experts) is int and experts > 0, "n_routed_experts", experts, "a whole number above 0, or null")
        found = fields.get("first_k_dense_replace", 3)
        _require(found != 0, "first_k_dense_replace", found, "above 0: layers with experts are not built")
        dense = _whole(fields, "first_k_dense_replace", 3)
    return {"depth": min(layers, dense), **_rotary(fields, "qk_rope_head_dim", fields["qk_rope_head_dim"])}


_ROTARY = {"attention_bias": False, "tie_word_embeddings": False}
_IGNORED = ("rope_scaling", "rope_parameters", "quantization_config")  # but must be objects or null

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
            "add_cross_attention": False,
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
        fixed={"hidden_act": "gelu", "qkv_bias": True},
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
            "tie_word_embeddings": True, "add_cross_attention": False,
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
    """The configuration that a config.json describes. Raises ValueError that names the field which is missing, is not
    what it must be, or asks for what our models do not have; OSError for a file that cannot be read."""
    try:
        fields = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError):  # RecursionError: a thousand brackets in each other
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
    known = isinstance(model_type, str) and model_type in FAMILIES
    _require(known, "model_type", model_type, f"one of {', '.join(FAMILIES)}")
    family = FAMILIES[model_type]  # type: ignore[index]
    for name, expected in family.fixed.items():
        found = fields.get(name, expected)
        _require(_same(found, expected), name, found, json.dumps(expected))
    for name in _IGNORED:
        _object(fields, name)
    values: dict[str, Any] = {ours: _whole(fields, name) for name, ours in family.sizes.items()}
    for name, (ours, default) in family.others.items():
        values[ours] = (_whole if isinstance(default, int) else _number)(fields, name, default)
    heads, width = values["heads"], values["width"]
    if "query_rank" not in values:  # DeepSeek's heads are not a part of the width
        name = next(theirs for theirs, ours in family.sizes.items() if ours == "heads")
        _require(width % heads == 0, name, heads, f"a divisor of the {width} features of a token")
    return family.config(**values, **family.derived(fields))


def architecture_of(config: Config) -> Callable[[Any], nn.Module]:
    """The model that a configuration is for."""
    return next(family.architecture for family in FAMILIES.values() if type(config) is family.config)


def _whole(fields: Mapping[str, Any], name: str, default: Any = _MISSING) -> int:
    """A size. Where the field is missing, it is the default."""
    value = fields.get(name, default)
    if value is _MISSING:
        raise ValueError(f"{name} is missing")
    _require(type(value) is int and value > 0, name, value, "a whole number above 0")
    _require(value <= _LARGEST, name, value, f"at most {_LARGEST}")
    return value


def _whole_or_null(fields: Mapping[str, Any], name: str, default: int) -> int:
    """A size that is the default where the field is missing or null."""
    return default if fields.get(name) is None else _whole(fields, name)


def _number(fields: Mapping[str, Any], name: str, default: float = 0, shown: str = "") -> float:
    """A number that float32 can hold; `shown` is the name for a message, if not that of the field."""
    value = fields.get(name, default)
    _require(type(value) in (int, float) and 0 < value < 1e38, shown or name, value, "a number above 0")
    return float(value)


def _object(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A field that is an object; null and a missing one are empty."""
    value = fields.get(name)
    _require(value is None or isinstance(value, dict), name, value, "a JSON object or null")
    return value or {}


def _same(found: Any, expected: Any) -> bool:
    """Equal and of one type: in Python 1 and 1.0 are also True."""
    return type(found) is type(expected) and found == expected


def _require(condition: bool, name: str, found: Any, expected: str) -> None:
    if not condition:
        raise ValueError(f"{name} must be {expected}, not {json.dumps(found)}")
