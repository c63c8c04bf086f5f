"""STORE: strided writes, per input, that leave the rest of DRAM alone. Bits: test_load.py. Cycles: test_machine.py."""

import numpy as np
from heddle.arch.config import Memory
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
