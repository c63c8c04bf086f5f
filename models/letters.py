"""Reversing and sorting letters: what the small encoder–decoder that ships with weights has learned.

A source is the task and LETTERS letters; the answer, after START, is the same letters reversed or sorted, and END.
"""

import torch
from torch import Tensor

LETTERS = 10
START, END, REVERSE, SORT, FIRST = range(5)  # ids; letters begin at FIRST
TASKS = {"reverse": REVERSE, "sort": SORT}


def encode(task: str, letters: str) -> list[int]:
    """The ids of a source. Raises ValueError for another task, length or letter."""
    if task not in TASKS or len(letters) != LETTERS or not all("a" <= each <= "z" for each in letters):
        raise ValueError(f"a source is one of {', '.join(TASKS)} and {LETTERS} letters a to z, not {task} {letters!r}")
    return [TASKS[task], *(FIRST + ord(each) - ord("a") for each in letters)]


def decode(ids: list[int]) -> str:
    """The letters of an answer, up to END; ids that are none are shown as ?."""
    ids = ids[: ids.index(END)] if END in ids else ids
    return "".join(chr(each - FIRST + ord("a")) if 0 <= each - FIRST < 26 else "?" for each in ids)


def sequences(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Sources (N, 1 + LETTERS) and what follows START (N, LETTERS + 1), drawn by a seed."""
    generator = torch.Generator().manual_seed(seed)
    letters = FIRST + torch.randint(0, 26, (count, LETTERS), generator=generator)  # (N, L)
    task = REVERSE + torch.randint(0, 2, (count, 1), generator=generator)  # (N, 1)
    answer = torch.where(task == REVERSE, letters.flip(1), letters.sort(1).values)  # (N, L)
    return torch.cat([task, letters], 1), torch.cat([answer, torch.full((count, 1), END)], 1)


def held_out(count: int = 200) -> tuple[Tensor, Tensor]:
    """Sequences that training does not see: those of its seeds are others (26^10 are possible)."""
    return sequences(count, 1 << 20)
