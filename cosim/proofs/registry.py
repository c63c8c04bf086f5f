"""What is proved, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .engine import Design, Verdict, prove


@dataclass(frozen=True)
class Proof:
    """A design whose properties are proved together."""

    name: str
    about: str  # the file of hw/
    function: Callable[..., Design]
    arguments: tuple[object, ...]
    depth: int
    cover_depth: int
    slow: bool  # it takes more than a few seconds

    def build(self) -> Design:
        """The design, anew each time."""
        return self.function(*self.arguments)

    def run(self) -> Verdict:
        """Prove it."""
        return prove(self.build(), self.depth, self.cover_depth)


PROOFS: dict[str, Proof] = {}


def proof(
    name: str, *arguments: object, depth: int = 4, cover_depth: int = 24, slow: bool = False
) -> Callable[[Callable[..., Design]], Callable[..., Design]]:
    """Register a function that makes a design, with its arguments, under a name; it may have several."""

    def register(build: Callable[..., Design]) -> Callable[..., Design]:
        assert name not in PROOFS, name
        about = build.__module__.rpartition(".")[2]
        PROOFS[name] = Proof(name, f"hw/{about}.py", build, arguments, depth, cover_depth, slow)
        return build

    return register
