"""Configurations to run on: the smallest, an odd shape whose words do not fill DRAM words, and float32 storage."""


import numpy as np
import pytest
from heddle.arch.config import Memory
from heddle.sim.state import State, Words

from ..machines import NANO, ODD, VALUES


@pytest.fixture
def nano():
    return NANO


@pytest.fixture
def odd():
    return ODD


@pytest.fixture(params=[NANO, ODD, VALUES], ids=lambda config: config.name)
def config(request):
    return request.param


@pytest.fixture
def make_state():
    """make_state(config, batch, image): all memories zero, DRAM holding `image`, all of it writable."""

    def make(config, batch=1, image=None):
        image = np.zeros(1 << 16, np.uint8) if image is None else image
        base = image.reshape(-1, config.axi_bytes)
        return State(config, batch, Words(len(base), (config.axi_bytes,), np.uint8, batch, base=base))

    return make


@pytest.fixture
def put():
    """put(state, memory, address, words): words (blocks of) as (words, …) for all inputs or (batch, words, …)."""

    def put(state, memory, address, words):
        words = np.asarray(words)
        dimensions = state[memory].shared.ndim  # (batch, words, …)
        data = words if words.ndim == dimensions else words[None]
        state[memory].write(address, 0, data[:, None])

    return put


@pytest.fixture
def fill_params(put):
    """fill_params(state, address, scale, offset): pairs for columns, (columns,) each."""

    def fill(state, address, scale, offset):
        per_word = state.config.columns
        pairs = np.zeros((-(-len(scale) // per_word) * per_word, 2), np.float32)
        pairs[: len(scale), 0], pairs[: len(scale), 1] = scale, offset
        put(state, Memory.PARAM, address, pairs.reshape(-1, per_word, 2))

    return fill


@pytest.fixture
def fill_panel(put):
    """fill_panel(state, memory, address, panel (rows, columns) or (batch, rows, columns)) → words of a row."""

    def fill(state, memory, address, panel):
        per_word = state[memory].shared.shape[-1]
        words = -(-panel.shape[-1] // per_word)
        padded = np.zeros((*panel.shape[:-1], words * per_word), state[memory].shared.dtype)
        padded[..., : panel.shape[-1]] = panel
        put(state, memory, address, padded.reshape(*panel.shape[:-2], -1, per_word))
        return words

    return fill
