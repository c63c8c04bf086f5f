"""Sums of products over letters: einsum, and what is one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from string import ascii_letters

import torch

from ...arch.isa import Reduction
from ..graph import Node
from .builder import Builder, rule

Term = tuple[Node, str]  # a tensor, and a letter for each of its dimensions


@rule("einsum")
def einsum(b: Builder, equation: str, operands: list[Node], *path: object, **more: object) -> Node:
    """Operands are multiplied one after the other; a letter that nobody else has is summed over first."""
    given, right = _letters(b, equation, operands)
    sizes: dict[str, int] = {}
    terms = []
    for node, term in given:
        for letter, size in zip(term, node.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise b.refuse(f"of einsum {equation!r} a letter must have one size")
        terms.append(_without_pairs(b, b.number(node), term))
    return contract(b, terms, right, sizes)


@rule("_trilinear")
def trilinear(
    b: Builder, x: Node, weight: Node, y: Node, expand_x: Sequence[int], expand_weight: Sequence[int],
    expand_y: Sequence[int], summed: Sequence[int], *unrolled: int,
) -> Node:  # fmt: skip
    """Σ x·weight·y over some dimensions, each with dimensions of size 1 put in"""
    rank = len(x.shape) + len(expand_x)
    terms = []
    sizes: dict[str, int] = {}
    for node, places in ((x, expand_x), (weight, expand_weight), (y, expand_y)):
        term = "".join(ascii_letters[place] for place in range(rank) if place not in places)
        sizes |= dict(zip(term, node.shape, strict=True))
        terms.append((b.number(node), term))
    return contract(b, terms, "".join(ascii_letters[place] for place in range(rank) if place not in summed), sizes)


def contract(b: Builder, terms: Sequence[Term], right: str, sizes: dict[str, int]) -> Node:
    """The sum of products of all terms, over the letters that are not on the right: from left to right, two by two."""
    first, *others = terms
    for place, second in enumerate(others):
        needed = {*right}.union(*(term for _, term in others[place + 1 :]))
        first = _product(b, first, second, needed, sizes)
    return _summed(b, first, right)


def _letters(b: Builder, equation: str, operands: Sequence[Node]) -> tuple[list[Term], str]:
    """(operands with their letters, those of the result). Dimensions that ... stands for get letters of their own."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise b.refuse(f"einsum {equation!r} is of {len(terms)} operands, not {len(operands)}")
    free = "".join(letter for letter in ascii_letters if letter not in equation)
    found, most = [], 0
    for node, term in zip(operands, terms, strict=True):
        count = len(node.shape) - len(term.replace("...", ""))
        most = max(most, count)
        found.append((node, term.replace("...", free[:count][::-1])))
    between = free[:most][::-1]  # the last dimensions of each are the same
    if arrow:
        return found, right.replace("...", between)
    once = sorted(letter for letter in {*left} - {*".,"} if left.count(letter) == 1)
    return found, between + "".join(once)


def _without_pairs(b: Builder, node: Node, term: str) -> Term:
    """The diagonal, of letters that come twice."""
    for letter in dict.fromkeys(term):
        while term.count(letter) > 1:
            one, other = term.index(letter), term.rindex(letter)
            node = b.view(node, lambda t, one=one, other=other: t.diagonal(dim1=one, dim2=other))
            term = "".join(each for place, each in enumerate(term) if place not in (one, other)) + letter
    return node, term


def _product(b: Builder, one: Term, other: Term, needed: Collection[str], sizes: dict[str, int]) -> Term:
    """The product of two terms, summed over what is not needed any more: as matrices, of rows that the first alone has,
    and columns that the second has."""
    first, second = (_alone(b, each, {*needed, *term}) for each, term in ((one, other[1]), (other, one[1])))
    shared = [letter for letter in first[1] if letter in second[1]]
    batch = [letter for letter in shared if letter in needed]
    summed = [letter for letter in shared if letter not in needed]
    rows = [letter for letter in first[1] if letter not in second[1]]
    columns = [letter for letter in second[1] if letter not in first[1]]

    if not summed:
        letters = [*batch, *rows, *columns]
        return b.multiply(*(_aligned(b, each, letters) for each in (first, second))), "".join(letters)

    def matrix(value: Term, one: list[str], other: list[str]) -> Node:
        node, term = value
        shape = [*(sizes[letter] for letter in batch), _size(sizes, one), _size(sizes, other)]
        order = [term.index(letter) for letter in (*batch, *one, *other)]
        return b.view(b.view(node, lambda t: t.permute(order)), lambda t: t.reshape(shape))

    product = b.matmul(matrix(first, rows, summed), matrix(second, summed, columns))
    letters = "".join((*batch, *rows, *columns))
    return b.view(product, lambda t: t.reshape([sizes[letter] for letter in letters])), letters


def _aligned(b: Builder, value: Term, letters: Sequence[str]) -> Node:
    """With these letters in this order, of size 1 where the term has them not."""
    node, term = value
    order = [term.index(letter) for letter in letters if letter in term]
    node = b.view(node, lambda t: t.permute(order))
    for place, letter in enumerate(letters):
        node = node if letter in term else b.view(node, lambda t, place=place: t.unsqueeze(place))
    return node


def _size(sizes: dict[str, int], letters: Collection[str]) -> int:
    return torch.Size([sizes[letter] for letter in letters]).numel()


def _alone(b: Builder, value: Term, kept: Collection[str]) -> Term:
    """Summed over the letters that nobody else has."""
    wanted = "".join(letter for letter in value[1] if letter in kept)
    return _summed(b, value, wanted), wanted


def _summed(b: Builder, value: Term, wanted: str) -> Node:
    """Of the wanted letters, in their order."""
    node, term = value
    dims = [dim for dim, letter in enumerate(term) if letter not in wanted]
    node = b.reduce(Reduction.SUM, node, dims) if dims else node
    left = [letter for letter in term if letter in wanted]
    return b.view(node, lambda t: t.permute([left.index(letter) for letter in wanted]))
