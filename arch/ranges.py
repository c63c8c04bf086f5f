"""Checks of configuration fields: errors that name the field, the value and what would be right."""

from __future__ import annotations

from numbers import Integral

from .errors import HeddleError


def require_range(name: str, value: object, low: int, high: int) -> None:
    """Raise HeddleError unless `value` is a whole number from `low` to `high`."""
    if not is_whole(value) or not low <= value <= high:  # type: ignore[operator]
        shown = value if is_whole(value) else repr(value)
        raise HeddleError(f"{name} must be a whole number from {low} to {high}, not {shown}")


def make_plain(record: object, *names: str) -> None:
    """Make whole numbers and texts in these fields of a frozen dataclass, also those in tuples there, Python's own:
    those of numpy and of enumerations are equal to them, but print otherwise. What else a field holds stays."""
    for name in names:
        object.__setattr__(record, name, _plain(getattr(record, name)))


def _plain(value: object) -> object:
    if is_whole(value):
        return int(value)  # type: ignore[arg-type]
    if isinstance(value, str):
        return str.__str__(value)
    return tuple(map(_plain, value)) if isinstance(value, tuple) else value


def is_whole(value: object) -> bool:
    """Whether it is an integer of Python or numpy, and no bool."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def require_power_of_two(name: str, value: int) -> None:
    """Raise HeddleError unless `value` is a power of two."""
    if value & (value - 1):
        raise HeddleError(f"{name} must be a power of two, not {value}")
