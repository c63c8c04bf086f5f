"""For each call of PyTorch a rule, which reads like its definition.

A rule gets a `Builder` and the arguments of the call, with nodes of the new graph for tensors, and returns what takes
the place of the call: a node, or a tuple of them where the call has several results. Overloads of a name are one rule,
since the builder tells numbers and tensors apart.
"""

from . import (  # noqa: F401
    arithmetic,
    attention,
    choice,
    contraction,
    fourier,
    functions,
    losses,
    normalisation,
    products,
    reductions,
    rounding,
    scatter,
)
from .builder import RULES, Builder, name_of_call

__all__ = ["RULES", "Builder", "name_of_call"]
