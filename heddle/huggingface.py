"""Models of the transformers library: built from a configuration, or read from a directory, and inputs for them.

Needs the extra `hf`. Nothing is ever downloaded, and no code from a directory is executed.
"""

from __future__ import annotations

import inspect
import os
from typing import Any

import torch
from heddle.layers import HeddleError
from torch import Tensor


def _library() -> Any:
    """The transformers library. Raises HeddleError where it is missing."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        import transformers
    except ImportError:
        raise HeddleError("models of Hugging Face need the extra hf: pip install 'heddle[hf]'") from None
    transformers.logging.set_verbosity_error()
    return transformers


def build(model_type: str, sizes: dict[str, Any], seed: int) -> Any:
    """A model with random weights, as AutoModel makes it of a configuration."""
    transformers = _library()
    config = transformers.AutoConfig.for_model(model_type, **sizes)
    torch.manual_seed(seed)
    model = transformers.AutoModel.from_config(config)
    return model.eval()


def example_inputs(model: Any, length: int | None, seed: int, more: dict[str, list[int]] | None = None) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    config = model.config
    names = inspect.signature(model.forward).parameters
    text = config.get_text_config()
    length = length or 16
    found = {}
    main = model.main_input_name
    wanted = [main]
    if {"input_ids", "pixel_values"} <= set(names):
        wanted = ["input_ids", "pixel_values"]
    if config.is_encoder_decoder and "decoder_input_ids" in names:
        wanted.append("decoder_input_ids")
    if "bbox" in names:
        wanted.append("bbox")
    def ids(n):
        v = getattr(text, "vocab_size", 99)
        x = torch.randint(5, v - 1, (1, n), generator=random)
        return x
    for name in wanted:
        if name in ("input_ids", "decoder_input_ids"):
            x = ids(length if name == "input_ids" else max(length // 2, 1))
            if name == "input_ids":
                token = getattr(config, "image_token_index", None) or getattr(config, "image_token_id", None)
                if token is not None:
                    x = torch.cat([torch.full((1, 16), token), x], 1)
            found[name] = x
        elif name in ("pixel_values", "pixel_values_videos"):
            vision = getattr(config, "vision_config", None) or config
            size = getattr(vision, "image_size", 32)
            size = size if isinstance(size, (list, tuple)) else (size, size)
            frames = (vision.num_frames,) if hasattr(vision, "num_frames") and model.base_model_prefix in ("videomae", "vivit", "timesformer") else ()
            found[name] = torch.randn(1, *frames, getattr(vision, "num_channels", 3), *size, generator=random)
        elif name == "input_features":
            mel = getattr(config, "num_mel_bins", None) or getattr(config, "feature_projection_input_dim", None) or config.input_feat_per_channel
            if hasattr(config, "num_mel_bins"):
                found[name] = torch.randn(1, mel, 2 * config.max_source_positions, generator=random)
            else:
                found[name] = torch.randn(1, 32, mel, generator=random)
        elif name == "input_values":
            if hasattr(config, "max_length") and hasattr(config, "num_mel_bins"):
                found[name] = torch.randn(1, config.max_length, config.num_mel_bins, generator=random)
            else:
                found[name] = torch.randn(1, 640, generator=random)
        elif name == "bbox":
            found[name] = torch.randint(0, 32, (1, length, 4), generator=random).sort(-1)[0]
    for name, shape in (more or {}).items():
        found[name] = torch.rand(1, *shape, generator=random)
    return found
