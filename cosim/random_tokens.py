"""More tokens than a program needs, so that more of them wait at once, and between any two units."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np
from numpy.typing import NDArray

from ..arch.config import Unit
from ..arch.isa import Instruction

ATTEMPTS = 40
WINDOW = 100  # instructions before and after the place at which the tokens wait


def with_spare_tokens(instructions: Sequence[Instruction], random: Random) -> list[Instruction]:
    """The same in the same order, but for tokens: some more are sent, and all are taken by later instructions.

    None of them lets an instruction start before one that it waited for has retired: tokens of a pair are counted, so
    each instruction that takes one must get the one it had, or a later one.
    """
    waits, signals = ([getattr(each, name) for each in instructions] for name in ("wait", "signal"))
    for _ in range(ATTEMPTS):
        source, target = random.choice(list(Unit)), random.choice(list(Unit))
        senders = _places(instructions, source, signals, target)
        takers = _places(instructions, target, waits, source)
        middle = random.randrange(len(instructions))
        count = random.choice([1, 2, 6, 12, 30])
        more_senders = _without(instructions, source, senders, range(max(0, middle - WINDOW), middle))[-count:]
        more_takers = _without(instructions, target, takers, range(middle, middle + WINDOW))[:count]
        count = min(len(more_senders), len(more_takers))
        more_senders, more_takers = more_senders[len(more_senders) - count :], more_takers[:count]
        if count and _keeps_order(senders, takers, more_senders, more_takers):
            for place in more_senders:
                signals[place] |= 1 << target
            for place in more_takers:
                waits[place] |= 1 << source
    return [
        each.changed(wait=wait, signal=signal)
        for each, wait, signal in zip(instructions, waits, signals, strict=True)
    ]


def _places(instructions: Sequence[Instruction], unit: Unit, masks: list[int], other: Unit) -> list[int]:
    """Of the instructions of a unit that send tokens to, or take tokens from, another."""
    return [place for place, each in enumerate(instructions) if each.unit is unit and masks[place] >> other & 1]


def _without(instructions: Sequence[Instruction], unit: Unit, used: list[int], where: range) -> list[int]:
    """The others of a unit within a window."""
    there = range(where.start, min(where.stop, len(instructions)))
    return sorted({place for place in there if instructions[place].unit is unit} - set(used))


def _keeps_order(senders: list[int], takers: list[int], more_senders: list[int], more_takers: list[int]) -> bool:
    """Whether with the new tokens each of the old takers gets a token as late as before or later, and all come first.
    """
    sent, taken = _merged(senders, more_senders), _merged(takers, more_takers)
    now = sent[np.searchsorted(taken, np.array(takers, np.int64))]
    return bool((sent < taken).all() and (now >= np.array(senders, np.int64)).all())


def _merged(places: list[int], more: list[int]) -> NDArray[np.int64]:
    return np.array(sorted([*places, *more]), np.int64)
