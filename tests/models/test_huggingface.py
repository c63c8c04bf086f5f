"""Hugging Face configuration files: as those of the released models, and what is refused."""

import json
from dataclasses import replace

import pytest
from heddle.models.bert import BERT_BASE, BERT_LARGE, Bert
from heddle.models.deepseek import DEEPSEEK_V3, Deepseek
from heddle.models.gpt2 import GPT2_SMALL, GPT2_XL, Gpt2
from heddle.models.huggingface import FAMILIES, REFUSED, architecture_of, from_fields, read_config
from heddle.models.llama import LLAMA2_7B, LLAMA3_8B, Llama, LlamaConfig
from heddle.models.vit import VIT_B16, Vit

# Fields as in the released files, without those that no model's shape depends on.
BERT = {
    "architectures": ["BertForMaskedLM"], "model_type": "bert", "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu", "hidden_size": 768, "initializer_range": 0.02, "intermediate_size": 3072,
    "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "num_attention_heads": 12, "num_hidden_layers": 12,
    "pad_token_id": 0, "type_vocab_size": 2, "vocab_size": 30522,
}  # fmt: skip
VIT = {
    "model_type": "vit", "hidden_act": "gelu", "hidden_size": 768, "image_size": 224, "intermediate_size": 3072,
    "id2label": {str(label): f"class {label}" for label in range(1000)}, "layer_norm_eps": 1e-12,
    "num_attention_heads": 12, "num_channels": 3, "num_hidden_layers": 12, "patch_size": 16,
}  # fmt: skip
GPT2 = {
    "model_type": "gpt2", "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "n_ctx": 1024, "n_embd": 768,
    "n_head": 12, "n_layer": 12, "n_positions": 1024, "vocab_size": 50257,
    "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
}  # fmt: skip
LLAMA2 = {
    "model_type": "llama", "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 11008,
    "max_position_embeddings": 4096, "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32,
    "pretraining_tp": 1, "rms_norm_eps": 1e-5, "rope_scaling": None, "tie_word_embeddings": False, "vocab_size": 32000,
}  # fmt: skip
LLAMA3 = LLAMA2 | {
    "intermediate_size": 14336, "max_position_embeddings": 8192, "num_key_value_heads": 8, "rope_theta": 500000.0,
    "vocab_size": 128256, "attention_bias": False,
}  # fmt: skip
DEEPSEEK = {
    "model_type": "deepseek_v3", "attention_bias": False, "first_k_dense_replace": 3, "hidden_act": "silu",
    "hidden_size": 7168, "intermediate_size": 18432, "kv_lora_rank": 512, "max_position_embeddings": 4096,
    "moe_intermediate_size": 2048, "n_routed_experts": 256, "num_attention_heads": 128, "num_hidden_layers": 61,
    "num_key_value_heads": 128, "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
    "rms_norm_eps": 1e-6, "rope_theta": 10000, "tie_word_embeddings": False, "v_head_dim": 128, "vocab_size": 129280,
}  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "config", "architecture"),
    [
        (BERT, BERT_BASE, Bert),
        (
            BERT
            | {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
            BERT_LARGE, Bert,
        ),
        (VIT, replace(VIT_B16, epsilon=1e-12), Vit),
        (GPT2, GPT2_SMALL, Gpt2),
        (GPT2 | {"n_embd": 1600, "n_head": 25, "n_layer": 48, "n_inner": 6400}, GPT2_XL, Gpt2),
        (LLAMA2, LLAMA2_7B, Llama),
        (LLAMA3, LLAMA3_8B, Llama),
        (DEEPSEEK, replace(DEEPSEEK_V3, depth=3, expert_layers=58), Deepseek),
        (DEEPSEEK | {"n_routed_experts": None}, DEEPSEEK_V3, Deepseek),
    ],
)  # fmt: skip
def test_files_of_released_models_are_our_constants(fields, config, architecture, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(fields))
    assert read_config(tmp_path / "config.json") == config
    assert architecture_of(config) is architecture


