"""What the pictures share: colours that are told apart, names of layers, and files that are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

from matplotlib.figure import Figure

from ..arch.errors import HeddleError

# Ten colours with well apart hues, the lighter ones darkened: told apart on white, and most of them in print.
COLOURS = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"]
SUFFIXES = (".png", ".svg", ".pdf")


def write_figure(path: str | os.PathLike[str], figure: Figure) -> None:
    """Draw into a PNG, SVG or PDF file, by its suffix, whole or not at all. Raises HeddleError if that cannot be."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise HeddleError(f"cannot write {path}: the name must end in .png, .svg or .pdf")
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    try:
        figure.savefig(partial, dpi=150)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise HeddleError(f"cannot write {path}: {error.strerror}") from None
