"""What random programs reach between them, in the simulator: each bin is a place where faults were once missed."""

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
from heddle.arch.config import FETCH_GROUP, Memory, Unit
from heddle.arch.isa import (
    Guard,
    Halt,
    IndexMap,
    Load,
    Map,
    Matmul,
    Norm,
    NormKind,
    OnlineSoftmax,
    Quantise,
    Reduce,
    Softmax,
    Store,
    units_in,
)
from heddle.cosim.random_places import STORABLE
from heddle.cosim.random_programs import random_program
from heddle.sim.machine import simulate
from heddle.sim.values import run_values

from .conftest import NANO

PROGRAMS = 100
WIDE = (Map, Quantise, Reduce, Softmax, OnlineSoftmax, Norm)
BOUNDARY = 4096
FAR = 1 << 20


def bins_of(program) -> set[str]:
    """The bins that one run reaches."""
    found: set[str] = set()
    result = simulate(program, values=False)
    for index, (each, void) in enumerate(result.dispatched):
        if void:
            found |= {"void"} if isinstance(program.instructions[index], Halt) else set()
            continue
        if isinstance(each, WIDE):
            found |= {f"{type(each).__name__} of more than 64 columns"} if each.columns > 64 else set()
            found |= {"more than 128 columns"} if each.columns > 128 else set()
        if isinstance(each, Load | Store):
            found |= _moved(each, program.config)
        if isinstance(each, Store) and each.scatter:
            found |= {"scatter"}
        if isinstance(each, IndexMap) and each.count > 16:
            found |= {"indices of more than 16 elements"}
        if isinstance(each, Norm):
            found |= _constants(each)
        if isinstance(each, Softmax | OnlineSoftmax):
            found |= {f"window {each.window}"} & {"window 65535", "window 255"}
            found |= {f"offset {each.offset}"} & {"offset -65536", "offset 65535"}
    found |= {f"guard of {LONG}" for each in program.instructions if isinstance(each, Guard) and each.count > LONG}
    found |= {f"{name} above 255" for each in program.instructions if isinstance(each, Matmul)
              for name in ("k_offset", "n_offset") if getattr(each, name) > 255}  # fmt: skip
    halt = next(place for place, each in enumerate(program.instructions) if isinstance(each, Halt))
    found |= {"early halt"} if halt < len(program.instructions) - 1 else set()
    found |= {"groups behind the halt"} if halt // FETCH_GROUP < program.groups - 1 else set()
    found |= {f"more than {n} groups" for n in (31,) if program.groups > n}
    found |= {f"{n} units at once" for n in range(4, 1 + _most_at_once(result))}
    found |= {"a cache beyond 2^20"} if program.cache_address >= FAR else set()
    return found | _tokens(result) | _content(program)


LONG = 255


