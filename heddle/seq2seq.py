"""Encoder–decoders in Hugging Face directories, as `heddle generate` and a `heddle.Session` take them.

The source (ids of a text, or features of a sound) goes through the encoder once; the tokens of the answer follow one by
one, from the ids that the configuration begins with. The model stays as transformers has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from heddle.causal import CausalModel
from heddle.layers import HeddleError
from torch import Tensor, nn


class Logits(nn.Module):
    """(source, ids (1, T) int64) → logits (1, T, vocabulary), of a model whose source has the name `main`."""

    def __init__(self, model: nn.Module, main: str) -> None:
        super().__init__()
        self.model, self.main = model, main

    def forward(self, source: Tensor, ids: Tensor) -> Tensor:
        return self.model(**{self.main: source}, decoder_input_ids=ids, use_cache=False).logits


class Bound(nn.Module):
    """ids → logits, for one source: what the reference goes on from."""

    def __init__(self, model: nn.Module, source: Tensor) -> None:
        super().__init__()
        self.model, self.source = model, source

    def forward(self, ids: Tensor) -> Tensor:
        return self.model(self.source, ids)


@dataclass
class Seq2SeqModel(CausalModel):
    """A directory as a model that answers: a prompt is its source."""

    @property
    def main(self) -> str:
        """What forward calls the source."""
        return self.module.main_input_name

    @property
    def context(self) -> int:
        """The longest answer that its configuration allows, with what it begins with."""
        config = self.module.config.get_text_config(decoder=True)
        return getattr(config, "max_target_positions", None) or getattr(config, "max_position_embeddings", None) or 512

    @property
    def first(self) -> list[int]:
        """The ids that each answer begins with. Raises HeddleError where the configuration names none."""
        settings = self.module.generation_config
        start = settings.decoder_start_token_id
        start = settings.bos_token_id if start is None else start
        if start is None:
            raise HeddleError(f"the configuration of {self.name} must say what an answer begins with: "
                              f"decoder_start_token_id")  # fmt: skip
        forced = settings.forced_bos_token_id
        return [start] if forced is None else [start, forced]

    def model(self) -> nn.Module:
        """(source, ids) → logits."""
        return Logits(self.module, self.main).eval()

    def source(self, prompt: str) -> Tensor:
        """What a prompt is: a text as ids, of a model of sound or other features the path of a .npy file. Raises
        HeddleError for a file that holds no features, and ValueError as `encode` does."""
        if self.main == "input_ids":
            ids = self.encode(prompt)
            if not ids:
                raise ValueError("a source must have at least one token")
            return torch.tensor([ids])
        try:
            features = np.load(Path(prompt), allow_pickle=False)
        except (OSError, ValueError) as error:
            raise HeddleError(f"the prompt of {self.name} must be a .npy file with its {self.main}: {error}") from None
        if features.dtype.kind != "f" or features.ndim not in (2, 3):
            raise HeddleError(f"{prompt} must hold {self.main} of floating point, (features, frames), not "
                              f"{features.dtype} of shape {features.shape}")  # fmt: skip
        return torch.from_numpy(features.astype(np.float32)).reshape(1, *features.shape[-2:])

    def require_plain(self) -> None:
        """Raise HeddleError for settings of generation that choose otherwise than by the likeliest token."""
        settings, asked = self.module.generation_config, []
        for name, plain in (("num_beams", 1), ("no_repeat_ngram_size", 0), ("repetition_penalty", 1.0),
                            ("suppress_tokens", None), ("begin_suppress_tokens", None), ("bad_words_ids", None),
                            ("min_length", 0), ("forced_decoder_ids", None)):  # fmt: skip
            value = getattr(settings, name, None)
            if value not in (None, plain, []):
                asked.append(f"{name} = {value}")
        if asked:
            raise HeddleError(f"{self.name} asks for {'; '.join(asked)}, but text is made of the likeliest token, or "
                              f"of samples: leave it out of generation_config.json")  # fmt: skip
