"""LOAD: every memory, strided and gathered, with its bits preserved."""

from dataclasses import replace

import numpy as np
import pytest
from heddle.arch.config import PRESETS, Memory
from heddle.arch.errors import HeddleError
from heddle.arch.isa import Load, Store
from heddle.arch.numerics import to_bits
from heddle.sim import units


def random_image(seed=1, size=1 << 16):
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


@pytest.mark.parametrize("memory", [Memory.ACT, Memory.WEIGHT, Memory.PARAM, Memory.VALUE])
def test_load_then_store_preserves_every_bit(config, make_state, memory):
    image = random_image()
    state = make_state(config, image=image)
    size, used = config.dram_word_bytes(memory), config.word_bits(memory) // 8
    common = dict(memory=memory, segments=3, words=2, address=5, stride=9)
    units.execute(Load(**common, dram_address=128, dram_stride=4 * size), state, config)
    units.execute(Store(**common, dram_address=8192, dram_stride=3 * size), state, config)
    found = state.dram.read(0, 0, 1, state.dram.count).reshape(-1)
    for segment in range(3):
        for word in range(2):
            source, target = 128 + (segment * 4 + word) * size, 8192 + (segment * 3 + word) * size
            assert np.array_equal(found[target : target + used], image[source : source + used])
            assert not found[target + used : target + size].any(), "padding is zero"


def test_subnormals_and_nan_payloads_are_kept(nano, make_state):
    image = np.zeros(1 << 12, np.uint8)
    image[:8] = np.array([0x0001, 0x7F81, 0xFFC1, 0x8000], "<u2").view(np.uint8)
    state = make_state(nano, image=image)
    units.execute(Load(memory=Memory.VALUE), state, nano)
    bits = to_bits(state.panel(Memory.VALUE, 0, 1, 1, 4))[0, 0]
    assert [hex(each) for each in bits] == ["0x10000", "0x7f810000", "0xffc10000", "0x80000000"]


def test_elements_are_little_endian_from_element_zero(odd, make_state):
    image = np.zeros(1 << 12, np.uint8)
    image[:4] = [1, 255, 3, 99]  # ACT: three codes and a byte of padding
    image[64 : 64 + 40] = np.arange(10, dtype="<f4").view(np.uint8)  # PARAM: five pairs, 24 bytes of padding
    state = make_state(odd, image=image)
    units.execute(Load(memory=Memory.ACT), state, odd)
    units.execute(Load(memory=Memory.PARAM, dram_address=64), state, odd)
    assert state[Memory.ACT].read(0, 0, 1, 1).tolist() == [[[[1, -1, 3]]]]
    scale, offset = state.pairs(0, 5)
    assert (scale.tolist(), offset.tolist()) == ([[0, 2, 4, 6, 8]], [[1, 3, 5, 7, 9]])


@pytest.mark.parametrize("preset", ["nano", "small", "base"])  # index words of one, two and four numbers
def test_a_gather_reads_the_rows_of_its_indices(preset, make_state, put):
    config = PRESETS[preset]
    image = random_image()
    state = make_state(config, batch=2, image=image)
    row, size = config.burst_bytes * 2, config.dram_word_bytes(Memory.ACT)
    per_word = config.word_elements(Memory.INDEX)
    indices = np.array([[7, 0, 3], [1, 1, 5]], np.int32)
    words = np.zeros((2, 8 * per_word), np.int32)
    words[:, 3 : 3 + 3] = indices
    put(state, Memory.INDEX, 0, words.reshape(2, -1, per_word))
    instruction = Load(dram_address=row, dram_stride=row, segments=3, words=2, stride=2, gather=1, index_address=3)
    units.execute(instruction, state, config)
    found = state[Memory.ACT].read(0, 2, 3, 2)
    for batch in range(2):
        for segment in range(3):
            start = row + indices[batch, segment] * row
            raw = image[start : start + 2 * size].reshape(2, size)[:, : config.rows].view(np.int8)
            assert np.array_equal(found[batch, segment], raw)


@pytest.mark.parametrize("index", [-1, 1 << 20])
def test_a_gather_beyond_dram_is_an_error(nano, make_state, put, index):
    state = make_state(nano)
    put(state, Memory.INDEX, 0, [[index]])
    with pytest.raises(HeddleError, match=f"beyond DRAM: bytes {64 * index} to {64 * index + 3} of a region of 65536"):
        units.execute(Load(dram_stride=64, gather=1), state, nano)


def test_a_gather_is_cut_alike_for_any_index(nano):
    narrow = replace(nano, burst_beats=2)
    bursts = units.bursts(Load(words=3, segments=2, dram_address=64, dram_stride=16, gather=1), narrow)
    assert [(burst.beats, burst.setup_cycles) for burst in bursts] == [(2, 9), (1, 0), (2, 9), (1, 0)]


def test_strided_segments_are_cut_where_they_lie(nano):
    bursts = units.bursts(Load(words=8, segments=2, dram_address=48, dram_stride=20), nano)
    assert [(burst.address, burst.beats) for burst in bursts] == [(48, 4), (64, 4), (68, 8)]
