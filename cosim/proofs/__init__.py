"""Proofs about the RTL, a file for each file of hw/ that has the same name; `PROOFS` is all of them."""

from . import (  # noqa: F401
    axi,
    bursts,
    choice,
    csr,
    delay_line,
    dispatch,
    lane,
    memories,
    pe,
    phases,
    queue,
    region,
    semaphores,
)
from .registry import PROOFS, Proof

__all__ = ["PROOFS", "Proof"]
