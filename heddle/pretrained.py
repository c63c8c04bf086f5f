"""Models of the transformers library (the extra `hf`): from a directory with weights, or of a configuration; inputs.

A directory holds config.json and model.safetensors, or the parts of it that model.safetensors.index.json lists. Nothing
is downloaded, no code of a directory is executed, and no pickle is read.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from heddle.layers import HeddleError, nearest
from numpy.typing import NDArray
from torch import Tensor

tensors_of = import_module("heddle.compiler.capture").tensors_of
Samples = import_module("heddle.models.registry").Samples

TOKENS = 32  # of a sequence, if nothing is said
IMAGE_SIZE = 224  # of a model whose configuration does not say
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")
# What a configuration could ask to be fetched or executed, and how it was computed elsewhere.
_DROPPED = ("auto_map", "attn_implementation", "_attn_implementation", "experts_implementation", "torch_dtype", "dtype")


def library() -> Any:
    """The transformers library, which then downloads nothing. Raises HeddleError where it is missing."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        import huggingface_hub.constants
        import transformers
    except ImportError:
        raise HeddleError("a model of Hugging Face needs the extra hf: pip install 'heddle[hf]'") from None
    huggingface_hub.constants.HF_HUB_OFFLINE = True  # it may have been imported before
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def build(model_type: str, sizes: Mapping[str, Any], seed: int) -> Any:
    """The model that AutoModel makes of a configuration, with random weights. Raises HeddleError for an unknown type
    and for sizes that the library does not take."""
    transformers = library()
    config = _configuration(model_type, sizes)
    torch.manual_seed(seed)
    try:
        return transformers.AutoModel.from_config(config, trust_remote_code=False).eval()
    except Exception as error:  # whatever a model raises
        raise HeddleError(f"{model_type} cannot be made of its configuration: {_line(error)}") from error


def load(path: str) -> Any:
    """The model of a directory, in float32 and evaluation mode: of the class that config.json names in `architectures`,
    else AutoModel's. Raises HeddleError for what is missing or does not fit."""
    transformers = library()
    folder = Path(path)
    fields = _fields(folder / "config.json")
    _require_weights(folder)
    config = _configuration(fields.pop("model_type", None), fields, f"{folder / 'config.json'}: ")
    try:
        model, found = _class(transformers, config, folder).from_pretrained(
            folder, config=config, dtype=torch.float32, local_files_only=True, use_safetensors=True,
            output_loading_info=True,
        )  # fmt: skip
    except HeddleError:
        raise
    except Exception as error:  # whatever a model or a file raises
        raise HeddleError(f"{folder} cannot be loaded: {_line(error)}") from error
    for what, names in (("lacks", found["missing_keys"]), ("has other shapes of", found["mismatched_keys"])):
        if names:
            names = sorted(str(each[0] if isinstance(each, tuple) else each) for each in names)
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise HeddleError(f"{folder / _WEIGHTS} {what} {', '.join(names[:3])}{more}, which {type(model).__name__} "
                              f"has: it must hold all tensors of the model")  # fmt: skip
    return model.eval()


def _fields(path: Path) -> dict[str, Any]:
    """What config.json holds."""
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise HeddleError(f"{path} is missing: a model's directory must hold config.json and {_WEIGHTS}") from None
    except OSError as error:
        raise HeddleError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise HeddleError(f"{path} is not a JSON file: {_line(error)}") from None
    if not isinstance(found, dict):
        raise HeddleError(f"{path} must hold a JSON object, not {json.dumps(found)[:40]}")
    return found


def _require_weights(folder: Path) -> None:
    if (folder / _WEIGHTS).is_file() or (folder / _INDEX).is_file():
        return
    pickles = sorted(each.name for each in folder.iterdir() if each.suffix in _PICKLES)
    if pickles:
        raise HeddleError(f"{folder / pickles[0]} is a pickle or of another library, and is not read: reading one can "
                          f"execute code. Save the model as {_WEIGHTS}")  # fmt: skip
    raise HeddleError(f"{folder / _WEIGHTS} is missing: a model's directory must hold config.json and {_WEIGHTS}")


