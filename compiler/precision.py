"""How many bits weights and activations have: chosen per layer, computed by passes over the same array.

On int8 PEs a number of 16 bits is two int8 digits, 256·high + low, so its products take two or four passes. bf16 PEs
take bf16 numbers as they are. "w8a8+outliers" is w8a8 with 16 bits for a few channels (outliers.py).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from enum import Enum
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from typing import TypeAlias

from ..arch.config import HardwareConfig
from ..arch.errors import PrecisionError, require_type, unknown


class Precision(Enum):
    """Weights and activations of a matrix product."""

    W8A8 = "w8a8"
    W8A16 = "w8a16"
    W16A16 = "w16a16"
    BF16 = "bf16"

    @property
    def weight_digits(self) -> int:
        """int8 digits of a weight."""
        return 2 if self is Precision.W16A16 else 1

    @property
    def activation_digits(self) -> int:
        """int8 digits of an activation."""
        return 2 if self in (Precision.W8A16, Precision.W16A16) else 1

    @cached_property
    def planes(self) -> int:
        """Panels of sums besides the first, one for each power of 256."""
        return self.weight_digits + self.activation_digits - 2

    @cached_property
    def passes(self) -> list[tuple[int, int, int]]:
        """(plane of sums, digit of x, digit of the weight) of each pass; digit 0 is the high, or only, one."""
        digits = [(x, weight) for x in range(self.activation_digits) for weight in range(self.weight_digits)]
        return sorted((x + weight, x, weight) for x, weight in digits)


SPLIT = "w8a8+outliers"  # w8a8, but for the channels that are far greater than the others: see outliers.py
SMALL = ".outliers"  # the layer of what is computed of these, behind that of all
MOST_PLANES = 1 + max(each.planes for each in Precision)  # panels of sums of a product

# One for all layers, or by the name of the layer ("layers.*.mlp": "w8a16").
PrecisionChoice: TypeAlias = "str | Mapping[str, str] | PrecisionRule"


class PrecisionRule:
    """Which precision a layer has: that of the first pattern that its name fits, or that of a module that it is in;
    w8a8, or bf16 on bf16 PEs, if none. Without a config the PEs are taken to fit."""

    def __init__(self, choice: PrecisionChoice | None = None, config: HardwareConfig | None = None) -> None:
        if isinstance(choice, PrecisionRule):
            choice = {pattern: choice.named(pattern) for pattern in choice.patterns}
        bf16 = config is not None and config.pe == "bf16"
        self.default = Precision.BF16 if bf16 else Precision.W8A8
        choice = self.default.value if choice is None else choice
        require_type("precision", choice, (str, Mapping), "one of " + ", ".join(each.value for each in Precision)
                     + ", or names of layers with one for each")  # fmt: skip
        choices = {"*": choice} if isinstance(choice, str) else dict(choice)
        for pattern in choices:
            require_type("the name of a layer with a precision", pattern, str, "text, such as 'layers.*.mlp'")
        self.split = {pattern for pattern, name in choices.items() if name == SPLIT}
        self.patterns = {pattern: _parse(name) for pattern, name in choices.items()}
        for precision in self.patterns.values():
            if config is not None and (precision is Precision.BF16) != bf16:
                fitting = "bf16" if bf16 else "w8a8, w8a16 or w16a16"
                raise PrecisionError(f"the {config.pe} PEs of {config.title} compute in {fitting}, not "
                                     f"{precision.value}")  # fmt: skip

    def of(self, layer: str) -> Precision:
        """The precision of the layer of that name."""
        if layer.endswith(SMALL) and self.splits(layer.removesuffix(SMALL)):
            return Precision.W16A16
        found = (precision for pattern, precision in self.patterns.items() if _fits(layer, pattern))
        return next(found, self.default)

    def splits(self, layer: str) -> bool:
        """Whether the outlier channels of a layer have more bits than the others."""
        found = next((pattern for pattern in self.patterns if _fits(layer, pattern)), None)
        return found in self.split

    def named(self, pattern: str) -> str:
        """The precision of a pattern, as it was given."""
        return SPLIT if pattern in self.split else self.patterns[pattern].value

    @property
    def least(self) -> Precision:
        """Of those that layers may have, the one of the fewest bits."""
        found = [*self.patterns.values(), *([] if "*" in self.patterns else [self.default])]
        return min(found, key=lambda each: each.planes)

    def within(self, layers: Collection[str]) -> PrecisionRule:
        """The same for a part of a model, which need not have the layers of every pattern."""
        found = PrecisionRule(self)
        found.default = self.default
        found.patterns = {pattern: precision for pattern, precision in self.patterns.items()
                          if pattern == "*" or any(_fits(layer, pattern) for layer in layers)}  # fmt: skip
        return found

    def __str__(self) -> str:
        if [*self.patterns] == ["*"]:
            return self.named("*")
        return ", ".join(f"{pattern}={self.named(pattern)}" for pattern in self.patterns)

    def require_layers(self, layers: Collection[str]) -> None:
        """Raise HeddleError for a pattern that fits none of the layers, which would change nothing."""
        for pattern in self.patterns:
            if pattern != "*" and not any(_fits(layer, pattern) for layer in layers):
                known = {re.sub(r"(?<![^.])\d+(?![^.])", "*", layer): None for layer in layers}
                raise PrecisionError(str(unknown("layer", pattern, known, "layers with a precision")))


@lru_cache(maxsize=1 << 14)
def _fits(layer: str, pattern: str) -> bool:
    """Whether the name of a layer, or of a module that it is in, fits a pattern."""
    parts = layer.split(".")
    return any(fnmatchcase(".".join(parts[:count]), pattern) for count in range(1, len(parts) + 1))


def _parse(name: str) -> Precision:
    try:
        return Precision.W8A8 if name == SPLIT else Precision(name)
    except ValueError:
        raise unknown("precision", name, [*(each.value for each in Precision), SPLIT], "precisions") from None
