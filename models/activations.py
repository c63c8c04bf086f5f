"""The activations that an MLP can have, by the names that Hugging Face configuration files give them."""

from functools import partial

from torch import Tensor, nn
from torch.nn import functional

gelu_tanh = partial(functional.gelu, approximate="tanh")

ACTIVATIONS = {
    "gelu": functional.gelu,
    "gelu_new": gelu_tanh,
    "gelu_fast": gelu_tanh,
    "gelu_python": functional.gelu,
    "gelu_pytorch_tanh": gelu_tanh,
    "relu": functional.relu,
    "silu": functional.silu,
    "swish": functional.silu,
}


class Activation(nn.Module):
    """One of `ACTIVATIONS` as a module, of any shape."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.function = ACTIVATIONS[name]

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)