def _configuration(model_type: Any, fields: Mapping[str, Any], where: str = "") -> Any:
    transformers = library()
    known = transformers.CONFIG_MAPPING
    if model_type not in known:
        if not isinstance(model_type, str):
            raise HeddleError(f"{where}model_type must be the name of an architecture of transformers "
                              f"{transformers.__version__}, such as bert, not {json.dumps(model_type)}")  # fmt: skip
        near = nearest(model_type, known)
        hint = f" (did you mean {near}?)" if near else ""
        raise HeddleError(f"{where}unknown model_type {model_type!r}{hint}: it must be an architecture of transformers "
                          f"{transformers.__version__}, since no code of a directory is executed")  # fmt: skip
    try:
        return known[model_type](**{key: value for key, value in fields.items() if key not in _DROPPED})
    except Exception as error:  # whatever a configuration raises
        raise HeddleError(f"{where}{_line(error)}") from error


def _class(transformers: Any, config: Any, folder: Path) -> Any:
    """The class of the model."""
    names = config.architectures or []
    if not names:
        return transformers.AutoModel
    found = getattr(transformers, str(names[0]), None)
    if not (inspect.isclass(found) and issubclass(found, transformers.PreTrainedModel)):
        raise HeddleError(f"{folder / 'config.json'}: architectures must name a model of transformers "
                          f"{transformers.__version__}, not {names[0]!r}")  # fmt: skip
    return found


def _line(error: Exception) -> str:
    """The first lines of what a library says, as one."""
    return " ".join(str(error).split())[:300] or type(error).__name__


# -- inputs ------------------------------------------------------------------------------------------------------------


def example_inputs(
    model: Any, tokens: int | None = None, seed: int = 0, shapes: Mapping[str, list[int]] | None = None
) -> dict[str, Tensor]:
    """Random inputs of forward by name, batch dimension 1 in front, of the sizes that the configuration says.

    tokens  of a sequence, or frames of sound
    shapes  of further inputs of numbers, or instead of those, without the batch dimension
    Raises HeddleError for a model whose inputs have no such names: they can be given to heddle.compile.
    """
    random = torch.Generator().manual_seed(seed)
    makers = {
        "input_ids": _ids, "pixel_values": _pixels, "input_features": _features, "input_values": _sound,
        "bbox": _boxes, "decoder_input_ids": _ids,
    }  # fmt: skip
    names = inspect.signature(model.forward).parameters
    wanted = {name: makers[name] for name in makers if name in names}
    if not model.config.is_encoder_decoder:
        wanted.pop("decoder_input_ids", None)
    shapes = shapes or {}
    if model.main_input_name not in wanted and model.main_input_name not in shapes:
        raise HeddleError(f"no inputs can be made for {model.main_input_name} of {type(model).__name__}: give some to "
                          f"heddle.compile")  # fmt: skip
    longest = _first(model.config.get_text_config(), "max_position_embeddings", "n_positions") or TOKENS + 2
    count = max(min(TOKENS, longest - 2), 1) if tokens is None else tokens  # some models keep two places for themselves
    found = {name: make(model.config, count, random) for name, make in wanted.items() if name not in shapes}
    if "pixel_values" in found or "pixel_values" in shapes:
        _add_image_tokens(model.config, found)
    return found | {name: torch.rand(1, *shape, generator=random) for name, shape in shapes.items()}


def _ids(config: Any, tokens: int, random: torch.Generator) -> Tensor:
    vocabulary = _first(config.get_text_config(), "vocab_size") or _first(config, "vocab_size", "num_hash_buckets")
    if not isinstance(vocabulary, int):
        raise HeddleError(f"no ids can be made for {config.model_type}, whose configuration says no count "
                          f"of them: give some to heddle.compile")  # fmt: skip
    ids = torch.randint(0, vocabulary, (1, tokens), generator=random)
    placeholder = _first(config, "image_token_index", "image_token_id")
    return ids if placeholder is None else ids.where(ids != placeholder, (placeholder + 1) % vocabulary)


