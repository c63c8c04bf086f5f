"""How scalar registers follow from where a sequence stands, so that one program serves every position.

The machine has no division: the host gives it positions ready-made, in blocks of C = `config.columns` tokens and in
tiles of R = `config.rows`. With a sliding window, attention starts at the block that holds the oldest token in sight.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum

from .config import SCALAR_COUNT, SCALAR_LIMIT, HardwareConfig
from .errors import HeddleError
from .ranges import make_plain, require_range


class ScalarKind(Enum):
    """What a register holds, for a sequence of which `position` tokens are cached and `rows` come with this run."""

    BLOCK = "block"  # position // C: the block of the first new token
    SLOT = "slot"  # position mod C: its place there
    FIRST = "first"  # the first block that attention reads
    RELATIVE = "relative"  # tokens from the start of that block to the first new one
    BLOCKS = "blocks"  # blocks from that one to the last new token
    TILES = "tiles"  # tiles of R tokens that cover these


@dataclass(frozen=True)
class Scalar:
    """One register. `window`: tokens that a token sees, itself included; 0: all before it."""

    register: int
    kind: ScalarKind
    sequence: int = 0  # whose position, among those of a batch
    rows: int = 1
    window: int = 0

    def __post_init__(self) -> None:
        require_range("the number of a scalar register", self.register, 1, SCALAR_COUNT - 1)
        for name in ("sequence", "rows", "window"):
            require_range(f"{name} of a scalar", getattr(self, name), 0, SCALAR_LIMIT)
        make_plain(self, "register", "sequence", "rows", "window")
        if not isinstance(self.kind, ScalarKind):
            raise HeddleError(f"kind of a scalar must be a ScalarKind, not {self.kind!r}")

    def value(self, position: int, config: HardwareConfig) -> int:
        """What the host writes."""
        columns = config.columns
        first = max(0, position - self.window + 1) // columns if self.window else 0
        relative = position - first * columns
        return {
            ScalarKind.BLOCK: position // columns,
            ScalarKind.SLOT: position % columns,
            ScalarKind.FIRST: first,
            ScalarKind.RELATIVE: relative,
            ScalarKind.BLOCKS: -(-(relative + self.rows) // columns),
            ScalarKind.TILES: -(-(relative + self.rows) // config.rows),
        }[self.kind]

    def to_dict(self) -> dict:
        """Plain values."""
        return {**asdict(self), "kind": self.kind.value}

    @classmethod
    def from_dict(cls, content: dict) -> Scalar:
        """The inverse of `to_dict`."""
        return cls(**{**content, "kind": ScalarKind(content["kind"])})
