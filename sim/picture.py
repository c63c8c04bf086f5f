"""Pictures in files, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..arch.files import require_writable, write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # takes a while to load

SUFFIXES = (".png", ".svg", ".pdf")
# Ten hues well apart, to be told apart on white and, most of them, in print.
COLOURS = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"]


def write_picture(path: str | os.PathLike[str], draw: Callable[[], Figure]) -> None:
    """Draw a figure into a PNG, SVG or PDF file, by its suffix. Raises HeddleError if that cannot be done; where it
    can be told, before it is drawn."""
    require_writable(path, SUFFIXES)
    figure = draw()
    write_whole(path, lambda partial: figure.savefig(partial, dpi=150))
