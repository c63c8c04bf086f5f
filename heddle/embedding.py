"""Sentences on the accelerator: text in, an embedding out, by the MiniLM of models/minilm.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import heddle
import numpy as np
import torch
from heddle.pretrained import load
from numpy.typing import NDArray


@dataclass(frozen=True)
class Embedding:
    """Of one sentence, by the accelerator and by PyTorch."""

    text: str
    ids: list[int]
    found: NDArray[np.float32]  # (384,)
    golden: NDArray[np.float32]
    result: Any  # what `heddle.simulate` gave
    comparison: Any = None  # with the RTL, if there was one

    @property
    def cosine(self) -> float:
        """Of the angle between the two."""
        lengths = np.linalg.norm(self.found) * np.linalg.norm(self.golden)
        return float(self.found @ self.golden / lengths)

    @property
    def sqnr_db(self) -> float:
        """10·log10(Σ y² / Σ (y − ŷ)²)."""
        return float(10 * np.log10((self.golden**2).sum() / ((self.golden - self.found) ** 2).sum()))


@dataclass
class Sentences:
    """Embeds sentences, with a program for each number of tokens, compiled when it is first needed.

    smooth  whether ranges that were measured on other sentences move outliers into the weights (SmoothQuant)
    """

    config: heddle.HardwareConfig
    precision: Any = None  # as heddle.compile takes it
    smooth: bool = True
    engine: str | None = None  # whose RTL each run is compared with
    programs: dict[int, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        minilm = import_module("heddle.models.minilm")
        try:
            folder = minilm.directory()
        except FileNotFoundError as error:  # models stand alone, and do not know our errors
            raise heddle.HeddleError(str(error)) from None
        self.model = minilm.Embedder(load(str(folder))).eval()
        self.tokenizer = import_module("tokenizers").Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.most = self.model.encoder.config.max_position_embeddings
        inputs = [(torch.tensor([self.encode(text)]),) for text in minilm.CALIBRATION]
        self.ranges = heddle.calibrate(self.model, inputs) if self.smooth else None

    def encode(self, text: str) -> list[int]:
        """The ids of a sentence. Raises HeddleError for one that is empty or too long."""
        ids = self.tokenizer.encode(text).ids
        if len(ids) < 3:
            raise heddle.HeddleError("a sentence must have at least one word")
        if len(ids) > self.most:
            raise heddle.HeddleError(f"a sentence must have at most {self.most} tokens, not {len(ids)}")
        return ids

    def program(self, tokens: int) -> Any:
        """That for sentences of so many tokens."""
        if tokens not in self.programs:
            self.programs[tokens] = heddle.compile(
                self.model, (torch.zeros(1, tokens, dtype=torch.int64),), self.config, name=f"minilm-{tokens}",
                output="embedding", precision=self.precision, ranges=self.ranges,
            )  # fmt: skip
        return self.programs[tokens]

    def embed(self, text: str) -> Embedding:
        """One sentence."""
        ids = self.encode(text)
        program, inputs = self.program(len(ids)), {"ids": np.array(ids)}
        result = heddle.simulate(program, inputs)
        comparison = heddle.lockstep(program, inputs, self.engine) if self.engine else None
        with torch.no_grad():
            golden = self.model(torch.tensor([ids]))[0].numpy()
        return Embedding(text, ids, result.outputs["embedding"].reshape(-1), golden, result, comparison)


def cosines(embeddings: Sequence[NDArray[np.floating]]) -> NDArray[np.floating]:
    """Of each pair, (N, N)."""
    unit = np.stack([each / np.float32(np.linalg.norm(each)) for each in embeddings])
    return unit @ unit.T
