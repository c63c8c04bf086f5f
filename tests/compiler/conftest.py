"""Small machines, and a way to run a model on one of them against PyTorch."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from heddle.arch.config import PRESETS, HardwareConfig
from heddle.arch.program import Program
from heddle.compiler.builder import Tiling
from heddle.compiler.pipeline import compile
from heddle.sim.machine import simulate
from numpy.typing import NDArray
from torch import Tensor, nn

from ..machines import ODD

_SIMPLE = Tiling()


@dataclass
class Run:
    """Outputs of PyTorch and of the accelerator, for a batch of inputs."""

    program: Program
    golden: NDArray[np.float32]
    output: NDArray[np.float32]
    cycles: int

    @property
    def sqnr_db(self) -> float:
        """Signal to quantisation noise."""
        golden = self.golden.astype(np.float64)
        return 10 * np.log10((golden**2).sum() / ((golden - self.output) ** 2).sum())


@pytest.fixture
def nano() -> HardwareConfig:
    return PRESETS["nano"]


@pytest.fixture
def odd() -> HardwareConfig:
    """An array that shares no factor with anything."""
    return ODD


@pytest.fixture(params=["nano", "odd"])
def config(request, nano, odd) -> HardwareConfig:
    return {"nano": nano, "odd": odd}[request.param]


@pytest.fixture
def run() -> Callable[..., Run]:
    """run(model, config, *inputs): compile for the first of the inputs, simulate values and cycles of all of them.
    Without a `tiling`, the simplest one; None searches for the quickest."""

    def run_model(
        model: nn.Module, config: HardwareConfig, *inputs: Tensor, tiling: Tiling | None = _SIMPLE, **options
    ) -> Run:
        model = model.eval()
        program = compile(model, [each[:1] for each in inputs], config, tiling=tiling, **options)
        with torch.no_grad():
            golden = model(*inputs).numpy()
        names = list(program.takes())
        result = simulate(program, dict(zip(names, (each.numpy() for each in inputs), strict=True)))
        (output,) = result.outputs.values()
        return Run(program, golden, output, result.cycles)

    return run_model


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)
