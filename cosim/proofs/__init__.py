"""Proofs about the RTL, a file for each file of hw/ that has the same name; `PROOFS` is all of them."""

from . import axi, bursts, choice, delay_line, phases, queue, region, semaphores  # noqa: F401
from .registry import PROOFS, Proof

__all__ = ["PROOFS", "Proof"]
