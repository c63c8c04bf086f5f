"""hw/region.py: which bursts pass, at every edge of the region and for any offset at all."""

import random

import pytest
from amaranth.sim import Simulator
from heddle.arch.config import PRESETS
from heddle.hw.region import OFFSET_BITS, RegionGate


def drive(config, script, most_beats=256):
    gate = RegionGate(config.axi_bytes, most_beats)

    async def bench(ctx):
        def passes(offset, beats, size_bytes, base=0x5000, found=1):
            for port, value in ((gate.wanted, 1), (gate.found, found), (gate.offset, offset), (gate.beats, beats),
                                (gate.size_bytes, size_bytes), (gate.base, base)):  # fmt: skip
                ctx.set(port, value)
            valid = ctx.get(gate.valid)
            assert ctx.get(gate.refused) == (not valid)
            ctx.set(gate.wanted, 0)
            assert not ctx.get(gate.valid) and not ctx.get(gate.refused)
            return ctx.get(gate.address) if valid else None

        script(passes)

    simulator = Simulator(gate)
    simulator.add_testbench(bench)
    simulator.run()


def test_the_edges_of_the_region():
    def script(passes):
        assert passes(0, 4, 16) == 0x5000
        assert passes(0, 5, 16) is None
        assert passes(4, 4, 16) is None
        assert passes(16, 1, 16) is None
        assert passes(12, 1, 16) == 0x500C
        assert passes(12, 1, 15) is None  # not all of it
        assert passes(0, 1, 0) is None
        assert passes(0, 1, 16, found=0) is None

    drive(PRESETS["nano"], script)


def test_no_burst_crosses_4_kib_or_the_end_of_addresses():
    def script(passes):
        assert passes(4096 - 16, 4, 1 << 20) == 0x5000 + 4096 - 16
        assert passes(4096 - 12, 4, 1 << 20) is None
        top = (1 << 40) - 4096
        assert passes(4092, 1, 1 << 20, base=top) == (1 << 40) - 4
        assert passes(4096, 1, 1 << 20, base=top) is None
        assert passes((1 << 40) + 4, 1, (1 << 40) - 1, base=0) is None  # 40 bits would see 4

    drive(PRESETS["nano"], script)


def test_a_burst_has_at_least_one_beat_and_no_more_than_it_may():
    def script(passes):
        assert passes(0, 0, 1 << 20) is None
        assert passes(64, 1, 1 << 20) == passes(64, 16, 1 << 20) == 0x5000 + 64
        assert passes(64, 17, 1 << 20) is None
        assert passes(64, 257, 1 << 20) is None

    drive(PRESETS["nano"], script, most_beats=16)


@pytest.mark.parametrize("name", ["nano", "base", "server"])
def test_what_passes_is_inside_for_any_numbers(name):
    config, chooser = PRESETS[name], random.Random(name)
    low = (config.axi_bytes - 1).bit_length()

    def any_number(bits):
        return chooser.getrandbits(chooser.randrange(1, bits + 1))

    def script(passes):
        passed = 0
        for _ in range(2000):
            size, base, beats = any_number(40), any_number(40), chooser.choice([1, 3, chooser.randrange(1, 257)])
            offset = chooser.choice([any_number(OFFSET_BITS), max(0, size - chooser.randrange(2 * config.burst_bytes))])
            address = passes(offset, beats, size, base)
            aligned, start = base >> 12 << 12, offset >> low << low
            stop = start + beats * config.axi_bytes
            inside = stop <= size >> low << low and aligned + stop <= 1 << 40 and start >> 12 == (stop - 1) >> 12
            assert address == (aligned + start if inside else None)
            passed += inside
        assert passed > 100

    drive(config, script)