def without(fields, name):
    return {key: value for key, value in fields.items() if key != name}


def test_missing_fields_have_the_values_of_the_library():
    assert from_fields(without(LLAMA2, "num_key_value_heads")) == LLAMA2_7B
    assert from_fields(without(LLAMA2, "rms_norm_eps")).epsilon == 1e-6
    assert from_fields(without(VIT, "id2label")).classes == 2
    assert from_fields(without(VIT, "id2label") | {"num_labels": 7}).classes == 7
    assert from_fields(LLAMA2 | {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}).theta == 5e5
    for fields in (LLAMA2, DEEPSEEK):
        nothing = {"num_key_value_heads": None, "head_dim": None, "rope_scaling": None, "rope_parameters": None}
        assert from_fields(fields | nothing) == from_fields(fields)


# As released: numbers of these models that our shapes do not have.
YARN = {
    "beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0,
    "original_max_position_embeddings": 4096, "type": "yarn",
}  # fmt: skip
FP8 = {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]}
LLAMA31 = {
    "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}  # fmt: skip
GPTQ = {"bits": 4, "group_size": 128, "quant_method": "gptq"}


@pytest.mark.parametrize(
    ("fields", "config"),
    [
        (
            DEEPSEEK | {"max_position_embeddings": 163840, "rope_scaling": YARN, "quantization_config": FP8},
            replace(DEEPSEEK_V3, depth=3, expert_layers=58, context=163840),
        ),
        (
            LLAMA3 | {"max_position_embeddings": 131072, "rope_scaling": LLAMA31, "mlp_bias": False},
            replace(LLAMA3_8B, context=131072),
        ),
        (LLAMA3 | {"rope_parameters": LLAMA31 | {"rope_theta": 500000.0}}, LLAMA3_8B),
        (LLAMA2 | {"quantization_config": GPTQ}, LLAMA2_7B),
        (BERT | {"quantization_config": GPTQ}, BERT_BASE),
    ],
    ids=["deepseek-v3", "llama-3.1-8b", "llama-3.1-8b of newer libraries", "llama-2 gptq", "bert gptq"],
)
def test_what_changes_numbers_and_no_cycles_is_ignored(fields, config):
    assert from_fields(fields) == config


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "model_type must be one of bert, roberta, xlm-roberta, camembert, electra, vit, gpt2, opt, "
             "llama, mistral, qwen2, phi3, deepseek_v3, deepseek_v2, kimi_k2, "
             "not null"),
        ({"model_type": "mamba"}, 'model_type must be one of .*, not "mamba"'),
        (BERT | {"hidden_size": "768"}, 'hidden_size must be a whole number above 0, not "768"'),
        (BERT | {"num_hidden_layers": 0}, "num_hidden_layers must be a whole number above 0, not 0"),
        (BERT | {"vocab_size": True}, "vocab_size must be a whole number above 0, not true"),
        (BERT | {"num_attention_heads": 7}, "num_attention_heads must be a divisor of the 768 features .*, not 7"),
        (BERT | {"layer_norm_eps": None}, "layer_norm_eps must be a number above 0, not null"),
        (BERT | {"position_embedding_type": "relative_key"}, 'position_embedding_type must be "absolute"'),
        (BERT | {"num_labels": -1}, "num_labels must be a whole number above 0, not -1"),
        (VIT | {"hidden_act": "quick_gelu"}, 'hidden_act must be one of "gelu", .*, not "quick_gelu"'),
        (VIT | {"intermediate_size": 3000}, r"intermediate_size must be a multiple of hidden_size \(768\), not 3000"),
        (VIT | {"image_size": 225}, r"image_size must be a multiple of patch_size \(16\), not 225"),
        (VIT | {"image_size": [224, 224]}, r"image_size must be a whole number above 0, not \[224, 224\]"),
        (GPT2 | {"n_inner": 1000}, "n_inner must be null or 3072, four times n_embd, not 1000"),
        (GPT2 | {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx must be false, not true"),
        (GPT2 | {"tie_word_embeddings": 1}, "tie_word_embeddings must be one of false, true, not 1"),
        (
            LLAMA2 | {"rope_parameters": {"partial_rotary_factor": 0.5}},
            "rope_parameters.partial_rotary_factor must be 1.0, not 0.5",
        ),
        (LLAMA2 | {"rope_scaling": {"partial_rotary_factor": 0.5}}, "rope_scaling.partial_rotary_factor must be 1.0"),
        (
            LLAMA2 | {"hidden_size": 96},
            "num_attention_heads must be such that the 3 rotated features of a head are an even number, not 32",
        ),
        (DEEPSEEK | {"qk_rope_head_dim": 63}, "qk_rope_head_dim must be such that the 63 rotated .*, not 63"),
        (LLAMA2 | {"mlp_bias": "yes"}, 'mlp_bias must be true or false, not "yes"'),
        (LLAMA2 | {"partial_rotary_factor": 0.5}, "partial_rotary_factor must be 1.0, not 0.5"),
        (LLAMA2 | {"num_key_value_heads": 5}, r"num_key_value_heads must be a divisor of num_attention_heads \(32\)"),
        (LLAMA2 | {"head_dim": 63}, "head_dim must be such that the 63 rotated features of a head are .*, not 63"),
        (DEEPSEEK | {"q_lora_rank": None}, "q_lora_rank must be a whole number above 0, not null"),
        (DEEPSEEK | {"first_k_dense_replace": 0}, "first_k_dense_replace must be above 0"),
        (DEEPSEEK | {"moe_layer_freq": 2}, "moe_layer_freq must be 1, not 2"),
        (BERT | {"pruned_heads": {"0": [1, 2]}}, r'pruned_heads must be empty: .*, not {"0": \[1, 2\]}'),
        (GPT2 | {"pruned_heads": {"3": [0]}}, "pruned_heads must be empty"),
        (DEEPSEEK | {"num_key_value_heads": 8}, r"num_key_value_heads must be num_attention_heads \(128\), not 8"),
    ],
)
def test_what_our_models_do_not_have_is_refused_by_name(fields, message):
    with pytest.raises(ValueError, match=message):
        from_fields(fields)


