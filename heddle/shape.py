"""Full-size models without weights, by name or from a file."""

from __future__ import annotations

from .arch.errors import HeddleError
from .models.shapes import Shape, find


def get_shape(name: str) -> Shape:
    """A full-size model without weights: one of SHAPES, or that of a Hugging Face config.json, by its path or that of
    its directory. Raises HeddleError for an unknown name and for a file that cannot be read or asks for what our models
    do not have."""
    try:
        return find(name)
    except ValueError as error:  # models stand alone, and do not know our errors
        raise HeddleError(str(error)) from None
    except OSError as error:
        raise HeddleError(f"cannot read {error.filename or name}: {error.strerror}") from None