def _moved(each, config) -> set[str]:
    kind, length = type(each).__name__, each.words * config.dram_word_bytes(each.memory)
    starts = [] if each.dram is None or each.transfer(config).chosen else each.transfer(config).starts
    found = {f"{kind} crosses 4 KiB" for at in starts if at // BOUNDARY != (at + length - 1) // BOUNDARY}
    found |= {f"{kind} beyond 2^20" for at in starts[1:] if at >= FAR}
    found |= {"more than 64 segments"} if each.segments > 64 else set()
    if isinstance(each, Load) and each.gather:
        found |= {"gather beyond 2^20"} if each.dram_address >= FAR else set()
    return found


def _constants(each: Norm) -> set[str]:
    found = {f"{each.kind.name}: another reciprocal"} if each.reciprocal != np.float32(1 / each.columns) else set()
    for name in ("reciprocal", "epsilon"):
        number = getattr(each, name)
        size = abs(number)
        classes = {"NaN": np.isnan(number), "infinite": np.isinf(number), "negative": number < 0,
                   "huge or tiny": 1e30 < size < np.inf or 0 < size < 1e-30}  # fmt: skip
        found |= {f"{name}: {what}" for what, holds in classes.items() if holds}
    return found


def _most_at_once(result) -> int:
    """Units that execute in one cycle, void instructions not counted."""
    void = {index for index, each in enumerate(result.dispatched) if each.void}
    events = sorted(
        (cycle, change, record.unit) for record in result.trace if record.index not in void
        for cycle, change in ((record.start, 1), (record.retire + 1, -1))
    )  # fmt: skip
    running: Counter = Counter()
    most = 0
    for _, change, unit in events:
        running[unit] += change
        most = max(most, sum(count > 0 for count in running.values()))
    return most


def _tokens(result) -> set[str]:
    """Pairs of units, and how many tokens of one wait at a time."""
    events = defaultdict(list)
    for record in result.trace:
        each = result.dispatched[record.index].instruction
        for source in units_in(each.wait):
            events[source, each.unit].append((record.start, 0, -1))
        for target in units_in(each.signal):
            events[each.unit, target].append((record.retire, 1, 1))
    found = {f"{source.name} to {target.name}" for source, target in events}
    for changes in events.values():
        counts = np.cumsum([change for *_, change in sorted(changes)])
        found |= {f"more than {n} tokens" for n in (2, 4, 8, 16) if counts.max() > n}
    return found


def _content(program) -> set[str]:
    """Of what ACC holds at the end, and DRAM at the beginning: sums, and floats of any bits."""
    last = {}
    run_values(program, None, watch=lambda index, instruction, state: last.update(state=state))
    sums = last["state"][Memory.ACC].read(0, 0, 1, NANO.acc_words) if last else np.zeros(1)
    found = {"a sum above 2^24"} if np.abs(sums.astype(np.int64)).max() > 1 << 24 else set()
    for memory, dtype in ((Memory.PARAM, "<u4"), (Memory.VALUE, "<u2")):
        bits = np.frombuffer(program.data[STORABLE.index(memory)][1], dtype).astype(np.uint32)
        bits = bits << (32 - 8 * np.dtype(dtype).itemsize)
        exponents, payloads = bits >> 23 & 0xFF, bits & 0x3FFFFF
        if len(np.unique(exponents)) > 200 and ((exponents == 255) & (payloads != 0)).any():
            found.add(f"any bits in {memory.name}")
    return found


WANTED = {
    *(f"{kind.__name__} of more than 64 columns" for kind in WIDE), "more than 128 columns",
    *(f"{kind} {what}" for kind in ("Load", "Store") for what in ("crosses 4 KiB", "beyond 2^20")),
    "more than 64 segments",
    "gather beyond 2^20", "a cache beyond 2^20", "early halt", "groups behind the halt", "more than 31 groups",
    f"guard of {LONG}", "k_offset above 255", "n_offset above 255", "4 units at once", "5 units at once",
    "a sum above 2^24", "any bits in PARAM", "any bits in VALUE", "window 65535", "offset -65536", "offset 65535",
    *(f"more than {n} tokens" for n in (2, 4, 8)),
    *(f"{kind.name}: another reciprocal" for kind in NormKind),
    *(f"{name}: {what}" for name in ("reciprocal", "epsilon")
      for what in ("NaN", "infinite", "negative", "huge or tiny")),
    "scatter", "indices of more than 16 elements",
}  # fmt: skip


@pytest.fixture(scope="module")
def reached() -> Counter:
    """How many programs reach each bin."""
    found: Counter = Counter()
    for seed in range(PROGRAMS):
        found.update(bins_of(random_program(NANO, seed)))
    return found


def test_random_programs_reach_every_bin(reached):
    assert not WANTED - set(reached)


def test_tokens_go_between_nearly_all_units(reached):
    """From a unit to itself, too."""
    pairs = {f"{source.name} to {target.name}" for source in Unit for target in Unit}
    assert len(pairs - set(reached)) <= 3


def test_random_programs_stay_short():
    cycles = [simulate(random_program(NANO, seed), values=False).cycles for seed in range(0, PROGRAMS, 2)]
    assert np.median(cycles) < 28_000 and np.mean(cycles) < 30_000


def test_a_blind_spot_would_be_seen():
    """The bins tell a program that reaches them from one that does not."""
    program = random_program(NANO, 0)
    short = replace(program, instructions=(Halt(),), registers=())
    of_data = {"any bits in PARAM", "any bits in VALUE", "a cache beyond 2^20"}
    assert not bins_of(short) & (WANTED - of_data)
