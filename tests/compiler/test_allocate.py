"""Addresses: no overlap in space and time, banks where units do not meet."""

from itertools import combinations

import numpy as np
import pytest
import torch
from heddle.arch.config import Memory
from heddle.arch.isa import Load, Map, Norm, Source
from heddle.compiler.allocate import FragmentedError, allocate
from heddle.compiler.builder import Tiles, Tiling
from heddle.compiler.pipeline import front_end
from heddle.compiler.schedule import Schedule, schedule
from heddle.compiler.tile import tile
from heddle.compiler.work import work_of
from heddle.models import encoder


def test_buffers_that_live_at_the_same_time_do_not_overlap(nano):
    model = encoder.seeded(encoder.PostNormLayer, encoder.EncoderConfig())
    tiles = tile(front_end(model, [torch.zeros(1, 10, 24)], lambda name, graph: None), nano, Tiling(2))
    found = allocate(schedule(tiles, nano), nano)
    slots = {slot.task: slot for slot in found.slots}
    lives = {
        buffer: (min(slots[each].start for each in users), max(slots[each].finish for each in users))
        for buffer, users in found.users.items()
    }
    for a, b in combinations(lives, 2):
        together = a.memory is b.memory and lives[a][0] < lives[b][1] and lives[b][0] < lives[a][1]
        assert not together or a.address + a.words <= b.address or b.address + b.words <= a.address
    assert all(b.address >= 0 and b.address + b.words <= nano.words(b.memory) for b in lives)


def values(tiles, names, words):
    return [tiles.buffer(Memory.VALUE, words, name) for name in names]


def test_units_that_run_at_the_same_time_get_banks_of_their_own(nano):
    tiles = Tiles(nano, Tiling(), nano.panel_rows)
    a, b, c, d = values(tiles, "abcd", 8)
    pairs = tiles.buffer(Memory.PARAM, 2, "pairs")
    tiles.emit(Map(rows=4, columns=8, source=Source.VALUE, source_address=a.at(0), source_stride=2,
                   address=b.at(0), stride=2), "map")  # fmt: skip
    tiles.emit(Norm(rows=4, columns=8, source_address=c.at(0), source_stride=2, param_address=pairs.at(0),
                    address=d.at(0), stride=2), "norm")  # fmt: skip
    found = allocate(schedule(tiles, nano), nano)
    assert found.slots[0].start == found.slots[1].start == 0
    bank = {buffer.name: buffer.address // nano.bank_words(Memory.VALUE) for buffer in (a, b, c, d)}
    assert bank["a"] != bank["c"] and bank["b"] != bank["d"]


def test_words_are_used_again_when_their_time_is_over(nano):
    tiles = Tiles(nano, Tiling(), nano.panel_rows)
    a, b = values(tiles, "ab", 400)
    for buffer in (a, b):
        tiles.emit(Load(memory=Memory.VALUE, words=400, address=buffer.at(0)), "load")
    work = work_of(tiles, nano)
    allocate(Schedule(tiles, work, np.array([0, work.latency[0]])), nano)
    assert (a.address, b.address) == (0, 0)


def test_a_buffer_larger_than_a_bank_crosses_banks(nano):
    tiles = Tiles(nano, Tiling(), nano.panel_rows)
    (a,) = values(tiles, "a", 1000)  # banks have 512
    tiles.emit(Load(memory=Memory.VALUE, words=1000, address=a.at(0)), "load")
    allocate(schedule(tiles, nano), nano)
    assert a.address == 0


def test_no_gap_is_an_error_that_names_the_memory(nano):
    tiles = Tiles(nano, Tiling(), nano.panel_rows)
    buffers = values(tiles, "abc", 700)
    for buffer in buffers:
        tiles.emit(Load(memory=Memory.VALUE, words=700, address=buffer.at(0)), "load")
    found = Schedule(tiles, work_of(tiles, nano), np.array([0, 1, 2]))
    with pytest.raises(FragmentedError, match="c: 700 words of VALUE are needed in one piece, .* 2048 that nano"):
        allocate(found, nano)


def test_a_packed_memory_has_the_largest_buffers_first_whatever_their_banks(nano):
    """Two of 300 words lie in a bank each, and leave no 1,400 in one piece; the other memory is as it was."""
    tiles = Tiles(nano, Tiling(), nano.panel_rows)
    buffers = [*values(tiles, "ab", 300), *values(tiles, "c", 1400)]
    for buffer in buffers:
        tiles.emit(Load(memory=Memory.VALUE, words=buffer.words, address=buffer.at(0)), "load")
    pairs = tiles.buffer(Memory.PARAM, 2, "pairs")
    tiles.emit(Load(memory=Memory.PARAM, words=2, address=pairs.at(0)), "load")
    found = Schedule(tiles, work_of(tiles, nano), np.arange(4))
    with pytest.raises(FragmentedError, match="c: 1400 words of VALUE are needed in one piece"):
        allocate(found, nano)
    allocate(found, nano, [Memory.VALUE])
    ends = sorted((buffer.address, buffer.address + buffer.words) for buffer in buffers)
    assert ends[0][0] == 0 and all(a[1] <= b[0] for a, b in zip(ends, ends[1:], strict=False))
    assert ends[-1][1] <= 2048 and pairs.address == 0
