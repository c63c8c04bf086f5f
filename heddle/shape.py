"""Full-size models without weights, by name or from a file."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import heddle


def get_shape(name: str) -> Any:
    """A full-size model without weights: one of SHAPES, or that of a Hugging Face config.json, by its path or that of
    its directory. Raises HeddleError for an unknown name and for a file that cannot be read or asks for what our models
    do not have."""
    try:
        return import_module("heddle.models.shapes").find(name)
    except ValueError as error:  # models stand alone, and do not know our errors
        raise heddle.HeddleError(str(error)) from None
    except OSError as error:
        raise heddle.HeddleError(f"cannot read {error.filename or name}: {error.strerror}") from None
