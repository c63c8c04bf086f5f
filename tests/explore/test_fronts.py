"""explore/fronts.py: what no other point beats, and the volume that it dominates."""

import numpy as np
from heddle.explore.fronts import front, hypervolume


def test_a_front_by_hand():
    assert front([[1, 5], [2, 4], [2, 5], [3, 1], [3, 1], [4, 1]]).tolist() == [True, True, False, True, True, False]
    assert front([[3], [1], [1]]).tolist() == [False, True, True]
    assert front([]).tolist() == []


def test_a_front_is_what_no_point_dominates():
    points = np.random.RandomState(3).randint(0, 12, (200, 3))
    expected = [not any((other <= each).all() and (other < each).any() for other in points) for each in points]
    assert front(points).tolist() == expected


def test_volumes_by_hand():
    assert hypervolume([[1, 3], [2, 1]], (4, 4)) == 3 * 1 + 2 * 2
    assert hypervolume([[5, 5]], (4, 4)) == 0 and hypervolume([], (4, 4)) == 0
    assert hypervolume([[0, 0, 0], [1, 1, 1]], (2, 3, 4)) == 24


def test_a_volume_is_what_random_points_find():
    rng = np.random.RandomState(5)
    points, tries = rng.rand(30, 3), rng.rand(200_000, 3)
    found = np.zeros(len(tries), bool)
    for each in points:
        found |= (tries >= each).all(1)
    assert abs(hypervolume(points, (1, 1, 1)) - found.mean()) < 0.005
