"""Fronts: which points no other beats in all objectives, and how much of the space they dominate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def front(values: ArrayLike) -> NDArray[np.bool_]:
    """(points, objectives), all to be least → (points,): whether no other point is as good everywhere and better
    somewhere. Of equal points all count."""
    points = np.asarray(values, float)
    if points.ndim != 2:
        points = points.reshape(len(points), 1 if points.ndim == 1 else -1)
    distinct, place = np.unique(points, axis=0, return_inverse=True)
    kept = np.ones(len(distinct), bool)
    for number, each in enumerate(distinct):  # ascending in the first objective
        if kept[number]:
            beaten = (distinct >= each).all(1) & (distinct > each).any(1)
            kept &= ~beaten
    return kept[place.reshape(-1)] if len(points) else np.zeros(0, bool)


def hypervolume(values: ArrayLike, reference: Sequence[float]) -> float:
    """The volume that points dominate, up to a reference that is worse than all that count. Two objectives exactly by a
    sweep, more by slices."""
    points = np.asarray(values, float).reshape(-1, len(reference))
    points = points[(points < np.asarray(reference)).all(1)]
    if not len(points):
        return 0.0
    points = np.unique(points[front(points)], axis=0)
    if points.shape[1] == 1:
        return float(reference[0] - points[:, 0].min())
    order = points[np.argsort(points[:, -1])]
    edges = np.append(order[:, -1], reference[-1])
    return sum(
        float(edges[number + 1] - edges[number]) * hypervolume(order[: number + 1, :-1], reference[:-1])
        for number in range(len(order))
        if edges[number + 1] > edges[number]
    )
