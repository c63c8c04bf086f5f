"""Full-size models without weights, by name or from a file."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import heddle
from heddle.layers import require_type, unknown


def get_shape(name: str) -> Any:
    """A full-size model without weights: one of SHAPES, or that of a Hugging Face config.json, by its path or that of
    its directory. Raises HeddleError for an unknown name and for a file that cannot be read or asks for what our models
    do not have."""
    known = ", ".join(heddle.SHAPES)
    require_type("the name of a shape", name, (str, os.PathLike), f"one of {known}, or the path of a config.json")
    name = os.fspath(name)
    if name not in heddle.SHAPES and not name.endswith(".json") and not os.path.isdir(name):
        raise unknown("model", name, heddle.SHAPES, "models", ", or the path of a config.json")
    try:
        return import_module("heddle.models.shapes").find(name)
    except ValueError as error:  # models stand alone, and do not know our errors
        raise heddle.HeddleError(str(error)) from None
    except OSError as error:
        raise heddle.HeddleError(f"cannot read {error.filename or name}: {error.strerror or error}") from None
