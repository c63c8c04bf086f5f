"""Training on the accelerator: a step (loss, gradients, updates of parameters) is a program like any other.

PyTorch differentiates the model, and what it records (`make_fx`) is compiled: parameters and the moments of an
optimiser are inputs and results of the program.

    training = heddle.Training(model, (ids, targets), config, heddle.AdamW(1e-3))
    for ids, targets in batches:
        loss = training.step(ids, targets)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol

import heddle
import numpy as np
import torch
from heddle.layers import require_type
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel

State = dict[str, Tensor]
Loss = Callable[..., Tensor]


class Optimiser(Protocol):
    """How parameters follow their gradients.

    moments  what is kept for each parameter between steps, by name
    """

    moments: tuple[str, ...]

    def factors(self, step: int) -> list[float]:
        """The numbers in which step `step` (from 1 on) differs from others: an input of the program."""
        ...

    def updated(self, parameter: Tensor, gradient: Tensor, moments: State, factors: Tensor) -> tuple[Tensor, State]:
        """(the parameter, its moments) after a step."""
        ...


def _require(name: str, value: object, least: float, end: float) -> None:
    """Raise HeddleError for what is no number from `least` on and below `end`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < end:
        below = "" if math.isinf(end) else f" and below {end:g}"
        raise heddle.HeddleError(f"{name} must be a number from {least:g} on{below}, not {value!r}")


@dataclass(frozen=True)
class SGD:
    """p − rate·g, with momentum m = momentum·m + g in the place of g (torch.optim.SGD without damping)."""

    rate: float
    momentum: float = 0.0

    def __post_init__(self) -> None:
        _require("rate", self.rate, 0, math.inf)
        _require("momentum", self.momentum, 0, 1)

    @property
    def moments(self) -> tuple[str, ...]:
        """The velocity, where there is momentum."""
        return ("velocity",) if self.momentum else ()

    def factors(self, step: int) -> list[float]:
        """The rate."""
        return [self.rate]

    def updated(self, parameter: Tensor, gradient: Tensor, moments: State, factors: Tensor) -> tuple[Tensor, State]:
        """See the class."""
        if self.momentum:
            gradient = moments["velocity"] * self.momentum + gradient
        return parameter - gradient * factors[0], {"velocity": gradient} if self.momentum else {}


@dataclass(frozen=True)
class AdamW:
    """Adam with decay apart from the gradient (Loshchilov and Hutter, 2019; torch.optim.AdamW):

    m = β₁·m + (1 − β₁)·g,  v = β₂·v + (1 − β₂)·g²,
    p = p·(1 − rate·decay) − rate / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε)
    """

    rate: float
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    decay: float = 0.01

    moments = ("mean", "square")

    def __post_init__(self) -> None:
        _require("rate", self.rate, 0, math.inf)
        if not isinstance(self.betas, tuple) or len(self.betas) != 2:
            raise heddle.HeddleError(f"betas must be two numbers, such as (0.9, 0.999), not {self.betas!r}")
        for each in self.betas:
            _require("each of betas", each, 0, 1)
        _require("epsilon", self.epsilon, 0, math.inf)
        _require("decay", self.decay, 0, math.inf)

    def factors(self, step: int) -> list[float]:
        """rate / (1 − β₁ᵗ) and 1 / √(1 − β₂ᵗ)"""
        first, second = self.betas
        return [self.rate / (1 - first**step), 1 / math.sqrt(1 - second**step)]

    def updated(self, parameter: Tensor, gradient: Tensor, moments: State, factors: Tensor) -> tuple[Tensor, State]:
        """See the class."""
        first, second = self.betas
        mean = moments["mean"] * first + gradient * (1 - first)
        square = moments["square"] * second + gradient * gradient * (1 - second)
        change = mean / (torch.sqrt(square) * factors[1] + self.epsilon)
        return parameter * (1 - self.rate * self.decay) - change * factors[0], {"mean": mean, "square": square}