def _add_image_tokens(config: Any, inputs: dict[str, Tensor]) -> None:
    """In front of the text, a token for each place of an image that takes one."""
    placeholder = _first(config, "image_token_index", "image_token_id")
    if placeholder is None or "input_ids" not in inputs:
        return
    count = _first(config, "image_seq_length")
    if count is None:
        vision = _first(config, "vision_config")
        size, patch = (_first(vision, name) for name in ("image_size", "patch_size"))
        if not isinstance(size, int) or not isinstance(patch, int):
            raise HeddleError(f"no inputs can be made for {config.model_type}, whose configuration does not say "
                              f"how many tokens an image takes: give some to heddle.compile")  # fmt: skip
        count = (size // patch) ** 2
    inputs["input_ids"] = torch.cat([torch.full((1, count), placeholder), inputs["input_ids"]], 1)


def _pixels(config: Any, tokens: int, random: torch.Generator) -> Tensor:
    config = _first(config, "vision_config") or config
    size = _first(config, "image_size") or IMAGE_SIZE
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    frames = _first(config, "num_frames")
    shape = [*([frames] if frames else []), _first(config, "num_channels", "in_channels") or 3, height, width]
    return torch.randn(1, *shape, generator=random)


def _features(config: Any, tokens: int, random: torch.Generator) -> Tensor:
    """A spectrogram: as long as the positions say, or of so many frames."""
    if (places := _first(config, "max_source_positions")) and (bins := _first(config, "num_mel_bins")):
        return torch.randn(1, bins, 2 * places, generator=random)  # two frames for a position
    bins = _first(config, "feature_projection_input_dim", "num_mel_bins", "input_feat_per_channel")
    return torch.randn(1, tokens, bins or 80, generator=random)


def _sound(config: Any, tokens: int, random: torch.Generator) -> Tensor:
    """So many samples that its convolutions make frames of them; or a spectrogram."""
    if (length := _first(config, "max_length")) and (bins := _first(config, "num_mel_bins")):
        return torch.randn(1, length, bins, generator=random)
    samples = tokens
    for kernel, stride in reversed([*zip(_first(config, "conv_kernel") or [], _first(config, "conv_stride") or [],
                                         strict=True)]):  # fmt: skip
        samples = (samples - 1) * stride + kernel
    return torch.randn(1, samples, generator=random)


def _boxes(config: Any, tokens: int, random: torch.Generator) -> Tensor:
    """(left, top, right, bottom) of each token."""
    places = _first(config, "max_2d_position_embeddings") or 1024
    corners = torch.randint(0, places, (2, 1, tokens, 2), generator=random)
    return torch.cat([corners.amin(0), corners.amax(0)], -1)


def _first(config: Any, *names: str) -> Any:
    """The first of these fields that a configuration has, and that says something."""
    return next((value for name in names if (value := getattr(config, name, None)) is not None), None)


# -- runs --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Checkpoint:
    """A directory as what `heddle run` takes: a workload, with random inputs."""

    name: str
    module: Any
    tokens: int | None = None
    seed: int = 0
    count: int | None = None
    output: str = "output"  # what a result without a name is called

    @staticmethod
    def read(path: str, tokens: int | None = None, seed: int = 0) -> Checkpoint:
        """Raises HeddleError as `load` of this module does."""
        return Checkpoint(Path(path).resolve().name, load(path), tokens, seed)

    def model(self) -> Any:
        """The module."""
        return self.module

    def example_inputs(self) -> dict[str, Tensor]:
        """For one input, by name."""
        return example_inputs(self.module, self.tokens, self.seed)

    def load(self, count: int) -> Any:
        """Samples of so many inputs, each with a seed of its own."""
        found = [example_inputs(self.module, self.tokens, self.seed + number) for number in range(count)]
        return Samples({name: torch.cat([each[name] for each in found]).numpy() for name in found[0]})

    def golden(self, samples: Any) -> dict[str, NDArray]:
        """What PyTorch computes of them, one by one, by the names of the results."""
        found = [golden(self.module, {name: torch.from_numpy(array[number : number + 1])
                                      for name, array in samples.inputs.items()})
                 for number in range(len(next(iter(samples.inputs.values()))))]  # fmt: skip
        return {name: np.stack([each[name] for each in found]) for name in found[0]}


def golden(model: Any, inputs: Mapping[str, Tensor]) -> dict[str, NDArray]:
    """What a model returns for these inputs, by the names that heddle.compile gives its results. Raises HeddleError for
    inputs that it does not take."""
    try:
        with torch.no_grad():
            found = tensors_of(model(**inputs))
    except Exception as error:  # whatever a model raises
        given = ", ".join(f"{name} {tuple(each.shape)}" for name, each in inputs.items())
        raise HeddleError(f"{type(model).__name__} does not take {given}: {_line(error)}") from error
    return {name or "output": each.numpy() for name, each in found.items()}
