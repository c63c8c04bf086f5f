"""hw/transposer.py: tiles go in word by word and come out transposed, one behind the other, whatever the pauses."""

import random

import numpy as np
import pytest
from amaranth.sim import Simulator
from heddle.arch.config import PRESETS
from heddle.hw.transposer import Transposer

from ..machines import ARRAY_2X2_BF16, BF16, ODD

CONFIGS = {
    "nano": PRESETS["nano"],
    "3x5": ODD,
    "small": PRESETS["small"],
    "2x2": ARRAY_2X2_BF16,
    "bf16": BF16,
}


@pytest.fixture(params=CONFIGS, ids=str)
def config(request):
    return CONFIGS[request.param]


def pack(codes, config) -> int:
    return sum(int(code) << config.code_bits * place for place, code in enumerate(codes))


def run(config, batches, probability, seed=0):
    """Sends batches of tiles (each (count, C, C)), words when a draw allows. For each batch: [(cycle, word)] that came
    out and [(cycle, word)] that went in, and the cycle of `o_last`."""
    dut = Transposer(config.columns, config.code_bits)
    chooser = random.Random(seed)
    results = []

    async def bench(ctx):
        cycle = 0
        for tiles in batches:
            words = [pack(word, config) for tile in tiles for word in tile]
            outs, ins, last = [], [], None
            ctx.set(dut.clear, 1)
            await ctx.tick()
            ctx.set(dut.clear, 0)
            while last is None:
                assert cycle < 5000, "the last tile does not leave"
                gives = len(ins) < len(words) and chooser.random() < probability
                ctx.set(dut.i_valid, gives)
                ctx.set(dut.i_last, gives and len(ins) == len(words) - 1)
                ctx.set(dut.i, words[len(ins)] if gives else 0)
                if gives:
                    ins.append(cycle)
                if ctx.get(dut.o_valid):
                    outs.append((cycle, ctx.get(dut.o)))
                if ctx.get(dut.o_last):
                    last = cycle
                await ctx.tick()
                cycle += 1
            results.append((outs, ins, last))

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    return results


def random_tiles(config, count, seed):
    return np.random.default_rng(seed).integers(0, 1 << config.code_bits, (count, config.columns, config.columns))


def test_one_tile_by_hand():
    config = CONFIGS["nano"]
    tile = np.arange(16).reshape(1, 4, 4)
    outs, ins, last = run(config, [tile], 1)[0]
    assert [word for _, word in outs] == [0x0C080400, 0x0D090501, 0x0E0A0602, 0x0F0B0703]
    assert ins == [0, 1, 2, 3] and [cycle for cycle, _ in outs] == [4, 5, 6, 7] and last == 7


@pytest.mark.parametrize("probability", [1, 0.4])
def test_tiles_come_out_transposed_as_the_next_go_in(config, probability):
    size = config.columns
    batches = [random_tiles(config, count, count) for count in (1, 2, 5)]
    for tiles, (outs, ins, last) in zip(batches, run(config, batches, probability), strict=True):
        assert [word for _, word in outs] == [pack(word, config) for tile in tiles for word in tile.T]
        # A word for a word; the last tile by itself.
        assert [cycle for cycle, _ in outs] == [*ins[size:], *range(ins[-1] + 1, ins[-1] + 1 + size)]
        assert last == outs[-1][0]


def test_clear_forgets_a_tile_half_way():
    config = CONFIGS["nano"]
    dut = Transposer(config.columns, config.code_bits)
    tile = random_tiles(config, 1, 3)[0]

    async def bench(ctx):
        ctx.set(dut.i_valid, 1)
        for _ in range(6):
            await ctx.tick()
        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        for place, word in enumerate(tile):
            ctx.set(dut.i, pack(word, config))
            ctx.set(dut.i_last, place == 3)
            assert not ctx.get(dut.o_valid)
            await ctx.tick()
        ctx.set(dut.i_valid, 0)
        for word in tile.T:
            assert ctx.get(dut.o_valid) and ctx.get(dut.o) == pack(word, config)
            await ctx.tick()
        assert not ctx.get(dut.o_valid)

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
