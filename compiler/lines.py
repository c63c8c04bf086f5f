"""Lines that stand for a function, band by band: what tables are made of (`functions.py`).

Between bands and segments the lines meet. A node is moved off the function by half of what the lines beside it are off
in their middles, which halves the error, but not where the function bends: beside a straight line it stays. Where the
function turns, the line is level, so that no result lies on the wrong side. A band gets as many segments as it needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ..arch.errors import HeddleError
from ..arch.functions import (
    COARSER,
    COEFFICIENT_FRACTION_BITS,
    GEOMETRIC_BITS,
    GEOMETRIC_STEPS,
    GUARD_BITS,
    LEAST_EXPONENT,
    MOST_EXPONENT,
    NEVER,
    OFFSET_BITS,
    PARITY_BITS,
    QUARTERS,
    RULES,
    WHOLE_BAND,
    Descriptor,
    Mode,
    Word,
    follows,
)

Function = Callable[[torch.Tensor], torch.Tensor]
Values = NDArray[np.float64]
Block = tuple[Word | None, ...]  # words from a multiple of a power of two on; None where others may be

TOLERANCE = 0.95 * 2.0**-11  # relative to the result, before it is rounded
FLOOR = 2.0**-20  # results smaller than this are off by TOLERANCE · FLOOR at most
JOIN = 0.75  # of the tolerance: how far a constant or a power may be off where it stands for the function
MOST_SEGMENT_BITS = 9
WORTH_SPLITTING = 3  # as a power of two of segments
MANY_SEGMENT_BITS = 6  # more are only taken where the function is not zero at an end of the band
UNIT = 2.0**-COEFFICIENT_FRACTION_BITS  # of c0 and c1
_LEAST_SCALE, _MOST_SCALE = -32, 31
_MOST_COEFFICIENT = (1 << 14) - 1
# Bands by number, from the lowest: each is half an octave, from its edge to the next one's.
BANDS = range(2 * LEAST_EXPONENT, 2 * MOST_EXPONENT + 2)


@dataclass(frozen=True)
class Piece:
    """A descriptor whose words have no place yet."""

    descriptor: Descriptor
    words: Block = ()
    second: Block = ()
    falling: bool = False  # with BENT


UNDEFINED = Piece(Descriptor(Mode.UNDEFINED))


def edge(band: int) -> float:
    """Where a band begins: 2^e or 1.5·2^e."""
    return 2.0 ** (band >> 1) * (1 + (band & 1) / 2)


def grid(band: int, parts: int) -> Values:
    """The ends of that many equal parts of a band, its own included."""
    return edge(band) + (edge(band + 1) - edge(band)) * np.arange(parts + 1) / parts


def at(function: Function, x: Iterable[float] | Values) -> Values:
    """function(x) in float64."""
    with torch.no_grad():
        return function(torch.from_numpy(np.asarray(x, np.float64).copy())).to(torch.float64).numpy()


# -- words of lines ----------------------------------------------------------------------------------------------------


def lines(function: Callable[[Values], Values], points: Values, first: float | None = None,
          last: float | None = None) -> Values:  # fmt: skip
    """The values of a chain of lines at its `points`, not rounded yet; `first` and `last` where others meet it."""
    values = function(points)
    middles = function((points[:-1] + points[1:]) / 2)
    above = (values[:-1] + values[1:]) / 2 - middles
    left, right = above[:-1], above[1:]
    nodes = values.copy()
    size = np.minimum((np.abs(left) + np.abs(right)) / 4, 1.25 * np.minimum(np.abs(left), np.abs(right)))
    nodes[1:-1] -= np.where(left * right > 0, np.sign(left) * size, 0)
    inside = np.diff(points) / 4096
    turning = (function(points[:-1] + inside) - values[:-1]) * (values[1:] - function(points[1:] - inside)) < 0
    for i in np.flatnonzero(turning):  # level, so that no result is on the wrong side of the turn
        some = values[i], middles[i], values[i + 1]
        nodes[i] = nodes[i + 1] = (min(some) + max(some)) / 2
    nodes[0] = values[0] if first is None else first
    nodes[-1] = values[-1] if last is None else last
    if (np.diff(values) >= 0).all():
        return np.clip(np.maximum.accumulate(nodes), nodes[0], nodes[-1])
    if (np.diff(values) <= 0).all():
        return np.clip(np.minimum.accumulate(nodes), nodes[-1], nodes[0])
    return nodes


def words_of(nodes: Values, fixed: int | None = None) -> list[Word]:
    """The word of each line from node to node. Both words at a node have exactly the same value there: it is rounded
    to what the coarser can hold. `fixed` is an exponent that all must have."""
    while True:
        scales = _scales(nodes[:-1], nodes[1:]) if fixed is None else np.full(len(nodes) - 1, fixed)
        coarser = np.maximum(np.append(scales, scales[-1]), np.append(scales[0], scales))
        units = UNIT * np.exp2(coarser)
        rounded = np.rint(nodes / units) * units
        if (rounded == nodes).all():
            break
        nodes = rounded
    starts = np.rint(nodes[:-1] / UNIT / np.exp2(scales)).astype(int)
    ends = np.rint(nodes[1:] / UNIT / np.exp2(scales)).astype(int)
    return [Word(int(c0), int(c1 - c0), int(scale)) for c0, c1, scale in zip(starts, ends, scales, strict=True)]


def between(words: list[Word], points: Values, x: Values) -> Values:
    """What the evaluator makes of x, between the first and the last of `points`, before it rounds."""
    i = np.searchsorted(points, x, side="right") - 1
    c0, c1, scale = np.array([(word.c0, word.c1, word.exponent) for word in words]).T
    t = np.floor((x - points[i]) / (points[i + 1] - points[i]) * (1 << OFFSET_BITS))
    product = np.floor(c1[i] * t / (1 << OFFSET_BITS - GUARD_BITS))
    return (c0[i] * (1 << GUARD_BITS) + product) * UNIT / (1 << GUARD_BITS) * np.exp2(scale[i])


def _scales(left: Values, right: Values) -> NDArray[np.int64]:
    """The least exponents of words that can hold lines between these values."""
    greatest = np.maximum(np.maximum(np.abs(left), np.abs(right)), np.abs(left - right))
    scales = np.maximum(np.frexp(greatest)[1] - 1, _LEAST_SCALE)
    scales = scales + (np.rint(greatest / UNIT / np.exp2(scales)) > _MOST_COEFFICIENT)
    if scales.max() > _MOST_SCALE:
        raise HeddleError(f"a word of a table must hold less than 2^{_MOST_SCALE + 1}, not {greatest.max():g}")
    return np.where(greatest > 0, scales, _LEAST_SCALE)


def constant(value: float) -> Piece:
    """The piece that gives `value`, an infinity or NaN too."""
    if math.isnan(value):
        return Piece(Descriptor(Mode.UNDEFINED))
    flip = int(math.copysign(1, value) < 0)
    if math.isinf(value):
        return Piece(Descriptor(Mode.INFINITE, flip=flip))
    return Piece(Descriptor(flip=flip), tuple(words_of(np.full(2, abs(value)))))


def rising(function: Callable[[Values], Values], band: int) -> Piece:
    """A band by segments that get shorter towards its lower end."""
    points = edge(band) + (edge(band + 1) - edge(band)) * _geometric()
    return Piece(Descriptor(Mode.BENT), _by_zeros(words_of(lines(function, points))))


def falling(function: Callable[[Values], Values], band: int) -> Piece:
    """A band by segments that get shorter towards its upper end."""
    points = edge(band + 1) - (edge(band + 1) - edge(band)) * _geometric()
    return Piece(Descriptor(Mode.BENT), _by_zeros(words_of(lines(function, points))), falling=True)


def _geometric() -> Values:
    """Where segments of RISING meet: 0 to 1, ascending."""
    step = 1 << GEOMETRIC_BITS
    least = 2.0**-GEOMETRIC_STEPS
    parts = [least * np.arange(step) / step]
    parts += [least * 2.0**i * (1 + np.arange(step) / step) for i in range(GEOMETRIC_STEPS)]
    return np.concatenate([*parts, [1.0]])


def _by_zeros(words: list[Word]) -> tuple[Word, ...]:
    """Words of ascending places in the order of their leading zeros."""
    step = 1 << GEOMETRIC_BITS
    groups = [words[i : i + step] for i in range(0, len(words), step)]
    return tuple(word for group in reversed(groups) for word in group)


# -- what a function is near zero and far away -------------------------------------------------------------------------


@dataclass(frozen=True)
class Law:
    """factor · x^(twice / 2) for x > 0."""

    factor: float
    twice: int

    def __call__(self, x: Values) -> Values:
        return self.factor * x ** (self.twice / 2)

    def pieces(self) -> tuple[Piece, Piece]:
        """Descriptor and words with which it holds for every exponent, of the two halves of octaves."""
        flip, rule = int(self.factor < 0), RULES[self.twice]
        law = replace(self, factor=abs(self.factor))
        if self.twice == 0:
            return constant(self.factor), constant(self.factor)
        parts = 1 if self.twice == 2 else 1 << PARITY_BITS
        while self.twice % 2 == 0 and not _within(*law._middles(parts), TOLERANCE, 0.0):
            parts *= 2
        octaves = 1 + self.twice % 2
        points = np.concatenate([*(grid(band, parts)[:-1] for band in range(2 * octaves)), [2.0**octaves]])
        words = words_of(lines(law, points))
        blocks = [words[i : i + parts] for i in range(0, len(words), parts)]
        if octaves == 2:
            odd = [[replace(word, exponent=word.exponent - follows(rule, 1)) for word in each] for each in blocks[2:]]
            blocks = [blocks[0] + odd[0], blocks[1] + odd[1]]
        mode = Mode.PARITY if octaves == 2 else Mode.LINE
        descriptor = Descriptor(mode, shift=WHOLE_BAND - (parts.bit_length() - 1), rule=rule, flip=flip)
        return Piece(descriptor, tuple(blocks[0])), Piece(descriptor, tuple(blocks[1]))

    def _middles(self, parts: int) -> tuple[Values, Values]:
        """What lines give in the middle of a band's segments, and what they should."""
        points = grid(0, parts)
        nodes = lines(self, points)
        return (nodes[:-1] + nodes[1:]) / 2, self((points[:-1] + points[1:]) / 2)


