"""What generated faults are made of: each operation of hw/ as it is, or, where a signal says so, as a fault has it.

cosim/fault_sites.py rewrites the sources so that they call these functions, with the number of the first fault of each
place. At elaboration a function computes what the source says and, for each fault of ACTIVE that the place can have,
what the fault makes of it; `SELECT` chooses between them while the design runs. All have the shape of the original.
What is no value of the design (a number of Python's, a constant) is computed as ever, and has no fault.

This file is copied into hw/ of the rewritten package.
"""

import operator
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.hdl import ValueCastable
from heddle.cosim.fault_sites import EXCHANGED
from heddle.hw import pipeline, verilog

# Which fault is in the design; 0: none. An input of every Verilog module; in Amaranth's own simulator a constant.
SELECT = Signal(16, name="fault", init=int(os.environ.get("HEDDLE_FAULT", "0")))
verilog.EVERYWHERE["fault"] = SELECT
ACTIVE: Any = range(1, 1 << 16)  # those that are built in
PROBES = False  # only LIVE is wanted: nothing is built in
LIVE: set[int] = set()  # those that some place has had so far

_OPERATORS = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "&": operator.and_, "|": operator.or_, "^": operator.xor,
    "<<": operator.lshift, ">>": operator.rshift, "==": operator.eq, "!=": operator.ne, "<": operator.lt,
    "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_Alternative = Callable[[], Any]
_originals: dict[int, tuple[Any, Any, tuple[int, ...]]] = {}  # id of what `item` gave → itself, the original, faults
_waiting: list[Any] = []  # assignments of choices to their signals
_dropped: dict[int, tuple[Any, int]] = {}  # id of an assignment → itself, the fault without it


def binary(first: int, symbol: str, a: Any, b: Any) -> Any:
    """`a` and `b` joined by an operator of EXCHANGED."""
    original = _OPERATORS[symbol](a, b)
    others, steps = EXCHANGED[symbol]
    if not _varies(a) and not _varies(b):
        return original
    found: list[_Alternative] = [lambda other=other: _OPERATORS[other](a, b) for other in others]
    for step in steps:
        if isinstance(b, int):
            found.append(lambda step=step: _OPERATORS[symbol](a, int(b) + step))
        elif isinstance(a, int):
            found.append(lambda step=step: _OPERATORS[symbol](int(a) + step, b))
    return _choice(first, original, found)


def unary(first: int, symbol: str, a: Any) -> Any:
    """~a or −a; or a."""
    original = ~a if symbol == "~" else -a
    return _choice(first, original, [lambda: a]) if _varies(a) else original


def reduction(first: int, a: Any, name: str) -> Any:
    """a.any() or a.all(); or the other one."""
    original = getattr(a, name)()
    return _choice(first, original, [getattr(a, "all" if name == "any" else "any")]) if _varies(a) else original


def mux(first: int, condition: Any, a: Any, b: Any) -> Any:
    """Mux(condition, a, b); or its arms exchanged, or one that is a constant one more."""
    original = Mux(condition, a, b)
    if not _varies(condition):
        return original
    return _choice(first, original, [
        lambda: Mux(condition, b, a),
        lambda: Mux(condition, a + 1, b) if isinstance(a, int) else None,
        lambda: Mux(condition, a, b + 1) if isinstance(b, int) else None,
    ])  # fmt: skip


def item(first: int, a: Any, index: Any) -> Any:
    """a[index]; or the bits beside it."""
    original = a[index]
    if not _varies(a) or not _varies(original) or not isinstance(index, int | slice):
        return original
    result = _choice(first, original, [lambda: _beside(a, index, 1), lambda: _beside(a, index, -1)])
    target, faults = _target(a)
    if result is not original or target is not a:
        _originals[id(result)] = result, target[index], (*faults, first, first + 1)
    return result


def _target(value: Any) -> tuple[Any, tuple[int, ...]]:
    """What an assignment to `value` writes, and the faults that it cannot have then: which bits are written, no signal
    can choose."""
    _, target, faults = _originals.get(id(value), (value, value, ()))
    return target, faults


def _beside(a: Any, index: int | slice, step: int) -> Any:
    """a[index] moved by `step`; None: there are no such bits."""
    if isinstance(index, int):
        index %= len(a)
        return a[index + step] if 0 <= index + step < len(a) else None
    start, stop, stride = index.indices(len(a))
    if stride != 1 or not 0 <= start + step <= stop + step <= len(a):
        return None
    return a[start + step : stop + step]


