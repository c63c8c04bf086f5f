"""Who is next: every point while they are few; else samplers of Optuna that are told what each point gave.

A point that failed, and one that breaks what is required, is told with a constraint above 0; the first with values
that are as bad as the worst; never as failed, for a sampler forgets those. No point is run twice: one that a sampler
asks for again is told at once what it gave.
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from ..arch.errors import HeddleError, unknown
from ..arch.ranges import require_range
from .figures import values_of
from .space import Point, Space

if TYPE_CHECKING:
    from .sweep import Outcome

STRATEGIES = ("auto", "exhaustive", "gp", "nsga2", "random")
FEW = 3000  # points that are all run, if nothing else is asked for
MANY = 300  # evaluations above which a Gaussian process takes longer than what it saves
BATCH = 4  # points that a sampler is asked for before it is told, whoever runs them: so a seed repeats a search
STARTS = 16  # random points before a Gaussian process, at least
MOST_REPEATS = {"gp": 4, "nsga2": 300, "random": 300}  # asks for known points, in a row, before one is chosen by chance
MOST_CHANCES = 30_000  # points chosen by chance, in a row, all of them known: then there are hardly any others
MOST_SEED = (1 << 31) - 1


class Strategy(Protocol):
    """Asked for points, and told what each gave, in the order in which they were asked for."""

    @property
    def total(self) -> int | None:
        """Points that will be asked for, as far as that is known."""
        ...

    def ask(self, count: int) -> list[Point]:
        """Up to so many points, or none before it is told more, or none any more."""
        ...

    def tell(self, outcome: Outcome) -> None:
        """What a point gave."""
        ...

    def more(self) -> bool:
        """Whether it will ask for more."""
        ...


def make_strategy(name: Strategy | str, space: Space, evaluations: int | None = None, seed: int = 0) -> Strategy:
    """The strategy of that name. "auto": all points while they are few and no number of evaluations is less, else "gp",
    and "nsga2" for many evaluations. Raises HeddleError for an unknown name."""
    if not isinstance(name, str):
        return name
    if name not in STRATEGIES:
        raise unknown("search", name, STRATEGIES, "searches")
    if evaluations is not None:
        require_range("evaluations", evaluations, 1, space.size)
    require_range("seed", seed, 0, MOST_SEED)
    most = space.size if evaluations is None else evaluations
    if name == "auto":
        if space.size <= FEW and most >= space.size or most >= space.size:
            name = "exhaustive"
        else:
            name = "gp" if most <= MANY else "nsga2"
        if space.size > FEW and evaluations is None:
            raise HeddleError(f"a space of {space.size:,} points is searched: say how many evaluations, such as {MANY}"
                              f", or that the search is exhaustive")  # fmt: skip
    if name == "exhaustive":
        return Exhaustive(space, most)
    return Sampled(name, space, most, seed)


class Exhaustive:
    """All points, or the first so many."""

    def __init__(self, space: Space, most: int) -> None:
        self._points: Iterator[Point] = islice(space.points(), most)
        self.total = most if not space.where else None
        self._over = False

    def ask(self, count: int) -> list[Point]:
        found = list(islice(self._points, count))
        self._over = not found
        return found

    def tell(self, outcome: Outcome) -> None:
        pass

    def more(self) -> bool:
        return not self._over


class Sampled:
    """Points that a sampler of Optuna proposes, by the places of their values."""

    def __init__(self, name: str, space: Space, evaluations: int, seed: int) -> None:
        self.space, self.total = space, evaluations
        self._optuna = _optuna()
        self._study = self._optuna.create_study(
            directions=["minimize"] * len(space.objectives), sampler=self._sampler(name, seed)
        )
        self._chance = random.Random(seed)
        self._repeats = MOST_REPEATS[name]
        self._trials: dict[tuple[int, ...], list[Any]] = {}  # of points asked for and not told
        self._known: dict[tuple[int, ...], tuple[list[float] | None, tuple[float, ...]]] = {}  # values, excess
        self._order: list[tuple[int, ...]] = []
        self._left = evaluations
        self._worst: list[float] | None = None

    def ask(self, count: int) -> list[Point]:
        if self._trials or not self._left:
            return []
        found = []
        with _on_one_core():
            while len(found) < min(BATCH, self._left):
                place = self._new_place()
                if place is None:
                    break
                found.append(self._point(place))
        if not found:
            self._left = 0  # there are no others
        self._left -= len(found)
        return found

    def tell(self, outcome: Outcome) -> None:
        place = tuple(self.space.parameters[name].index(value) for name, value in outcome.point.items())
        values = None
        if outcome.rows and outcome.figures:
            values = [*map(_scaled, values_of(self.space.objectives, outcome.figures))]
        excess = outcome.excess if values is not None else (0.0,) * len(self.space.require)
        if values is not None:
            self._worst = values if self._worst is None else [*map(max, values, self._worst)]
        self._known[place] = values, excess
        for trial in self._trials.pop(place):
            self._tell(trial, place)

    def more(self) -> bool:
        return self._left > 0

    def _new_place(self) -> tuple[int, ...] | None:
        """A point that was not asked for yet. None if there is none any more, or where a sampler asks for one that is
        under way: it knows no better before it is told."""
        for _ in range(self._repeats):
            trial = self._study.ask(self._distributions())
            place = tuple(trial.params[name] for name in self.space.parameters)
            if place in self._known:
                self._tell(trial, place)
            elif place in self._trials:
                self._trials[place].append(trial)
                return None
            elif not self.space.contains(self._point(place)):
                self._known[place] = None, (0.0,) * len(self.space.require)
                self._tell(trial, place)
            else:
                self._trials[place] = [trial]
                return place
        return self._by_chance()

    def _by_chance(self) -> tuple[int, ...] | None:
        sizes = [len(values) for values in self.space.parameters.values()]
        for _ in range(MOST_CHANCES):
            place = tuple(self._chance.randrange(size) for size in sizes)
            if place not in self._known and place not in self._trials and self.space.contains(self._point(place)):
                self._study.enqueue_trial(dict(zip(self.space.parameters, place, strict=True)))
                self._trials[place] = [self._study.ask(self._distributions())]
                return place
        return None

    def _tell(self, trial: Any, place: tuple[int, ...]) -> None:
        values, excess = self._known[place]
        trial.set_constraint("runs", 1.0 if values is None else -1.0)
        for condition, each in zip(self.space.require, excess, strict=True):
            trial.set_constraint(condition.text, each)
        if values is None:
            values = self._worst or [0.0] * len(self.space.objectives)
        self._study.tell(trial, values)

    def _point(self, place: tuple[int, ...]) -> Point:
        parameters = self.space.parameters
        return {name: parameters[name][number] for name, number in zip(parameters, place, strict=True)}

    def _distributions(self) -> dict[str, Any]:
        integer = self._optuna.distributions.IntDistribution
        return {name: integer(0, len(values) - 1) for name, values in self.space.parameters.items()}

    def _sampler(self, name: str, seed: int) -> Any:
        samplers = self._optuna.samplers
        if name == "random":
            return samplers.RandomSampler(seed=seed)
        if name == "nsga2":
            return samplers.NSGAIISampler(seed=seed)
        starts = max(STARTS, 2 * len(self.space.parameters))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", self._optuna.exceptions.ExperimentalWarning)
            return samplers.GPSampler(seed=seed, deterministic_objective=True, n_startup_trials=starts)


@contextmanager
def _on_one_core() -> Iterator[None]:
    """While this holds, PyTorch computes with one thread: matrices of some hundred numbers are slower with several."""
    torch = import_module("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _scaled(value: float) -> float:
    """Its logarithm, for what matters is by how many per cent two points differ; of what is to be most, so that the
    order stays."""
    return math.copysign(1.0, value) * math.log(max(abs(value), 1e-300))


def _optuna() -> Any:
    try:
        optuna = import_module("optuna")
    except ImportError:
        raise HeddleError("a search needs Optuna: pip install 'heddle[explore]'; an exhaustive one does not") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
