"""The workloads that `heddle run` knows by name: a model, its inputs and what its output is called."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from . import bert, digits, encoder, vit

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Samples:
    """N inputs: the arguments of the model's forward by name, (N, …) each, and labels (N) where there are any."""

    inputs: dict[str, NDArray]
    labels: NDArray[np.int64] | None = None

    def split(self) -> list[dict[str, Tensor]]:
        """Each input by itself, batch dimension 1 in front."""
        count = len(next(iter(self.inputs.values())))
        return [{name: torch.from_numpy(array[number : number + 1]) for name, array in self.inputs.items()}
                for number in range(count)]  # fmt: skip

    def tensors(self) -> tuple[Tensor, ...]:
        """The inputs as arguments of forward."""
        return tuple(torch.from_numpy(array) for array in self.inputs.values())


@dataclass(frozen=True)
class Workload:
    """What can be run: `model` builds it in evaluation mode, `load` gives the first `count` of its inputs."""

    name: str
    description: str
    model: Callable[[], nn.Module]
    load: Callable[[int], Samples]
    output: str  # name of what forward returns
    count: int | None = None  # inputs there are; None: as many as asked for

    def example_inputs(self) -> tuple[Tensor, ...]:
        """The arguments of forward for one input, batch dimension 1 in front."""
        return self.load(1).tensors()

    def golden(self, samples: Samples) -> dict[str, NDArray]:
        """What PyTorch computes of these inputs, (N, …), by the names of the results."""
        with torch.no_grad():
            return {self.output: self.model()(*samples.tensors()).numpy()}


def _digits_vit() -> nn.Module:
    path = WEIGHTS / "digits-vit.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: make it with python -m heddle.models.train_vit")
    model = vit.Vit(vit.VitConfig())
    model.load_state_dict(load_file(path))
    return model.eval()


def _digits(count: int) -> Samples:
    images, labels = digits.load_images("test")
    return Samples({"images": images[:count].numpy()}, labels[:count].numpy())


def _tokens(tokens: int, width: int) -> Callable[[int], Samples]:
    return lambda count: Samples({"x": np.random.RandomState(1).randn(count, tokens, width).astype(np.float32)})


def _sentences(tokens: int, config: bert.BertConfig) -> Callable[[int], Samples]:
    def load(count: int) -> Samples:
        ids = np.random.RandomState(1).randint(0, config.vocabulary, (count, tokens))
        second = np.random.RandomState(2).randint(1, tokens, (count, 1))  # where the second segment begins
        return Samples({"ids": ids, "segments": (np.arange(tokens) >= second).astype(np.int64)})

    return load


_LAYER = encoder.EncoderConfig()
_BERT = bert.BertConfig()

WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in [
        Workload("digits-vit", "vision transformer trained on 8 × 8 digits, over the 540 test images",
                 _digits_vit, _digits, "logits", digits.TEST_IMAGES),
        Workload("bert-tiny", "two post-norm layers over embeddings of 16 tokens, random weights",
                 lambda: bert.seeded(_BERT), _sentences(16, _BERT), "logits"),
        Workload("encoder-layer", "one pre-norm encoder layer on 10 tokens, random weights",
                 lambda: encoder.seeded(encoder.PreNormLayer, _LAYER), _tokens(10, _LAYER.width), "y"),
        Workload("encoder-layer-post", "one post-norm encoder layer on 10 tokens, random weights",
                 lambda: encoder.seeded(encoder.PostNormLayer, _LAYER), _tokens(10, _LAYER.width), "y"),
    ]
}  # fmt: skip
