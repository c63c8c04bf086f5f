"""Small tables in HTML: what a notebook shows of an object."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape


def page_table(title: str, content: Mapping[str, str]) -> str:
    """A table of two columns under a title; whatever the texts hold, it is shown as text."""
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in content.items())
    return f"<table><caption>{escape(title)}</caption>{rows}</table>"
