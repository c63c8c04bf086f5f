"""Lock-step of the KV cache: what a decoder does with it, and KV among STORE, LOAD and FETCH at the port."""

from dataclasses import replace

import numpy as np
import pytest
from heddle.arch.config import Memory
from heddle.arch.isa import Append, Codes, Load, Part, Quantise, Scales, Source, Store, Stream
from heddle.arch.program import Program
from heddle.cosim.lockstep import lockstep
from heddle.sim.machine import simulate

from ..machines import ROOMY
from .conftest import NANO, noise, program_of

CACHE = 0x8000
DRAMS = [{"latency_cycles": 1}, {"latency_cycles": 40}, {"latency_cycles": 9, "cycles_per_beat": 3}]
BLOCK, SLOT, BLOCKS = 1, 2, 3  # registers


def decoder(config) -> Program:
    """Quantises `tokens` keys of three words and a half, appends them with their scales where registers say, and takes
    the sequence out again as keys, as values and as pairs. Two blocks to a page, pages out of order."""
    config = replace(config, weight_banks=4)
    c, tokens, words = config.columns, 6, 4
    block_bytes = words * c * config.dram_word_bytes(Memory.WEIGHT)
    page_bytes = -(-2 * block_bytes // 256) * 256
    pairs_at = 6 * page_bytes
    codes = dict(token_words=words, page_bytes=page_bytes, page_blocks=1, pages=5, table=1)
    pairs = dict(part=Part.PAIRS, page_bytes=256, page_blocks=1, pages=5, table=1, dram_address=pairs_at)
    to = dict(tokens=tokens, block=1, block_register=BLOCK, slot_register=SLOT)
    of = dict(blocks=8, count_register=BLOCKS)
    bank = config.bank_words(Memory.WEIGHT)
    values = np.random.default_rng(3).normal(0, 2, tokens * words * c).astype("<f4").view("<u4") >> 16
    size = config.dram_word_bytes(Memory.VALUE)
    rows = np.zeros((tokens * words, size // 2), "<u2")
    rows[:, :c] = values.reshape(-1, c)
    table = np.array([9, 3, 0, 4, 1, 2], "<i4").tobytes()
    return program_of([
        Load(memory=Memory.PAGE, dram_address=0x1000, words=6),
        Load(memory=Memory.VALUE, dram_address=0x1100, words=tokens * words),
        Quantise(rows=tokens, columns=words * c - 2, source=Source.VALUE, source_stride=words, codes=Codes.WEIGHT,
                 address=3, stride=tokens + 1, scales=Scales.PARAM_PAIR, scales_address=1),
        Append(part=Part.VALUES, address=3, stride=tokens + 1, **codes, **to),
        Append(address=c, **pairs, **to),
        Stream(part=Part.KEYS, address=bank, stride=words * c, words=words, **codes, **of),
        Stream(part=Part.VALUES, address=2 * bank, stride=8 * c, words=words - 1, **codes, **of),
        Stream(address=32, **pairs, **of),
        Store(memory=Memory.WEIGHT, address=3, words=words * (tokens + 1), dram_address=0x2000),
        Store(memory=Memory.WEIGHT, address=bank, words=8 * words * c, dram_address=0x3000),
        Store(memory=Memory.WEIGHT, address=2 * bank, words=8 * words * c, dram_address=0x5000),
        Store(memory=Memory.PARAM, address=32, words=8, dram_address=0x7000),
    ], config, data=[(0x1000, table), (0x1100, rows.tobytes()), (CACHE, noise(0x4000))],
       registers=((BLOCK, 0), (SLOT, 2), (BLOCKS, 5)), cache_address=CACHE,
       cache_bytes=pairs_at + 5 * 256 + 128)  # fmt: skip


@pytest.mark.parametrize("config", [pytest.param(NANO, marks=pytest.mark.long), ROOMY], ids=lambda config: config.name)
def test_tokens_wherever_they_go_agree(config):
    """At the start of a block, across blocks, across pages; on memories slow and fast."""
    programs = []
    for registers, dram in zip([(0, 0, 1), (2, 3, 5), (6, 1, 8)], DRAMS, strict=True):
        program = decoder(config.with_dram(**dram))
        programs.append(replace(program, registers=tuple(zip((BLOCK, SLOT, BLOCKS), registers, strict=True))))
    comparison = lockstep(programs, engine="icarus")
    assert comparison.agrees, comparison.first_difference
    assert comparison.runs == 3


def test_what_was_appended_comes_out(config=NANO):
    """The decoder's memories, by the equations: token t is word column t of its keys' tile, row t of its values'."""
    program = decoder(config)
    image, c, words, tokens = simulate(program).image_of(0), config.columns, 4, 6
    codes = image[0x2000:].view(np.int8)[: words * (tokens + 1) * c].reshape(words, tokens + 1, c)[:, :tokens]
    keys = image[0x3000:].view(np.int8)[: 8 * words * c * c].reshape(8, words, c, c)
    values = image[0x5000:].view(np.int8)[: words * 8 * c * c].reshape(words, 8 * c, c)
    first = 1 * c + 2  # block 1, slot 2
    assert codes.any()
    for token in range(tokens):
        block, slot = divmod(first + token, c)
        assert (keys[block, :, :, slot] == codes[:, token]).all()
        assert (values[: words - 1, first + token] == codes[: words - 1, token]).all()


def crowd(config) -> Program:
    """Appends and Streams while STORE writes and LOAD reads: no two of them touch one bank."""
    config = replace(config, weight_banks=4)
    weight, value = config.bank_words(Memory.WEIGHT), config.bank_words(Memory.VALUE)
    word_bytes = config.dram_word_bytes(Memory.VALUE)
    codes = dict(part=Part.VALUES, token_words=2, page_bytes=512, pages=4)
    table = np.array([2, 0, 3, 1], "<i4").tobytes()
    return program_of([
        Load(memory=Memory.PAGE, dram_address=0x1000, words=4),
        Load(memory=Memory.WEIGHT, dram_address=0x1100, words=64),
        Load(memory=Memory.PARAM, dram_address=0x1100, words=4),
        Load(memory=Memory.VALUE, dram_address=0x1200, words=40),
        Append(tokens=7, heads=2, head_step=9, head_bytes=256, slot=1, stride=20, **codes),
        Store(memory=Memory.VALUE, words=3, segments=12, stride=1, dram_stride=4 * word_bytes, dram_address=0x2000),
        Load(memory=Memory.VALUE, address=value, dram_address=0x1104, words=30, segments=3, stride=30, dram_stride=64),
        Append(**{**codes, "part": Part.PAIRS, "token_words": 1}, address=1, tokens=9, dram_address=2048),
        Stream(**{**codes, "part": Part.KEYS}, blocks=3, words=2, address=weight, stride=12),
        Store(memory=Memory.VALUE, address=3, words=30, dram_address=0x4000),
        Stream(**codes, dram_address=256, blocks=4, words=1, address=2 * weight),
        Stream(**{**codes, "part": Part.PAIRS}, blocks=3, dram_address=2048, address=64),
        Store(memory=Memory.VALUE, address=value, words=60, dram_address=0x5000),
        Store(memory=Memory.WEIGHT, address=weight, words=36, dram_address=0x6000),
        Store(memory=Memory.WEIGHT, address=2 * weight, words=20, dram_address=0x6800),
        Store(memory=Memory.PARAM, address=64, words=3, dram_address=0x7000),
    ], config, data=[(0x1000, table), (0x1100, noise(0x800)), (CACHE, noise(0x2000))], cache_address=CACHE,
       cache_bytes=0x1400)  # fmt: skip


@pytest.mark.parametrize("config", [NANO, pytest.param(ROOMY, marks=pytest.mark.long)], ids=lambda config: config.name)
def test_kv_among_others_at_the_port_agrees(config):
    programs = [crowd(config.with_dram(**dram)) for dram in DRAMS]
    for program in programs:
        records = {each.index: each for each in simulate(program).trace}
        kv, store = records[4], records[5]
        assert kv.start < store.retire and store.start < kv.retire, "Append and STORE are to write side by side"
    comparison = lockstep(programs, engine="icarus")
    assert comparison.agrees, comparison.first_difference
