"""STORE: strided writes, per input, that leave the rest of DRAM alone. Bits: test_load.py. Cycles: test_machine.py."""

import numpy as np
import pytest
from heddle.arch.config import PRESETS, Memory
from heddle.arch.errors import HeddleError
from heddle.arch.isa import Store
from heddle.sim import units


def test_store_writes_its_segments_and_nothing_else(config, make_state, fill_panel):
    image = np.full(1 << 12, 7, np.uint8)
    state = make_state(config, image=image)
    fill_panel(state, Memory.ACT, 3, np.arange(1, 1 + 4 * config.rows, dtype=np.int8).reshape(4, config.rows))
    size = config.dram_word_bytes(Memory.ACT)
    units.execute(Store(memory=Memory.ACT, address=3, words=2, stride=2, segments=2, dram_address=16 * size,
                        dram_stride=5 * size), state, config)  # fmt: skip
    found = state.dram.read(0, 0, 1, state.dram.count).reshape(-1, size)
    expected = np.full_like(found, 7)
    codes = np.arange(1, 1 + 4 * config.rows).reshape(4, config.rows)
    for word, row in zip((16, 17, 21, 22), codes, strict=True):
        expected[word] = 0
        expected[word, : config.rows] = row
    assert np.array_equal(found, expected)
    assert (image == 7).all()


def test_each_input_of_a_batch_has_its_own_dram(config, make_state, fill_panel):
    state = make_state(config, batch=3)
    codes = np.arange(3 * config.rows, dtype=np.int8).reshape(3, 1, config.rows)
    fill_panel(state, Memory.ACT, 0, codes)
    units.execute(Store(memory=Memory.ACT, dram_address=64), state, config)
    size = config.dram_word_bytes(Memory.ACT)
    found = state.dram.read(64 // config.axi_bytes, 0, 1, size // config.axi_bytes).reshape(3, size)
    assert np.array_equal(found[:, : config.rows], codes[:, 0])


def test_bursts_cover_all_segments_in_order(nano):
    bursts = units.bursts(Store(memory=Memory.VALUE, words=9, segments=2, dram_address=64, dram_stride=128), nano)
    assert [(burst.address, burst.beats) for burst in bursts] == [(64, 16), (128, 2), (192, 16), (256, 2)]


@pytest.mark.parametrize("preset", ["nano", "small", "base"])  # index words of one, two and four numbers
def test_a_scatter_writes_the_rows_of_its_indices_and_of_equal_ones_the_last(preset, make_state, put, fill_panel):
    config = PRESETS[preset]
    state = make_state(config, batch=2)
    codes = np.arange(2 * 4 * config.rows, dtype=np.int64).astype(np.int8).reshape(2, 4, config.rows)
    fill_panel(state, Memory.ACT, 3, codes)
    per_word, row, size = config.word_elements(Memory.INDEX), config.burst_bytes, config.dram_word_bytes(Memory.ACT)
    indices = np.array([[7, 0, 7, 3], [2, 2, 2, 5]], np.int32)
    words = np.zeros((2, 8 * per_word), np.int32)
    words[:, 3:7] = indices
    put(state, Memory.INDEX, 0, words.reshape(2, -1, per_word))
    units.execute(Store(memory=Memory.ACT, address=3, stride=1, segments=4, dram_address=row, dram_stride=row,
                        scatter=1, index_address=3), state, config)  # fmt: skip
    found = state.dram.read(0, 0, 1, state.dram.count).reshape(2, -1)
    for batch in range(2):
        expected = np.zeros(found.shape[1], np.uint8)
        for segment in range(4):
            start = row + int(indices[batch, segment]) * row
            expected[start : start + size] = 0
            expected[start : start + config.rows] = codes[batch, segment].view(np.uint8)
        assert np.array_equal(found[batch], expected)


def test_rows_of_a_scatter_may_overlap(nano, make_state, put, fill_panel):
    """Rows of 20 words, 16 apart: the fourth part of each is written by its neighbour, if that comes later."""
    state = make_state(nano)
    fill_panel(state, Memory.ACT, 0, np.repeat(np.arange(1, 61, dtype=np.int8), 4).reshape(60, 4))
    put(state, Memory.INDEX, 0, [[1], [0], [2]])
    units.execute(Store(memory=Memory.ACT, words=20, stride=20, segments=3, dram_stride=64, scatter=1), state, nano)
    found = state.dram.read(0, 0, 1, 60)[0, 0, :, 0].tolist()
    assert found == [*range(21, 41), *range(5, 17), *range(41, 61), *[0] * 8]


@pytest.mark.parametrize("index, message", [
    (-1, "beyond DRAM: rows of a scatter are numbered from 0 on"),
    (1 << 20, f"beyond DRAM: bytes {4096 + (64 << 20)} to {4099 + (64 << 20)} of a region of 65536: make the row"),
])  # fmt: skip
def test_a_scatter_beyond_dram_is_an_error(nano, make_state, put, index, message):
    state = make_state(nano)
    put(state, Memory.INDEX, 0, [[index]])
    with pytest.raises(HeddleError, match=message):
        units.execute(Store(memory=Memory.ACT, dram_address=4096, dram_stride=64, scatter=1), state, nano)


def test_a_scatter_is_cut_alike_for_any_index(nano):
    scatter = Store(memory=Memory.ACT, words=17, segments=2, dram_address=64, dram_stride=64, scatter=1)
    bursts = units.bursts(scatter, nano)
    assert [(burst.beats, burst.setup_cycles) for burst in bursts] == [(16, 8), (1, 0), (16, 8), (1, 0)]
