"""The errors for anything a user can put right, and the texts they have in common."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher

LIKE = 0.6  # of two names, from 0 to 1, from which one may have been meant for the other


@dataclass(frozen=True)
class Refusal:
    """Why the compiler cannot lower a call of a model: which one, where it stands, and the reason."""

    name: str  # of its node
    operator: str
    shape: tuple  # of its result
    operands: tuple[tuple, ...]  # shapes of what it reads
    layer: str  # path of the module
    source: str  # "file.py:12: code" of the user's model
    reason: str


class HeddleError(Exception):
    """A mistake in the input. The message is one line that names the thing and the remedy; the CLI exits with 2.

    One that stands for several mistakes has a line for each, and them in `parts`.
    """

    refusal: Refusal | None = None
    parts: tuple[HeddleError, ...] = ()

    def each(self) -> tuple[HeddleError, ...]:
        """The mistakes that it stands for: itself, if it is one."""
        return self.parts or (self,)


class NoRoomError(HeddleError):
    """Something does not fit the memories of a configuration: in another way it may."""


class CaptureError(HeddleError):
    """PyTorch cannot trace a model, or not as a call computes it."""


class PrecisionError(HeddleError):
    """A precision that a machine does not compute in, or for layers that there are not."""


def all_of(errors: Iterable[HeddleError]) -> HeddleError:
    """One error for these: of their kind, if they are of one."""
    errors = tuple(part for each in errors for part in each.each())
    kinds = {type(each) for each in errors}
    error = (kinds.pop() if len(kinds) == 1 else HeddleError)("\n".join(dict.fromkeys(map(str, errors))))
    error.parts = errors
    return error


class ToolError(RuntimeError):
    """A program that we call (a compiler, a simulator) has failed. The message ends with the last lines it printed."""


def require_type(name: str, value: object, kind: type | tuple[type, ...], right: str) -> None:
    """Raise HeddleError unless `value` is a `kind`; `right` says in words what it must be."""
    if not isinstance(value, kind):
        raise HeddleError(f"{name} must be {right}, not {shown(value)}")


def shown(value: object) -> str:
    """A value and its type, short enough for a line."""
    if value is None:
        return "None"
    text = repr(value)
    if len(text) > 40 or "\n" in text:
        return f"a {type(value).__name__}"
    return f"{text} (a {type(value).__name__})"


def unknown(what: str, name: object, known: Iterable[str], plural: str, more: str = "") -> HeddleError:
    """The error for a name that there is not: it suggests the nearest of those that there are, and lists them.

    what    what the name should be one of ("engine"); `plural` of it
    more    what else is possible, after the list
    """
    known = list(known)
    near = nearest(name, known)
    hint = f" (did you mean {near}?)" if near else ""
    return HeddleError(f"unknown {what} {name!r}{hint}; {plural} are {', '.join(known)}{more}")


def nearest(name: object, known: Iterable[str]) -> str | None:
    """The one of the `known` names that is most like `name`, upper and lower case alike; None if none is."""
    if not isinstance(name, str):
        return None

    def likeness(each: str) -> tuple[bool, float]:
        ours, theirs = name.lower(), each.lower()
        swapped = sorted(ours) == sorted(theirs)  # letters have changed places
        return swapped, SequenceMatcher(None, ours, theirs).ratio()

    best = max(known, key=likeness, default=None)
    return best if best is not None and likeness(best)[1] >= LIKE else None
