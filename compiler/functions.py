"""Makes the table of a function from the function itself, with an error that is known.

`table_of` takes any function of one number that PyTorch can compute in float64. Before its last rounding a result is
off by less than 2⁻¹¹ of the exact one, or of FLOOR where that is smaller; where the function rises or falls, so do the
results. The last rounding to 11 bits adds as much as half a unit in the last place, which is 2⁻¹¹ at most.

Towards zero and towards infinity a function must be a constant or a multiple of a power of x (those of RULES), such as
x, √x or 1/x². Functions for which that is not so are made in other ways: `exponential`, `logarithm`, `wave`; or else
hold in a stated range only, beyond which they give NaN.

Poles, infinities and NaN are as the function has them, and the limit where it gives NaN for an infinity. Results beyond
float32 saturate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import torch

from ..arch.errors import HeddleError
from ..arch.functions import (
    COEFFICIENT_FRACTION_BITS,
    LEAST_EXPONENT,
    MOST_EXPONENT,
    MULTIPLIER_FRACTION_BITS,
    PERIOD_BITS,
    POWER_BITS,
    RULES,
    SIGN_BANDS,
    SPECIAL_OCTAVE,
    WHOLE_BAND,
    WORD_COUNT,
    ZERO_OCTAVE,
    Descriptor,
    Mode,
    Table,
    Word,
    evaluate,
    octave_of,
)
from .lines import (
    BANDS,
    FLOOR,
    TOLERANCE,
    UNDEFINED,
    UNIT,
    Block,
    Function,
    Piece,
    Side,
    Values,
    at,
    constant,
    falling,
    grid,
    lines,
    rising,
    words_of,
)

RELU = "relu"  # exact without a table
ROUND = "round"  # of numbers from 0 on, to the nearest whole number: by sums (ops/round.py), not by a table
CHECKED_BITS = 16  # of results that are not rounded further
_NOTHING = Word()


def table_of(
    function: Function, *, name: str | None = None, least: int = LEAST_EXPONENT, most: int = MOST_EXPONENT,
    tolerance: float = TOLERANCE, floor: float = FLOOR,
) -> Table:  # fmt: skip
    """The table of any function. It is defined from 2^least up to 2^(most + 1), and beyond at those ends that are not
    stated."""
    name = name or str(getattr(function, "__name__", "the function"))
    sides = _sides(name, function, least, most, tolerance, floor)
    table = assemble(name, *(_side(*side) for side in sides))
    _check(name, function, table, 2.0**least, 2.0 ** (most + 1), floor)
    return table


def _check(name: str, function: Function, table: Table, low: float, high: float, floor: float) -> None:
    """Raise an error if a result before its last rounding is off by more than 2⁻¹¹."""
    x = np.concatenate([grid(band, 512)[:-1] for band in BANDS]).astype(np.float32)
    x = x[(x >= low) & (x < high)]
    x = np.append(x, -x)
    largest = 2.0**128 * (1 - 2.0**-CHECKED_BITS)
    exact = np.clip(at(function, x), -largest, largest)
    found = evaluate(table, x, CHECKED_BITS).astype(np.float64)
    wrong = np.abs(found - exact) > 2.0**-11 * np.maximum(np.abs(exact), floor)
    wrong |= np.isnan(found) & ~np.isnan(exact)
    if wrong.any():
        raise HeddleError(f"{name} cannot be made by a table: at {x[wrong][0]:g} it would give {found[wrong][0]:g}, "
                          f"not {exact[wrong][0]:g}")  # fmt: skip


def _sides(name, function, least, most, tolerance, floor) -> list[tuple[Piece, list[Piece], Piece]]:
    sides: list[Side] = []
    for sign in (1.0, -1.0):
        side = Side(name, function, sign, tolerance, floor, least, most)
        if np.isnan(side(2.0 ** np.arange(least, most + 2.0))).all():
            side.pieces = dict.fromkeys(BANDS, UNDEFINED)
        elif sides and (parity := _parity(sides[0], side)):
            side.pieces = {band: _flipped(piece, parity < 0) for band, piece in sides[0].pieces.items()}
        else:
            side.fit()
        sides.append(side)
    bands = [[side.pieces.get(band, UNDEFINED) for band in BANDS] for side in sides]
    return [(side.at_zero(), some, side.at_infinity()) for side, some in zip(sides, bands, strict=True)]


def _parity(positive: Side, negative: Side) -> int:
    """1 of an even function, −1 of an odd one, 0 of others."""
    x = np.concatenate([grid(band, 64)[:-1] for band in BANDS])
    exact = positive(x)
    signs = (sign for sign in (1, -1) if np.allclose(negative(x), sign * exact, rtol=1e-12, atol=0, equal_nan=True))
    return next(signs, 0)


def _flipped(piece: Piece, odd: bool) -> Piece:
    return replace(piece, descriptor=replace(piece.descriptor, flip=piece.descriptor.flip ^ odd))


def _side(zero: Piece, bands: Sequence[Piece], infinity: Piece) -> list[Piece]:
    """The pieces of one sign, in the order of descriptors."""
    pieces = [UNDEFINED] * SIGN_BANDS
    for octave, piece in ((ZERO_OCTAVE, zero), (SPECIAL_OCTAVE, infinity)):
        pieces[2 * octave : 2 * octave + 2] = [piece] * 2
    for band, piece in zip(BANDS, bands, strict=True):
        pieces[2 * octave_of(band >> 1) + (band & 1)] = piece
    return pieces


def assemble(name: str, positive: list[Piece], negative: list[Piece], **header: int) -> Table:
    """A table of 64 pieces for each sign. Pieces that differ by nothing, or by the sign, share words."""
    pieces = [_turned(piece) for piece in positive + negative]
    blocks = {block: None for piece in pieces for block in (piece.words, piece.second) if block}
    words: list[Word | None] = []
    places = {(): 0} | {block: _put(words, block) for block in sorted(blocks, key=_block_size, reverse=True)}
    if len(words) > WORD_COUNT:
        raise HeddleError(f"{name} needs {len(words)} words of a table, which has {WORD_COUNT}")
    descriptors = tuple(
        replace(piece.descriptor, base=places[piece.words], second=places[piece.second]) for piece in pieces
    )
    falling = _falling(name, pieces)
    return Table(descriptors, tuple(word or _NOTHING for word in words), falling=falling, **header)


def _falling(name: str, pieces: list[Piece]) -> int:
    """Which halves of octaves have BENT bands that get finer towards their upper ends."""
    bent = [(i % 2, piece.falling) for i, piece in enumerate(pieces) if piece.descriptor.mode is Mode.BENT]
    if len(set(bent)) > len({half for half, _ in bent}):
        raise HeddleError(f"{name} must not be 0 at lower ends of some halves of octaves and at upper ends of others")
    return sum({half: falling << half for half, falling in bent}.values())


def _turned(piece: Piece) -> Piece:
    """The same with its first word that is not zero positive, the sign in the descriptor. Not for logarithms, whose
    words are only a part of the sum."""
    leading = next((word.c0 or word.c1 for word in piece.words if word and (word.c0 or word.c1)), 0)
    if leading >= 0 or piece.descriptor.mode is Mode.LOGARITHM:
        return piece
    descriptor = replace(piece.descriptor, flip=1 - piece.descriptor.flip)
    return Piece(descriptor, _negative(piece.words), _negative(piece.second), piece.falling)


def _negative(block: Block) -> Block:
    return tuple(word and replace(word, c0=-word.c0, c1=-word.c1) for word in block)


def _block_size(block: Block) -> int:
    return 1 << (len(block) - 1).bit_length()


def _put(words: list[Word | None], block: Block) -> int:
    """Put a block into the first place that is a multiple of its size and has room; where it begins."""
    base = 0
    while any(old and new for old, new in zip(words[base:], block, strict=False)):
        base += _block_size(block)
    words.extend([None] * (base + len(block) - len(words)))
    words[base : base + len(block)] = [new or old for old, new in zip(words[base:], block, strict=False)]
    return base


# -- functions that are not a power of x at their ends -----------------------------------------------------------------


def exponential(base: float) -> Table:
    """base^x, base > 1."""
    multiplier, doublings = _multiplier(math.log2(base))
    points = np.arange((1 << POWER_BITS) + 1) / (1 << POWER_BITS)
    piece = Piece(Descriptor(Mode.POWER), tuple(words_of(lines(np.exp2, points))))
    bands = [piece] * len(BANDS)
    positive, negative = (_side(constant(1), bands, constant(limit)) for limit in (math.inf, 0.0))
    return assemble(f"{base:g}^x", positive, negative, multiplier=multiplier, origin=_origin(POWER_BITS + doublings))


def logarithm(base: float) -> Table:
    """The logarithm to a base of 2 or more; relative errors are small near 1 too."""
    def function(x: Values) -> Values:
        return np.log(x) / math.log(base)

    multiplier = round(math.log(2) / math.log(base) * (1 << MULTIPLIER_FRACTION_BITS))
    parts = 1 << 4
    points = np.append(grid(0, parts)[:-1], grid(1, parts))
    # The last node must not be above what the next exponent begins with.
    last = multiplier >> MULTIPLIER_FRACTION_BITS - COEFFICIENT_FRACTION_BITS
    words = words_of(lines(function, points, 0.0, last * UNIT), fixed=0)
    descriptor = Descriptor(Mode.LOGARITHM, shift=WHOLE_BAND - 4)
    octave = Piece(descriptor, tuple(words[:parts])), Piece(descriptor, tuple(words[parts:]))
    bands = {band: octave[band & 1] for band in BANDS}
    bands[0], bands[-1] = rising(function, 0), falling(function, -1)
    for band in (1, -2):
        words = words_of(lines(function, grid(band, parts)))
        bands[band] = Piece(Descriptor(shift=WHOLE_BAND - 4), tuple(words))
    undefined = [UNDEFINED] * len(BANDS)
    return assemble(f"the logarithm to base {base:g}",
                    _side(constant(-math.inf), list(bands.values()), constant(math.inf)),
                    _side(constant(-math.inf), undefined, UNDEFINED), multiplier=multiplier, of_exponent=1)  # fmt: skip


def wave(function: Function, name: str, most: int = 6) -> Table:
    """A function of period 2π up to 2^(most + 1), beyond which it gives NaN. From 1 on results are off by as much as
    2⁻¹⁸ + 2⁻²¹·|x| more: a multiplier has 18 bits."""
    multiplier, doublings = _multiplier(1 / (2 * math.pi))
    points = np.arange((1 << PERIOD_BITS) + 1) / (1 << PERIOD_BITS)
    nodes = lines(lambda u: at(function, u * 2 * math.pi), points)
    piece = Piece(Descriptor(Mode.PERIOD), tuple(words_of(np.where(np.abs(nodes) < 1e-12, 0, nodes))))
    sides = _sides(name, function, LEAST_EXPONENT, -1, TOLERANCE, FLOOR)
    for _, bands, _ in sides:
        bands[-BANDS[0] : 2 * (most + 1) - BANDS[0]] = [piece] * (2 * (most + 1))
    return assemble(name, *(_side(*side) for side in sides), multiplier=multiplier,
                    origin=_origin(PERIOD_BITS + doublings))  # fmt: skip


def _origin(bits: int) -> int:
    """The origin with which `bits` fraction bits of u are in its whole part."""
    return WHOLE_BAND + 127 - bits


def _multiplier(factor: float) -> tuple[int, int]:
    """(multiplier, doublings) with factor = multiplier·2^(doublings − 17), as precise as can be."""
    doublings = math.frexp(factor)[1] - 1
    return round(factor * 2.0 ** (MULTIPLIER_FRACTION_BITS - doublings)), doublings


def power(exponent: float) -> Table:
    """x^exponent. If twice the exponent is one of RULES, of every x; else from 2⁻¹⁴ up to 2¹⁴, if it fits."""
    def function(x: torch.Tensor) -> torch.Tensor:
        return x**exponent

    name = f"x^{exponent:g}"
    if 2 * exponent in RULES:
        return table_of(function, name=name)
    with np.errstate(over="ignore", invalid="ignore"):  # of the steepest, which no table can hold
        return table_of(function, name=name, least=LEAST_EXPONENT + 1, most=MOST_EXPONENT - 1)


def _gelu_tanh(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.gelu(x, approximate="tanh")


GOLDEN: dict[str, Function] = {
    "exp": torch.exp, "exp2": torch.exp2, "log": torch.log, "log2": torch.log2, "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt, "reciprocal": torch.reciprocal, "erf": torch.erf, "gelu": torch.nn.functional.gelu,
    "gelu_tanh": _gelu_tanh, "silu": torch.nn.functional.silu, "sigmoid": torch.sigmoid, "tanh": torch.tanh,
    "softplus": torch.nn.functional.softplus, "mish": torch.nn.functional.mish, "elu": torch.nn.functional.elu,
    "hardswish": torch.nn.functional.hardswish, "relu": torch.relu, "sin": torch.sin, "cos": torch.cos,
    "atan": torch.atan, "erfc": torch.erfc,
}  # fmt: skip


_PAIRS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "add": torch.add, "subtract": torch.sub, "multiply": torch.mul, "maximum": torch.maximum, "minimum": torch.minimum,
}  # fmt: skip


def of_name(name: str) -> Function:
    """What the name of a function stands for: one in GOLDEN, a power, such as x^1.5, or a composition of these, of sums
    and products, written before their operands: "multiply x sigmoid multiply 1.702 x"."""
    if " " in name:
        return _composition(name.split())
    if name == ROUND:
        return torch.round
    return (lambda x: x ** float(name[2:])) if name.startswith("x^") else GOLDEN[name]


def _composition(words: list[str]) -> Function:
    def function(x: torch.Tensor) -> torch.Tensor:
        stack: list[torch.Tensor] = []
        for word in reversed(words):
            if word == "x":
                stack.append(x)
            elif word in _PAIRS:
                stack.append(_PAIRS[word](stack.pop(), stack.pop()))
            elif word in GOLDEN or word.startswith("x^"):
                stack.append(of_name(word)(stack.pop()))
            else:
                stack.append(torch.full_like(x, float(word)))
        return stack.pop()

    return function


@cache
def simplest_name(name: str) -> str | None:
    """The name of a composition, that of the function in GOLDEN that it is, or None where no table can hold it."""
    x = np.concatenate([grid(band, 16)[:-1] for band in BANDS])
    x = np.append(x, -x)
    with np.errstate(all="ignore"):
        exact = at(of_name(name), x)
        for simple, function in GOLDEN.items():
            if np.allclose(at(function, x), exact, rtol=1e-6, atol=1e-7 * FLOOR, equal_nan=True):
                return simple
        try:
            named(name)
        except HeddleError:
            return None
    return name


@cache
def named(name: str) -> Table:
    """The table of a function by the name that `of_name` knows."""
    if name.startswith("x^") and " " not in name:
        return power(float(name[2:]))
    if " " in name:
        return table_of(of_name(name), name=name)
    function = GOLDEN[name]
    special = {
        "exp": lambda: exponential(math.e), "exp2": lambda: exponential(2), "log": lambda: logarithm(math.e),
        "log2": lambda: logarithm(2), "sin": lambda: wave(function, name), "cos": lambda: wave(function, name),
    }  # fmt: skip
    return special.get(name, lambda: table_of(function, name=name))()
