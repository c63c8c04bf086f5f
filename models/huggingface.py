"""Hugging Face configuration files: a config.json becomes the configuration of one of our models.

Only the sizes are read, from the file alone. What the file asks for and our models do not have is refused by the name
of its field or family; where a field is missing, it has the value that the transformers library gives it.

A shape has no values, so what changes values and no cycles is ignored: how rotary angles are stretched for a long
context (rope_scaling, rope_parameters; yarn's factor on the scores is part of a scale that is there anyway), the format
that the weights were released in (quantization_config; here precision is the compiler's choice), and whether the head
shares its weights with the embedding (the machine keeps both, in the formats that their uses want).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from .activations import ACTIVATIONS
from .bert import Bert, BertConfig
from .deepseek import Deepseek, DeepseekConfig
from .gpt2 import Gpt2, Gpt2Config
from .llama import Llama, LlamaConfig
from .vit import Vit, VitConfig

Config = BertConfig | VitConfig | Gpt2Config | LlamaConfig | DeepseekConfig
_LARGEST = 1 << 20  # of any size: the product of three is still a number of bytes, and a table of angles fits


@dataclass(frozen=True)
class Family:
    """What a model_type means here.

    sizes    their fields → (ours, the value where it is missing: a whole number, or any)
    fixed    fields that our model has only some values for; the first is theirs where it is missing
    derived  values of our fields that take more than one of theirs, from those and from ours so far
    aliases  other names of their fields
    prefix   of the names of its classes, by which files without model_type are known
    """

    architecture: Callable[[Any], nn.Module]
    config: Callable[..., Config]
    sizes: Mapping[str, tuple[str, Any]]
    fixed: Mapping[str, tuple[Any, ...]]
    derived: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]
    aliases: Mapping[str, str] = field(default_factory=dict)
    prefix: str = ""


Fields = Mapping[str, Any]


def _classes(fields: Fields) -> int:
    """Labels of a classifier: the library writes their names, or nothing for two."""
    return len(_object(fields, "id2label")) or _whole(fields, "num_labels", 2)


def _bert(fields: Fields, ours: Fields) -> dict[str, Any]:
    return {"classes": _classes(fields)}


def _roberta(fields: Fields, ours: Fields) -> dict[str, Any]:
    """Positions are counted from the one behind that of padding."""
    padding = fields.get("pad_token_id", 1)
    _require(type(padding) is int and padding >= 0, "pad_token_id", padding, "a whole number")
    positions = ours["positions"] - padding - 1
    _require(positions > 0, "max_position_embeddings", ours["positions"], f"above pad_token_id + 1 ({padding + 1})")
    return {"positions": positions, "classes": _classes(fields)}


def _electra(fields: Fields, ours: Fields) -> dict[str, Any]:
    _same_width(fields, "embedding_size", 128, ours["width"])
    return {"classes": _classes(fields)}


def _vit(fields: Fields, ours: Fields) -> dict[str, Any]:
    width, hidden = ours["width"], _whole(fields, "intermediate_size", 3072)
    _require(hidden % width == 0, "intermediate_size", hidden, f"a multiple of hidden_size ({width})")
    size, patch = ours["image_size"], ours["patch_size"]
    _require(size % patch == 0, "image_size", size, f"a multiple of patch_size ({patch})")
    return {"mlp_ratio": hidden // width, "classes": _classes(fields)}


def _gpt2(fields: Fields, ours: Fields) -> dict[str, Any]:
    hidden, usual = fields.get("n_inner"), 4 * ours["width"]
    _require(_same(hidden, None) or _same(hidden, usual), "n_inner", hidden, f"null or {usual}, four times n_embd")
    return {}


def _opt(fields: Fields, ours: Fields) -> dict[str, Any]:
    hidden, usual = _whole(fields, "ffn_dim", 3072), 4 * ours["width"]
    _require(hidden == usual, "ffn_dim", hidden, f"{usual}, four times hidden_size")
    _same_width(fields, "word_embed_proj_dim", ours["width"], ours["width"])
    return {}


def _same_width(fields: Fields, name: str, default: int, width: int) -> None:
    """Embeddings of another width than the layers need a projection, which our models do not have."""
    found = _whole_or_null(fields, name, default)
    _require(found == width, name, found, f"hidden_size ({width}): a projection between the two is not built")


def _rotary(fields: Fields, name: str, width: int) -> dict[str, Any]:
    """The base of the rotary angles, of which field `name` makes as many as half of `width`: rope_theta, or in the
    files of newer libraries rope_parameters.rope_theta."""
    shown = fields.get(name, width)
    _require(width % 2 == 0, name, shown, f"such that the {width} rotated features of a head are an even number")
    parameters = _object(fields, "rope_parameters")
    if "rope_theta" in parameters:
        return {"theta": _number(parameters, "rope_theta", shown="rope_parameters.rope_theta")}
    return {"theta": _number(fields, "rope_theta", 10000.0)}


def _llama(fields: Fields, ours: Fields, groups: int = 0) -> dict[str, Any]:
    """`groups`: heads of keys and values where the file has no such field; 0: as many as of queries."""
    heads, width = ours["heads"], ours["width"]
    missing = groups if groups and "num_key_value_heads" not in fields else heads
    found = _whole_or_null(fields, "num_key_value_heads", missing)
    _require(heads % found == 0, "num_key_value_heads", found, f"a divisor of num_attention_heads ({heads})")
    if fields.get("head_dim") is None:
        _require(width % heads == 0, "num_attention_heads", heads, f"a divisor of the {width} features of a token")
    head = _whole_or_null(fields, "head_dim", width // heads)
    for place in ("rope_parameters", "rope_scaling", ""):
        part = (_object(fields, place) if place else fields).get("partial_rotary_factor", 1.0)
        name = f"{place}.partial_rotary_factor".strip(".")
        _require(part == 1 and part is not True, name, part, "1.0")
    usual = head * heads == width
    rotary = _rotary(fields, "num_attention_heads" if usual else "head_dim", head)
    attention, mlp = (_flag(fields, name) for name in ("attention_bias", "mlp_bias"))
    biases = {"qkv_bias": attention, "output_bias": attention, "mlp_bias": mlp}
    return {"kv_heads": found, "head": 0 if usual else head, **biases, **rotary}


def _require_attentions(fields: Fields, layers: int, kinds: tuple[str, ...] = ("full_attention",)) -> None:
    """Newer files say of each layer what it attends to: all must be as they are built, which is one of `kinds`."""
    found = fields.get("layer_types")
    _require(found is None or isinstance(found, list), "layer_types", found, "a list or null")
    for layer, kind in enumerate(found or ()):
        _require(kind in kinds, f"layer_types[{layer}]", kind, " or ".join(map(json.dumps, kinds)))
    _require(found is None or len(found) == layers, "layer_types", found, f"null, or a list of {layers} layers")


def _windowed(groups: int, window: int | None) -> Callable[[Fields, Fields], dict[str, Any]]:
    """As `_llama`, with a sliding window, `window` where the file does not say. One that sees the longest sequence
    whole is none."""

    def derived(fields: Fields, ours: Fields) -> dict[str, Any]:
        found = fields.get("sliding_window", window)
        if found is not None:
            found = _whole(fields, "sliding_window", window)
        built = found if found and found < ours["context"] else 0
        sliding = ("sliding_attention",) if found else ()
        _require_attentions(fields, ours["depth"], sliding if built else ("full_attention", *sliding))
        return {"window": built, **_llama(fields, ours, groups)}

    return derived


def _qwen2(fields: Fields, ours: Fields) -> dict[str, Any]:
    """Queries, keys and values have biases, whatever the file says."""
    _require_attentions(fields, ours["depth"])
    return {**_llama(fields, ours), "qkv_bias": True, "output_bias": False, "mlp_bias": False}


def _deepseek(dense: int, experts: int) -> Callable[[Fields, Fields], dict[str, Any]]:
    """Layers with experts are not built, only the dense ones before them: `dense` of them, and `experts` in the others,
    where the file does not say."""

    def derived(fields: Fields, ours: Fields) -> dict[str, Any]:
        layers, heads = ours["depth"], ours["heads"]
        groups = _whole_or_null(fields, "num_key_value_heads", heads)
        _require(groups == heads, "num_key_value_heads", groups, f"num_attention_heads ({heads})")
        built, count = layers, fields.get("n_routed_experts", experts)
        if count is not None:
            _require(type(count) is int and count > 0, "n_routed_experts", count, "a whole number above 0, or null")
            found = fields.get("first_k_dense_replace", dense)
            _require(found != 0, "first_k_dense_replace", found, "above 0: layers with experts are not built")
            built = min(layers, _whole(fields, "first_k_dense_replace", dense))
        rotary = _rotary(fields, "qk_rope_head_dim", ours["rotary_width"])
        return {"depth": built, "expert_layers": layers - built, **rotary}

    return derived


_ACTIVATIONS = tuple(ACTIVATIONS)  # of the fields that name one
_ACTIVATION_FIELDS = ("hidden_act", "activation_function")
_TIED = {"tie_word_embeddings": (False, True)}
_IGNORED = ("rope_scaling", "rope_parameters", "quantization_config")  # but must be objects or null
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_intermediate_size")


def _encoder_sizes(vocabulary: int, width: int = 768, heads: int = 12, hidden: int = 3072) -> dict[str, Any]:
    return {
        "vocab_size": ("vocabulary", vocabulary), "max_position_embeddings": ("positions", 512),
        "hidden_size": ("width", width), "num_hidden_layers": ("depth", 12), "num_attention_heads": ("heads", heads),
        "intermediate_size": ("hidden", hidden), "type_vocab_size": ("segments", 2),
        "layer_norm_eps": ("epsilon", 1e-12),
    }  # fmt: skip


def _decoder_sizes(
    vocabulary: int, context: int, width: int, depth: int, heads: int, hidden: int, epsilon: float = 1e-6
) -> dict[str, Any]:
    return {
        "vocab_size": ("vocabulary", vocabulary), "max_position_embeddings": ("context", context),
        "hidden_size": ("width", width), "num_hidden_layers": ("depth", depth), "num_attention_heads": ("heads", heads),
        "intermediate_size": ("hidden", hidden), "rms_norm_eps": ("epsilon", epsilon),
    }  # fmt: skip


_LATENT_SIZES = {
    "q_lora_rank": ("query_rank", 1536), "kv_lora_rank": ("kv_rank", 512), "qk_nope_head_dim": ("plain_width", 128),
    "qk_rope_head_dim": ("rotary_width", 64), "v_head_dim": ("value_width", 128),
}  # fmt: skip
_BERT = Family(
    Bert, BertConfig, _encoder_sizes(30522),
    fixed={
        "hidden_act": _ACTIVATIONS, "position_embedding_type": ("absolute",), "is_decoder": (False,),
        "add_cross_attention": (False,),
    },
    derived=_bert, prefix="Bert",
)  # fmt: skip
_ROBERTA = replace(_BERT, sizes=_encoder_sizes(50265), derived=_roberta, prefix="Roberta")
_VIT = Family(
    Vit, VitConfig,
    sizes={
        "image_size": ("image_size", 224), "patch_size": ("patch_size", 16), "hidden_size": ("width", 768),
        "num_hidden_layers": ("depth", 12), "num_attention_heads": ("heads", 12), "num_channels": ("channels", 3),
        "layer_norm_eps": ("epsilon", 1e-12),
    },
    fixed={"hidden_act": _ACTIVATIONS, "qkv_bias": (True,)},
    derived=_vit, prefix="ViT",
)  # fmt: skip
_GPT2 = Family(
    Gpt2, Gpt2Config,
    sizes={
        "vocab_size": ("vocabulary", 50257), "n_positions": ("context", 1024), "n_embd": ("width", 768),
        "n_layer": ("depth", 12), "n_head": ("heads", 12), "layer_norm_epsilon": ("epsilon", 1e-5),
    },
    fixed={
        "activation_function": ("gelu_new", *_ACTIVATIONS), "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,), "add_cross_attention": (False,), **_TIED,
    },
    derived=_gpt2, prefix="GPT2",
    aliases={
        "n_positions": "max_position_embeddings", "n_embd": "hidden_size", "n_layer": "num_hidden_layers",
        "n_head": "num_attention_heads",
    },
)  # fmt: skip
_LLAMA = Family(
    Llama, LlamaConfig, _decoder_sizes(32000, 2048, 4096, 32, 32, 11008),
    fixed={"hidden_act": ("silu", *_ACTIVATIONS), **_TIED},
    derived=_llama, prefix="Llama",
)  # fmt: skip
_DEEPSEEK = Family(
    Deepseek, DeepseekConfig, {**_decoder_sizes(129280, 4096, 7168, 61, 128, 18432), **_LATENT_SIZES},
    fixed={"hidden_act": ("silu", *_ACTIVATIONS), "attention_bias": (False,), "moe_layer_freq": (1,), **_TIED},
    derived=_deepseek(3, 256), prefix="DeepseekV3",
)  # fmt: skip

FAMILIES: dict[str, Family] = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": replace(_ROBERTA, sizes=_encoder_sizes(30522), prefix="XLMRoberta"),
    "camembert": replace(_ROBERTA, sizes=_encoder_sizes(30522), prefix="Camembert"),
    "electra": replace(_BERT, sizes=_encoder_sizes(30522, 256, 4, 1024), derived=_electra, prefix="Electra"),
    "vit": _VIT,
    "gpt2": _GPT2,
    "opt": Family(
        Gpt2, Gpt2Config,
        sizes={
            "vocab_size": ("vocabulary", 50272), "max_position_embeddings": ("context", 2048),
            "hidden_size": ("width", 768), "num_hidden_layers": ("depth", 12), "num_attention_heads": ("heads", 12),
        },
        fixed={
            "activation_function": ("relu", *_ACTIVATIONS), "do_layer_norm_before": (True,), "enable_bias": (True,),
            "_remove_final_layer_norm": (False,), "layer_norm_elementwise_affine": (True,), **_TIED,
        },
        derived=_opt, prefix="OPT",
    ),
    "llama": _LLAMA,
    "mistral": replace(_LLAMA, sizes=_decoder_sizes(32000, 131072, 4096, 32, 32, 14336), derived=_windowed(8, 4096),
                       prefix="Mistral"),
    "qwen2": replace(_LLAMA, sizes=_decoder_sizes(151936, 32768, 4096, 32, 32, 22016), derived=_qwen2, prefix="Qwen2",
                     fixed={**_LLAMA.fixed, "use_sliding_window": (False,)}),
    "phi3": replace(_LLAMA, sizes=_decoder_sizes(32064, 4096, 3072, 32, 32, 8192, 1e-5), derived=_windowed(0, None),
                    prefix="Phi3"),
    "deepseek_v3": _DEEPSEEK,
    "deepseek_v2": replace(_DEEPSEEK, sizes={**_decoder_sizes(32000, 2048, 4096, 32, 32, 11008), **_LATENT_SIZES},
                           derived=_deepseek(0, 64), prefix="DeepseekV2"),
    "kimi_k2": replace(_DEEPSEEK, prefix="KimiK2"),
}  # fmt: skip

_TWO_PARTS = "it has an encoder and a decoder, joined by cross-attention"
_PARALLEL = "its attention and its MLP stand side by side"
_ALIBI = "its positions are added to the scores"
_RELATIVE = "its scores depend on relative positions"
_SCALED = "its embeddings and residuals are scaled"
# Families that are often asked for, and what our models do not have of them.
REFUSED = {
    "albert": "its embeddings are narrower than its layers, which share their weights",
    "bart": _TWO_PARTS, "bloom": _ALIBI, "clip": "it is two models, of texts and of images",
    "cohere": _PARALLEL, "deberta": _RELATIVE, "deberta-v2": _RELATIVE,
    "deit": "it has a second token beside that of the class, for distillation",
    "dinov2": "its residuals are scaled feature by feature", "distilbert": "it has no segment embeddings",
    "falcon": _PARALLEL, "gemma": "its embeddings are scaled", "gemma2": _SCALED, "gemma3_text": _SCALED,
    "gpt_bigcode": "all its heads share one key and value", "gpt_neo": "its layers see all and a window in turn",
    "gpt_neox": _PARALLEL, "gptj": _PARALLEL, "granite": _SCALED, "mamba": "it has no attention",
    "marian": _TWO_PARTS, "mbart": _TWO_PARTS, "modernbert": "its layers see all and a window in turn",
    "mpnet": _RELATIVE, "mpt": _ALIBI, "nemotron_h": "most of its layers have no attention",
    "olmo": "its norms have no parameters", "olmo2": "it norms what layers give, not what they take",
    "pegasus": _TWO_PARTS, "phi": _PARALLEL, "qwen3": "it norms queries and keys, head by head",
    "smollm3": "some of its layers do not rotate", "stablelm": "it rotates a part of each head only",
    "starcoder2": "it has rotary positions beside LayerNorm and an MLP without a gate",
    "swin": "its attention is in windows of the image", "t5": _TWO_PARTS, "whisper": _TWO_PARTS, "xlnet": _RELATIVE,
}  # fmt: skip


def read_config(path: str | Path) -> Config:
    """The configuration that a config.json describes. Raises ValueError that names the field or family which is not
    what it must be, or asks for what our models do not have; OSError for a file that cannot be read."""
    try:
        fields = json.loads(Path(path).read_text(encoding="utf-8-sig"))  # some editors write a mark in front
    except (ValueError, RecursionError):  # RecursionError: a thousand brackets in each other
        raise ValueError(f"{path} is not a JSON file") from None
    if not isinstance(fields, dict):
        raise ValueError(f"{path} must hold a JSON object, the fields of a configuration")
    try:
        return from_fields(fields)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def from_fields(fields: Fields) -> Config:
    """The same for the fields of the file."""
    family = FAMILIES[_model_type(fields)]
    fields = {**fields}
    for name, alias in family.aliases.items():
        if name not in fields and alias in fields:
            fields[name] = fields[alias]
    ours: dict[str, Any] = {}
    for name, choices in family.fixed.items():
        found = fields.get(name, choices[0])
        different = list(dict.fromkeys(choices))
        _require(any(_same(found, each) for each in choices), name, found,
                 ("one of " if len(different) > 1 else "") + ", ".join(map(json.dumps, different)))  # fmt: skip
        if name in _ACTIVATION_FIELDS:
            ours["activation"] = found
    for name in _IGNORED:
        _object(fields, name)
    pruned = _object(fields, "pruned_heads")
    _require(not pruned, "pruned_heads", pruned, "empty: all heads are built")
    for name, (our, default) in family.sizes.items():
        ours[our] = (_whole if isinstance(default, int) else _number)(fields, name, default)
    if family.config not in (LlamaConfig, DeepseekConfig):  # their heads need not be a part of the width
        name = next(theirs for theirs, (our, _) in family.sizes.items() if our == "heads")
        heads, width = ours["heads"], ours["width"]
        _require(width % heads == 0, name, heads, f"a divisor of the {width} features of a token")
    return family.config(**{**ours, **family.derived(fields, ours)})


def _model_type(fields: Fields) -> str:
    """The family of the file. Older files tell it by the name of the class, or only by the names of their fields."""
    found = fields.get("model_type", _told_otherwise(fields))
    if isinstance(found, str) and found in FAMILIES:
        return found
    expected = f"one of {', '.join(FAMILIES)}"
    reason = REFUSED.get(found) if isinstance(found, str) else None
    if reason is None and isinstance(found, str):
        if isinstance(fields.get("text_config"), dict):
            reason = "it is several models (text_config is one of them)"
        elif any(fields.get(name) for name in _EXPERTS):
            reason = "its layers have experts"
    _require(False, "model_type", found, expected, because=reason)
    raise AssertionError


def _told_otherwise(fields: Fields) -> str | None:
    classes = fields.get("architectures")
    first = classes[0] if isinstance(classes, list) and classes else None
    if isinstance(first, str):
        prefix = re.split("For[A-Z]|LMHead|DoubleHeads|Model", first)[0]
        return next((name for name, family in FAMILIES.items() if family.prefix == prefix), None)
    for name, family in (("n_embd", "gpt2"), ("type_vocab_size", "bert")):
        if name in fields:
            return family
    return None


def architecture_of(config: Config) -> Callable[[Any], nn.Module]:
    """The model that a configuration is for."""
    return next(family.architecture for family in FAMILIES.values() if type(config) is family.config)


def _whole(fields: Mapping[str, Any], name: str, default: Any) -> int:
    """A size. Where the field is missing, it is the default."""
    value = fields.get(name, default)
    _require(type(value) is int and value > 0, name, value, "a whole number above 0")
    _require(value <= _LARGEST, name, value, f"at most {_LARGEST}")
    return value


def _whole_or_null(fields: Mapping[str, Any], name: str, default: int) -> int:
    """A size that is the default where the field is missing or null."""
    return default if fields.get(name) is None else _whole(fields, name, default)


def _number(fields: Mapping[str, Any], name: str, default: float = 0, shown: str = "") -> float:
    """A number that float32 can hold; `shown` is the name for a message, if not that of the field."""
    value = fields.get(name, default)
    _require(type(value) in (int, float) and 0 < value < 1e38, shown or name, value, "a number above 0")
    return float(value)


def _flag(fields: Mapping[str, Any], name: str) -> bool:
    """A field that is true or false; a missing one is false."""
    value = fields.get(name, False)
    _require(type(value) is bool, name, value, "true or false")
    return value


def _object(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A field that is an object; null and a missing one are empty."""
    value = fields.get(name)
    _require(value is None or isinstance(value, dict), name, value, "a JSON object or null")
    return value or {}


def _same(found: Any, expected: Any) -> bool:
    """Equal and of one type: in Python 1 and 1.0 are also True."""
    return type(found) is type(expected) and found == expected


def _require(condition: bool, name: str, found: Any, expected: str, because: str | None = None) -> None:
    if not condition:
        reason = f": {because}" if because else ""
        raise ValueError(f"{name} must be {expected}, not {json.dumps(found)}{reason}")