WHOLE = "a whole number above 0"
OBJECT = "a JSON object or null"
SIZES = [
    *((BERT, name) for name in ("vocab_size", "max_position_embeddings", "hidden_size", "intermediate_size",
                                "num_hidden_layers", "num_attention_heads", "type_vocab_size", "num_labels")),
    *((VIT, name) for name in ("image_size", "patch_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                               "num_attention_heads", "num_channels")),
    *((GPT2, name) for name in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")),
    *((LLAMA2, name) for name in ("vocab_size", "max_position_embeddings", "hidden_size", "num_hidden_layers",
                                  "num_attention_heads", "intermediate_size", "num_key_value_heads", "head_dim")),
    *((DEEPSEEK, name) for name in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
                                    "q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim",
                                    "v_head_dim", "intermediate_size", "num_key_value_heads")),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "name"), SIZES, ids=lambda each: each if isinstance(each, str) else "")
def test_sizes_are_whole_numbers_and_limited(fields, name):
    for value in ("2", -2, 0, 2.0, True, False, [2], {"a": 2}):
        with pytest.raises(ValueError) as error:
            from_fields(fields | {name: value})
        assert str(error.value) == f"{name} must be {WHOLE}, not {json.dumps(value)}"
    with pytest.raises(ValueError, match=f"{name} must be at most 1048576, not {10**400}"):
        from_fields(fields | {name: 10**400})


@pytest.mark.parametrize(
    ("fields", "name", "values", "expected"),
    [
        (BERT, "model_type", [[], {}, 7, True], f"one of {', '.join(FAMILIES)}"),
        (BERT, "id2label", [7, "x", ["a", "b"], True, 0, False], OBJECT),
        (BERT, "layer_norm_eps", ["1e-5", -1, 0, True, [], float("inf"), float("nan"), 10**400], "a number above 0"),
        (BERT, "is_decoder", [0, "false", None, []], "false"),
        (BERT, "hidden_act", [None, 7, ["gelu"]],
         'one of "gelu", "gelu_new", "gelu_fast", "gelu_python", '
         '"gelu_pytorch_tanh", "relu", "silu", "swish"'),
        (VIT, "qkv_bias", [1, 1.0, "true", None], "true"),
        (GPT2, "n_inner", ["3072", 3072.0, True, 0, []], "null or 3072, four times n_embd"),
        (LLAMA2, "rope_parameters", ["x", 7, [], True, 0], OBJECT),
        (LLAMA2, "rope_scaling", ["yarn", 4.0, [], False], OBJECT),
        (LLAMA2, "quantization_config", ["fp8", 8, []], OBJECT),
        (LLAMA2, "rope_theta", ["1e4", -1, 0, None, True], "a number above 0"),
        (DEEPSEEK, "first_k_dense_replace", ["3", -3, 3.0, None, True, [3]], WHOLE),
        (DEEPSEEK, "n_routed_experts", ["256", -1, 0, 2.0, True, False, []], f"{WHOLE}, or null"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_other_fields_are_checked_too(fields, name, values, expected):
    for value in values:
        with pytest.raises(ValueError) as error:
            from_fields(fields | {name: value})
        assert str(error.value) == f"{name} must be {expected}, not {json.dumps(value)}"


def test_a_nested_field_has_its_path():
    with pytest.raises(ValueError, match='rope_parameters.rope_theta must be a number above 0, not "x"'):
        from_fields(LLAMA2 | {"rope_parameters": {"rope_theta": "x"}})


def test_errors_name_the_file(tmp_path):
    path = tmp_path / "config.json"
    path.write_text("{")
    with pytest.raises(ValueError, match="config.json is not a JSON file"):
        read_config(path)
    path.write_text("[]")
    with pytest.raises(ValueError, match="config.json must hold a JSON object"):
        read_config(path)
    for content in (b'{"model_type": "\xff"}', b"[" * 100_000, b'{"vocab_size": ' + b"9" * 5000 + b"}", b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="config.json is not a JSON file"):
            read_config(path)
    path.write_text("{}")
    with pytest.raises(ValueError, match="config.json: model_type must be one of"):
        read_config(path)
    with pytest.raises(FileNotFoundError):
        read_config(tmp_path / "other.json")


def test_a_mark_of_the_order_of_bytes_is_no_mistake(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(BERT), encoding="utf-8-sig")
    assert (tmp_path / "config.json").read_bytes().startswith(b"\xef\xbb\xbf")
    assert read_config(tmp_path / "config.json") == BERT_BASE


# -- other families ----------------------------------------------------------------------------------------------------

ROBERTA = without(BERT, "architectures") | {
    "model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1, "type_vocab_size": 1,
    "vocab_size": 50265, "layer_norm_eps": 1e-5,
}  # fmt: skip
ROBERTA_BASE = replace(BERT_BASE, segments=1, vocabulary=50265, epsilon=1e-5)
OPT = {
    "model_type": "opt", "activation_function": "relu", "do_layer_norm_before": True, "ffn_dim": 3072,
    "hidden_size": 768, "max_position_embeddings": 2048, "num_attention_heads": 12, "num_hidden_layers": 12,
    "vocab_size": 50272, "word_embed_proj_dim": 768,
}  # fmt: skip
MISTRAL = LLAMA3 | {
    "model_type": "mistral", "sliding_window": 4096, "max_position_embeddings": 32768, "rope_theta": 1e4,
    "vocab_size": 32000,
}  # fmt: skip
MISTRAL_7B = LlamaConfig(vocabulary=32000, context=32768, width=4096, depth=32, heads=32, kv_heads=8, hidden=14336,
                         window=4096)  # fmt: skip
QWEN2 = {
    "model_type": "qwen2", "hidden_act": "silu", "hidden_size": 3584, "intermediate_size": 18944,
    "max_position_embeddings": 32768, "max_window_layers": 28, "num_attention_heads": 28, "num_hidden_layers": 28,
    "num_key_value_heads": 4, "rms_norm_eps": 1e-6, "rope_theta": 1e6, "sliding_window": 131072,
    "tie_word_embeddings": False, "use_sliding_window": False, "vocab_size": 152064,
}  # fmt: skip
QWEN2_7B = LlamaConfig(vocabulary=152064, context=32768, width=3584, depth=28, heads=28, kv_heads=4, hidden=18944,
                       theta=1e6, epsilon=1e-6, qkv_bias=True)  # fmt: skip
NEMO = MISTRAL | {"hidden_size": 5120, "num_hidden_layers": 40, "head_dim": 128, "sliding_window": None}


@pytest.mark.parametrize(
    ("fields", "config"),
    [
        (ROBERTA, ROBERTA_BASE),
        (ROBERTA | {"model_type": "camembert", "vocab_size": 32005}, replace(ROBERTA_BASE, vocabulary=32005)),
        (ROBERTA | {"model_type": "xlm-roberta", "id2label": {"0": "x"}}, replace(ROBERTA_BASE, classes=1)),
        (BERT | {"model_type": "electra", "embedding_size": 768}, BERT_BASE),
        (BERT | {"hidden_act": "relu"}, replace(BERT_BASE, activation="relu")),
        (OPT, replace(GPT2_SMALL, vocabulary=50272, context=2048, activation="relu")),
        (MISTRAL, MISTRAL_7B),
        (without(MISTRAL, "sliding_window"), MISTRAL_7B),
        (without(MISTRAL, "num_key_value_heads"), MISTRAL_7B),
        (MISTRAL | {"num_key_value_heads": None}, replace(MISTRAL_7B, kv_heads=32)),
        (MISTRAL | {"sliding_window": 32768}, replace(MISTRAL_7B, window=0)),
        (NEMO, replace(MISTRAL_7B, width=5120, depth=40, head=128, window=0)),
        (QWEN2, QWEN2_7B),
        (LLAMA2 | {"model_type": "phi3", "sliding_window": 2047}, replace(LLAMA2_7B, window=2047)),
        (LLAMA2 | {"tie_word_embeddings": True}, LLAMA2_7B),
        (GPT2 | {"tie_word_embeddings": False}, GPT2_SMALL),
        (LLAMA2 | {"attention_bias": True}, replace(LLAMA2_7B, qkv_bias=True, output_bias=True)),
        (LLAMA2 | {"mlp_bias": True}, replace(LLAMA2_7B, mlp_bias=True)),
        (LLAMA2 | {"head_dim": 64}, replace(LLAMA2_7B, head=64)),
        (DEEPSEEK | {"model_type": "kimi_k2"}, replace(DEEPSEEK_V3, depth=3, expert_layers=58)),
        (
            DEEPSEEK | {"model_type": "deepseek_v2", "first_k_dense_replace": 1, "num_hidden_layers": 60},
            replace(DEEPSEEK_V3, depth=1, expert_layers=59),
        ),
    ],
)  # fmt: skip
def test_families_with_the_operators_of_our_models_are_read(fields, config):
    assert from_fields(fields) == config


@pytest.mark.parametrize(
    ("fields", "config"),
    [
        (without(BERT, "model_type"), BERT_BASE),
        (without(without(BERT, "model_type"), "architectures"), BERT_BASE),  # as Google released it
        (without(GPT2, "model_type"), GPT2_SMALL),
        (without(GPT2, "model_type") | {"architectures": ["GPT2LMHeadModel"], "n_layer": 6},
         replace(GPT2_SMALL, depth=6)),
        (without(LLAMA2, "model_type") | {"architectures": ["LlamaForCausalLM"]}, LLAMA2_7B),
        (without(ROBERTA, "model_type") | {"architectures": ["RobertaModel"]}, ROBERTA_BASE),
        (
            {"model_type": "gpt2", "hidden_size": 1600, "num_hidden_layers": 48, "num_attention_heads": 25,
             "max_position_embeddings": 1024}, GPT2_XL,
        ),
    ],
)  # fmt: skip
def test_older_files_and_other_names_of_fields_are_read(fields, config):
    assert from_fields(fields) == config


def test_a_model_type_alone_is_the_smallest_of_its_family():
    """The values that the library documents for each."""
    assert from_fields({"model_type": "bert"}) == BERT_BASE
    assert from_fields({"model_type": "vit"}) == replace(VIT_B16, epsilon=1e-12, classes=2)
    assert from_fields({"model_type": "gpt2"}) == GPT2_SMALL
    assert from_fields({"model_type": "llama"}) == replace(LLAMA2_7B, context=2048, epsilon=1e-6)
    assert from_fields({"model_type": "deepseek_v3"}) == replace(DEEPSEEK_V3, depth=3, expert_layers=58)
    assert from_fields({"model_type": "opt"}) == replace(
        GPT2_SMALL, vocabulary=50272, context=2048, activation="relu"
    )


@pytest.mark.parametrize("model_type", REFUSED)
def test_a_family_that_is_not_read_has_a_reason(model_type):
    with pytest.raises(ValueError) as error:
        from_fields({"model_type": model_type})
    assert str(error.value) == (f"model_type must be one of {', '.join(FAMILIES)}, not \"{model_type}\": "
                                f"{REFUSED[model_type]}")  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "qwen3_moe", "num_experts": 128}, 'not "qwen3_moe": its layers have experts'),
        ({"model_type": "llava", "text_config": {"model_type": "llama"}}, 'not "llava": it is several models'),
        ({"model_type": "new"}, 'not "new"$'),
        ({"architectures": ["ResNetForImageClassification"]}, "not null$"),
        (BERT | {"model_type": "electra"}, r"embedding_size must be hidden_size \(768\): a projection .*, not 128"),
        (OPT | {"word_embed_proj_dim": 512}, r"word_embed_proj_dim must be hidden_size \(768\)"),
        (OPT | {"ffn_dim": 4096}, "ffn_dim must be 3072, four times hidden_size, not 4096"),
        (OPT | {"do_layer_norm_before": False}, "do_layer_norm_before must be true, not false"),
        (QWEN2 | {"use_sliding_window": True}, "use_sliding_window must be false, not true"),
        (MISTRAL | {"sliding_window": 0}, "sliding_window must be a whole number above 0, not 0"),
        (MISTRAL | {"layer_types": [*["sliding_attention"] * 31, "full_attention"]},
         r'layer_types\[31\] must be "sliding_attention", not "full_attention"'),
        (NEMO | {"layer_types": ["sliding_attention"] * 40},
         r'layer_types\[0\] must be "full_attention", not "sliding_attention"'),
        (QWEN2 | {"layer_types": ["full_attention"] * 21 + ["sliding_attention"] * 7},
         r'layer_types\[21\] must be "full_attention", not "sliding_attention"'),
        (QWEN2 | {"layer_types": ["full_attention"] * 3}, "layer_types must be null, or a list of 28 layers"),
        (QWEN2 | {"layer_types": "full_attention"}, "layer_types must be a list or null"),
        (ROBERTA | {"max_position_embeddings": 2}, r"max_position_embeddings must be above pad_token_id \+ 1 \(2\)"),
    ],
)
def test_what_other_families_have_beyond_ours_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        from_fields(fields)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        (MISTRAL, "sliding_attention"), (NEMO, "full_attention"), (QWEN2, "full_attention"),
        (MISTRAL | {"sliding_window": 32768}, "sliding_attention"),  # it sees all
        (MISTRAL | {"sliding_window": 32768}, "full_attention"),
    ],
)  # fmt: skip
def test_attentions_that_are_as_they_are_built_may_be_listed(fields, kind):
    listed = {"layer_types": [kind] * fields["num_hidden_layers"]}
    assert from_fields(fields | listed) == from_fields(fields | {"layer_types": None}) == from_fields(fields)
    nothing = {"pruned_heads": {}}
    assert from_fields(fields | nothing) == from_fields(fields | {"pruned_heads": None}) == from_fields(fields)
