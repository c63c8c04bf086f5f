"""explore/search.py: no point twice, failures told, the optimum found, the same again with the same seed."""

import itertools

import pytest
from heddle.arch.errors import HeddleError
from heddle.explore.search import make_strategy
from heddle.explore.space import Space
from heddle.explore.sweep import Outcome

pytest.importorskip("optuna")
SPACE = Space.from_dict({
    "parameters": {"rows": [*range(4, 20)], "columns": [*range(4, 20)], "act_words": [256, 512, 1024]},
    "workloads": ["encoder-layer"], "objectives": ["seconds"], "require": ["sram_bits <= 200"],
})  # fmt: skip
PAIR = Space.from_dict({**SPACE.to_dict(), "objectives": ["seconds", "sram_bits"], "require": []})


def gives(space, point):
    """Less time for more PEs, more area with them; some points have no room."""
    rows, columns, words = point.values()
    if words < 16 * rows:
        return Outcome(point, "infeasible", "no room", (), {})
    figures = {"seconds": 1000 / (rows * columns) + columns / 10, "sram_bits": rows * columns}
    fits = figures["sram_bits"] <= 200
    return Outcome(point, "ok" if fits else "infeasible", "", ({},), figures,
                   tuple(each.excess(figures) for each in space.require))  # fmt: skip


def search(space, name, evaluations, seed):
    strategy, found = make_strategy(name, space, evaluations, seed), []
    while batch := strategy.ask(99):
        for point in batch:
            found.append(gives(space, point))
            strategy.tell(found[-1])
    assert not strategy.more()
    return found


@pytest.mark.parametrize("name, evaluations", [("gp", 24), ("nsga2", 120), ("random", 120)])
def test_no_point_is_run_twice_and_seeds_repeat(name, evaluations):
    found = search(SPACE, name, evaluations, 5)
    assert len(found) == evaluations == len({str(each.point) for each in found})
    if name != "gp":
        assert [each.point for each in search(SPACE, name, evaluations, 5)] == [each.point for each in found]
        assert [each.point for each in search(SPACE, name, evaluations, 6)] != [each.point for each in found]


def test_a_gaussian_process_comes_near_the_constrained_optimum():
    best = min(each.figures["seconds"] for point in SPACE.points() if (each := gives(SPACE, point)).status == "ok")
    found = search(SPACE, "gp", 36, 1)
    assert min(each.figures["seconds"] for each in found if each.status == "ok") <= 1.03 * best


def test_two_objectives_give_a_front():
    found = search(PAIR, "nsga2", 100, 2)
    assert len({str(each.point) for each in found}) == 100


def test_a_search_of_more_than_there_is_ends():
    small = Space.from_dict({"parameters": {"rows": [4, 8, 16], "columns": [4, 8]}, "workloads": ["encoder-layer"],
                             "where": ["rows <= columns"], "objectives": ["seconds"]})  # fmt: skip
    strategy = make_strategy("random", small, 6, 0)
    found = []
    while batch := strategy.ask(99):
        for point in batch:
            found.append(point)
            strategy.tell(Outcome(point, "ok", "", ({},), {"seconds": 1.0}))
    assert sorted(map(str, found)) == sorted(map(str, small.points()))


def test_auto_exhausts_what_is_small():
    strategy = make_strategy("auto", SPACE)
    assert [*itertools.chain(*iter(lambda: strategy.ask(100), []))] == [*SPACE.points()] and strategy.total == 768
    large = Space.from_dict({**SPACE.to_dict(), "parameters": {"rows": [*range(4, 70)], "columns": [*range(4, 70)]}})
    with pytest.raises(HeddleError, match="a space of 4,356 points is searched: say how many evaluations"):
        make_strategy("auto", large)


@pytest.mark.parametrize("arguments, said", [
    (("gpp", SPACE), "unknown search 'gpp' .did you mean gp"), (("gp", SPACE, 0), "evaluations must be a whole number"),
    (("gp", SPACE, 9999), "evaluations must be a whole number from 1 to 768"), (("gp", SPACE, 9, -1), "seed must be"),
])  # fmt: skip
def test_mistakes_are_named(arguments, said):
    with pytest.raises(HeddleError, match=said):
        make_strategy(*arguments)
