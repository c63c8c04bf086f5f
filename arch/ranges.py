"""Checks of configuration fields: errors that name the field, the value and what would be right."""

from __future__ import annotations

from .errors import HeddleError


def require_range(name: str, value: object, low: int, high: int) -> None:
    """Raise HeddleError unless `value` is a whole number from `low` to `high`."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise HeddleError(f"{name} must be a whole number from {low} to {high}, not {value!r}")


def require_power_of_two(name: str, value: int) -> None:
    """Raise HeddleError unless `value` is a power of two."""
    if value & (value - 1):
        raise HeddleError(f"{name} must be a power of two, not {value}")