def law_of(function: Callable[[Values], Values], x: Values, tolerance: float, floor: float) -> Law | None:
    """The law that `function` follows at all of `x`, which go towards the end in question."""
    y = function(x)
    if not np.isfinite(y).all():
        return None
    if not y.any():
        return Law(0.0, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        power = np.log2(y[-1] / y[-2]) / np.log2(x[-1] / x[-2])
    twice = 0 if not np.isfinite(power) else round(2 * power)
    if twice not in RULES:
        return None
    exact = y[-1] / x[-1] ** (twice / 2)
    law = Law(float(np.float32(exact)) if abs(np.float32(exact) - exact) < abs(exact) * 2.0**-30 else exact, twice)
    return law if _within(law(x), y, tolerance, floor) else None


def _within(found: Values, expected: Values, tolerance: float, floor: float) -> bool:
    return bool((np.abs(found - expected) <= tolerance * np.maximum(np.abs(expected), floor)).all())


@dataclass(frozen=True)
class Cut:
    """A band in 2^bits segments; in segments twice as long from quarter `split` on."""

    bits: int
    split: int = NEVER

    def coarser(self) -> Iterator[Cut]:
        """The same with a split, those with the fewest segments first."""
        return (Cut(self.bits, split) for split in range(1, QUARTERS) if self.bits >= WORTH_SPLITTING)

    @property
    def _fine(self) -> int:
        return (self.split or QUARTERS) * (1 << self.bits) // QUARTERS

    @property
    def _skipped(self) -> int:
        """Long segments before the split, which are not used."""
        return self._fine >> COARSER

    @property
    def count(self) -> int:
        """How many segments there are."""
        return self._fine + (1 << self.bits - COARSER) - self._skipped if self.split else self._fine

    def points(self, band: int) -> Values:
        """Where they begin."""
        fine = grid(band, 1 << self.bits)[: self._fine]
        if self.split == NEVER:
            return fine
        return np.append(fine, grid(band, 1 << self.bits - COARSER)[self._skipped : -1])

    def piece(self, words: list[Word]) -> Piece:
        """The piece with these words."""
        descriptor = Descriptor(shift=WHOLE_BAND - self.bits, split=self.split)
        fine, coarse = tuple(words[: self._fine]), tuple(words[self._fine :])
        return Piece(descriptor, fine, (None,) * self._skipped + coarse if coarse else ())


def _points(cuts: dict[int, Cut]) -> Values:
    """Where the segments of neighbouring bands meet."""
    return np.concatenate([*(cut.points(band) for band, cut in cuts.items()), [edge(max(cuts) + 1)]])


# -- the bands of one sign ---------------------------------------------------------------------------------------------


@dataclass
class Side:
    """The function of the numbers of one sign, by their magnitude, and its descriptors band by band."""

    name: str
    function: Function
    sign: float
    tolerance: float
    floor: float
    least: int = LEAST_EXPONENT  # of the bands in which it is defined
    most: int = MOST_EXPONENT
    pieces: dict[int, Piece] = field(default_factory=dict)

    def __call__(self, x: Values) -> Values:
        return at(self.function, self.sign * x)

    def fit(self) -> None:
        """Fill `pieces`."""
        small = law_of(self, 2.0 ** np.arange(LEAST_EXPONENT + 1.0, -60, -1), JOIN * self.tolerance, self.floor)
        large = law_of(self, 2.0 ** np.arange(MOST_EXPONENT, 64.0), JOIN * self.tolerance, self.floor)
        low, high = 2 * self.least, 2 * self.most + 1
        while small and low <= high and self._follows(small, grid(low, 64)):
            self.pieces[low] = small.pieces()[low & 1]
            low += 1
        while large and high >= low and self._follows(large, grid(high, 64)):
            self.pieces[high] = large.pieces()[high & 1]
            high -= 1
        if low > high:
            return
        if low == BANDS[0] or high == BANDS[-1]:
            raise HeddleError(f"{self.name} must be a constant or a multiple of a power of x towards "
                              f"{'zero' if low == BANDS[0] else 'infinity'}, or have its range stated")  # fmt: skip
        first = float(small(np.array([edge(low)]))[0]) if small and low > 2 * self.least else None
        last = float(large(np.array([edge(high + 1)]))[0]) if large and high < 2 * self.most + 1 else None
        self._divide(low, high, first, last)

    def _follows(self, law: Law, x: Values) -> bool:
        return _within(law(x), self(x), JOIN * self.tolerance, self.floor)

    def _divide(self, low: int, high: int, first: float | None, last: float | None) -> None:
        """Lines in the bands from `low` to `high`, as few in each as the tolerance allows."""
        if low > high:
            return
        cuts = {band: Cut(0) for band in range(low, high + 1)}
        while short := self._short(cuts, cuts, first, last):
            for band in short:
                cuts[band] = Cut(cuts[band].bits + 1)
                if cuts[band].bits > MANY_SEGMENT_BITS and (piece := self._bent(band)):
                    self.pieces[band] = piece
                    start, stop = self(np.array([edge(band), edge(band + 1)]))
                    self._divide(low, band - 1, first, float(start))
                    self._divide(band + 1, high, float(stop), last)
                    return
                if cuts[band].bits > MOST_SEGMENT_BITS:
                    raise HeddleError(f"{self.name} cannot be made of {1 << MOST_SEGMENT_BITS} lines between "
                                      f"{self.sign * edge(band):g} and {self.sign * edge(band + 1):g}")  # fmt: skip
        for band, cut in cuts.items():
            near = [each for each in (band - 1, band, band + 1) if each in cuts]
            coarser = (each for each in cut.coarser() if not self._short({**cuts, band: each}, near, first, last))
            cuts[band] = next(coarser, cut)
        words = words_of(lines(self, _points(cuts), first, last))
        for band, cut in cuts.items():
            self.pieces[band], words = cut.piece(words[: cut.count]), words[cut.count :]

    def _short(
        self, cuts: dict[int, Cut], bands: Collection[int], first: float | None, last: float | None
    ) -> list[int]:
        """Those of the bands that need more segments than that."""
        points = _points(cuts)
        words = words_of(lines(self, points, first, last))
        x = np.concatenate([np.append(grid(band, 512)[:-1], grid(band, 600)[1:-1]) for band in bands])
        exact = self(x)
        error = np.abs(between(words, points, x) - exact)
        wrong = x[error > self.tolerance * np.maximum(np.abs(exact), self.floor)]
        return [band for band in bands if ((wrong >= edge(band)) & (wrong < edge(band + 1))).any()]

    def _bent(self, band: int) -> Piece | None:
        """The band by segments that get shorter towards that end of it at which the function is zero."""
        start, stop = self(np.array([edge(band), edge(band + 1)]))
        return rising(self, band) if start == 0 else falling(self, band) if stop == 0 else None

    def at_zero(self) -> Piece:
        """What zero of this sign gives."""
        return constant(float(at(self.function, [self.sign * 0.0])[0]))

    def at_infinity(self) -> Piece:
        """What infinity of this sign gives."""
        value = float(at(self.function, [self.sign * math.inf])[0])
        law = law_of(self, 2.0 ** np.arange(MOST_EXPONENT, 64.0), self.tolerance, self.floor)
        if math.isnan(value) and law and self.most == MOST_EXPONENT:
            value = law.factor if law.twice == 0 else math.copysign(math.inf if law.twice > 0 else 0.0, law.factor)
        return constant(value)