@dataclass
class Training:
    """Steps of training of a model by one compiled program.

    model      what is trained, without dropout; its parameters stay as they are, those here follow the steps
    inputs     example inputs of its forward, of the shapes of each batch
    config     a machine, best with bf16 PEs, and values and vector arithmetic of float32: small changes vanish in less
    optimiser  SGD or AdamW
    loss       a function of the model's result, or None where that is the loss
    precision  as `heddle.compile` takes it
    Raises HeddleError for a result that is no single number, and for what cannot be compiled.
    """

    model: nn.Module
    inputs: Sequence[Tensor]
    config: Any
    optimiser: Optimiser
    loss: Loss | None = None
    precision: str | None = None
    parameters: State = field(init=False)
    moments: dict[str, State] = field(init=False)
    program: Any = field(init=False)
    last: Any = field(init=False, default=None)  # what `heddle.simulate` gave for the last step
    steps: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        import_module("heddle.compiler.capture").require_model(self.model)
        require_type("the optimiser", self.optimiser, (SGD, AdamW), "SGD or AdamW")
        require_type("inputs", self.inputs, (tuple, list), "a tuple of tensors, one for each input of forward")
        for each in self.inputs:
            require_type("each of inputs", each, Tensor, "a tensor")
        found = self.model.named_parameters()
        self.parameters = {name: each.detach().clone() for name, each in found if each.requires_grad}
        if not self.parameters:
            raise heddle.HeddleError("the model has no parameter that could be trained")
        self.moments = {
            moment: {name: torch.zeros_like(each) for name, each in self.parameters.items()}
            for moment in self.optimiser.moments
        }
        factors = torch.tensor(self.optimiser.factors(1))
        self._module = self._recorded([*self.inputs, factors, *self._state().values()])
        given = (*self.inputs, factors, *self._state().values())
        self.program = heddle.compile(self._module, given, self.config, name="training step", precision=self.precision)

    def step(self, *inputs: Tensor | NDArray[Any]) -> float:
        """The loss of a batch, after which parameters and moments are those of the next step."""
        self.last = heddle.simulate(self.program, self.feed(*inputs))
        self.steps += 1
        loss, *found = self.last.outputs.values()
        state = [self.parameters, *self.moments.values()]
        places = [(part, name) for part in state for name in self.parameters]
        for (part, name), value in zip(places, found, strict=True):
            part[name] = torch.from_numpy(np.array(value, np.float32)).reshape(part[name].shape)
        return float(np.ravel(loss)[0])

    def feed(self, *inputs: Tensor | NDArray[Any]) -> dict[str, NDArray[Any]]:
        """What the program takes for the next step with a batch, by the names of its inputs."""
        if [np.shape(each) for each in inputs] != [each.shape for each in self.inputs]:
            shapes = ", ".join(str(tuple(each.shape)) for each in self.inputs)
            raise heddle.HeddleError(f"a step takes inputs of shapes {shapes}")
        factors = np.array(self.optimiser.factors(self.steps + 1), np.float32)
        given = [*(np.asarray(each) for each in inputs), factors, *(each.numpy() for each in self._state().values())]
        takes = self.program.takes()
        return {name: each.reshape(takes[name]) for name, each in zip(self._names(), given, strict=True)}

    def trained(self) -> nn.Module:
        """The model with the parameters as they are now."""
        self.model.load_state_dict(self.parameters, strict=False)
        return self.model

    def _state(self) -> State:
        """Parameters and moments, by the names of the program's inputs."""
        parts = {"": self.parameters} | {f"{moment} of ": each for moment, each in self.moments.items()}
        return {before + name: each for before, part in parts.items() for name, each in part.items()}

    def _names(self) -> list[str]:
        placeholders = [node for node in self._module.graph.nodes if node.op == "placeholder"]
        return [str(node.target) for node in placeholders]

    def _recorded(self, given: Sequence[Tensor]) -> GraphModule:
        """The step as a module of PyTorch calls: (inputs, factors, parameters, moments) → (loss, parameters, moments).
        """
        count, names = len(self.inputs), list(self.parameters)

        def step(*values: Tensor) -> tuple[Tensor, ...]:
            inputs, factors, state = values[:count], values[count], values[count + 1 :]
            parameters = [each.detach().requires_grad_() for each in state[: len(names)]]
            result = torch.func.functional_call(self.model, dict(zip(names, parameters, strict=True)), tuple(inputs))
            loss = self.loss(result) if self.loss else getattr(result, "loss", result)
            if not isinstance(loss, Tensor) or loss.numel() != 1:
                raise heddle.HeddleError("what is trained must have one number as its result, the loss: give a "
                                         "function of the model's result as `loss`")  # fmt: skip
            gradients = torch.autograd.grad(loss, parameters)
            updated, kept = [], {moment: [] for moment in self.moments}
            for place, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
                own = {moment: state[len(names) * at + place] for at, moment in enumerate(self.moments, 1)}
                new, moments = self.optimiser.updated(parameter.detach(), gradient, own, factors)
                updated.append(new)
                for moment, value in moments.items():
                    kept[moment].append(value)
            return loss.detach(), *updated, *(each for values in kept.values() for each in values)

        self.model.eval()
        try:
            with sdpa_kernel(SDPBackend.MATH):
                module = make_fx(step)(*given)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:  # what PyTorch says of wrong inputs
            raise heddle.HeddleError(f"the model cannot be differentiated for these inputs: {error}") from None
        _rename(module, [*(f"input_{place}" for place in range(count)), "factors", *self._state()])
        return module


def _rename(module: GraphModule, names: Sequence[str]) -> None:
    """Give the inputs of a module names, as far as Python has them."""
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    for node, name in zip(placeholders, names, strict=True):
        node.target = node.name = "".join(each if each.isalnum() else "_" for each in name)
    module.recompile()