def delayed(first: int, function: Callable, m: Module, signal: Any, *arguments: Any, **options: Any) -> Any:
    """What `delay` or `register` gives; or a cycle less (if one is left), or a cycle more."""
    if function is pipeline.delay:
        cycles = arguments[0] if arguments else options.pop("cycles")
        names = arguments[1:]
        if cycles == 0 or not _varies(signal):
            return function(m, signal, cycles, *names, **options)
        less = function(m, signal, cycles - 1, *names, **options)
        original = function(m, less, 1, *names, **options)
    else:
        cycles, less, original = 1, None, function(m, signal, *arguments, **options)
        if not _varies(signal):
            return original
    reset_less = original.reset_less if isinstance(original, Signal) else False
    return _choice(first, original, [
        lambda: less if cycles > 1 else None, lambda: pipeline.delay(m, original, 1, "late", reset_less=reset_less),
    ])  # fmt: skip


def condition(first: int, m: Module, value: Any, begins: bool) -> Any:
    """The condition of m.If (which `begins`) or m.Elif; or its contrary, or always, or never, or as it was a cycle
    ago."""
    if not _varies(value):
        return value
    value = Value.cast(value)

    def stale() -> Any:
        return pipeline.delay(m, value.bool(), 1, "stale") if begins else None  # no statement may come before Elif

    return _choice(first, value.bool(), [lambda: ~value.bool(), lambda: Const(1, 1), lambda: Const(0, 1), stale])


def assignment(first: int, target: Any, value: Any) -> Any:
    """target.eq(value); or not, or with a constant one more or less, or without the top bit of the value."""
    target, impossible = _target(target)
    LIVE.difference_update(impossible)
    if isinstance(value, int) and not isinstance(target, ValueCastable):
        width = len(target)
        steps = (1, -1) if width > 1 else (1,)
        original = Const(int(value), max(width, 1)) if width else value
        if width and -(1 << width) < int(value) < 1 << width:
            value = _choice(first + 1, original, [lambda step=step: Const(value + step & (1 << width) - 1, width)
                                                 for step in steps])  # fmt: skip
    elif _varies(value) and not isinstance(value, ValueCastable):
        given = Value.cast(value)
        width = min(len(given), len(Value.cast(target)))
        value = _choice(first + 3, given, [lambda: Cat(given[: width - 1], Const(0, 1)) if width > 1 else None])
    statement = target.eq(value)
    if first in ACTIVE:
        _dropped[id(statement)] = statement, first
    return statement


def add(m: Module, domain: str, statements: Any) -> None:
    """m.d[domain] += statements; or without one of them."""
    for statement in _flat(statements):
        _, fault = _dropped.get(id(statement), (None, 0))
        if not fault or m._ctrl_context == "Switch":  # between cases no m.If may stand
            m.d[domain] += statement
            continue
        LIVE.add(fault)
        with m.If(~_is(fault)):
            m.d[domain] += statement


def _flat(statements: Any) -> Iterator[Any]:
    if isinstance(statements, Iterable):
        for each in statements:
            yield from _flat(each)
    else:
        yield statements


def _varies(value: Any) -> bool:
    return isinstance(value, Value | ValueCastable) and not isinstance(value, Const)


def _choice(first: int, original: Any, alternatives: list[_Alternative]) -> Any:
    """The original or, while SELECT is `first` + n, the alternative n. One that there is not, is none of LIVE."""
    if isinstance(original, ValueCastable) or len(Value.cast(original)) == 0:
        return original
    result = original
    for number, alternative in enumerate(alternatives, first):
        if number not in ACTIVE:
            continue
        try:
            other = alternative()
        except (TypeError, ValueError, IndexError):  # no such value
            continue
        if other is None:
            continue
        LIVE.add(number)
        if not PROBES:
            result = Mux(_is(number), _fitted(Value.cast(other), original), result)
    if result is original:
        return original
    # In a signal of its own: choices among choices, each written out, would double with every one.
    chosen = Signal(original.shape(), name="chosen")
    _waiting.append(chosen.eq(result))
    return chosen


def finished(component: Any) -> Any:
    """What `elaborate` returns, with the choices that its module has made."""
    if isinstance(component, Module):
        component.d.comb += _waiting
        _waiting.clear()
    assert not _waiting, f"{component} has expressions but is no module"
    return component


def _is(fault: int) -> Value:
    return SELECT == fault  # noqa: SIM300


def _fitted(value: Value, like: Value) -> Value:
    """`value` in the shape of `like`."""
    missing = len(like) - len(value)
    if missing > 0:
        extension = value[-1].replicate(missing) if value.shape().signed and len(value) else Const(0, missing)
        value = Value.cast(Cat(value, extension))
    value = Value.cast(value[: len(like)])
    return value.as_signed() if like.shape().signed else value
