"""cosim/dram.py serves every beat in the cycle that docs/architecture.md gives, and keeps bytes where they belong."""

import random
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from amaranth.sim import Simulator
from heddle.arch.config import PRESETS, DramConfig
from heddle.cosim.dram import Dram
from heddle.hw.axi import INCR
from heddle.sim import dram as simulated

SIZE_BYTES = 4096
NANO = PRESETS["nano"]


@dataclass
class Burst:
    """A request for the slave, and what came of it: handshake, cycles and data of its beats, cycle of its response."""

    write: bool
    address: int
    beats: int
    size: int
    wait: int = 0  # idle cycles before it
    identifier: int = 1
    data: list[int] = field(default_factory=list)
    strobes: list[int] = field(default_factory=list)
    grant: int = -1
    moved: list[int] = field(default_factory=list)
    response: int = -1


def run(config, bursts: list[Burst], latency: int, cycles_per_beat: int) -> tuple[list[int], bool]:
    """Offer the bursts one after another and take every response at once. The words at the end, and `violation`."""
    dram = Dram(config, SIZE_BYTES)
    words: list[int] = []

    async def master(ctx):
        ctx.set(dram.latency, latency)
        ctx.set(dram.cycles_per_beat, cycles_per_beat)
        ctx.set(dram.axi.rready, 1)
        ctx.set(dram.axi.bready, 1)
        todo, reads, writes, responses = list(bursts), [], [], []
        cycle = idle = 0
        while todo or reads or writes or responses:
            offered = todo[0] if todo and idle >= todo[0].wait else None
            for prefix, wanted in (("aw", True), ("ar", False)):
                valid = offered is not None and offered.write is wanted
                ctx.set(getattr(dram.axi, prefix + "valid"), valid)
                if offered is not None and valid:
                    ctx.set(getattr(dram.axi, prefix + "addr"), offered.address)
                    ctx.set(getattr(dram.axi, prefix + "len"), offered.beats - 1)
                    ctx.set(getattr(dram.axi, prefix + "size"), offered.size)
                    ctx.set(getattr(dram.axi, prefix + "burst"), INCR)
                    ctx.set(getattr(dram.axi, prefix + "id"), offered.identifier)
            if writes:
                index = len(writes[0].moved)
                ctx.set(dram.axi.wdata, writes[0].data[index])
                ctx.set(dram.axi.wstrb, writes[0].strobes[index])
                ctx.set(dram.axi.wlast, index == writes[0].beats - 1)
            ctx.set(dram.axi.wvalid, bool(writes))
            idle += 1
            read, write, response = (ctx.get(s) for s in (dram.axi.rvalid, dram.axi.wready, dram.axi.bvalid))
            if response:
                assert ctx.get(dram.axi.bid) == responses[0].identifier
                responses.pop(0).response = cycle
            if read:
                reads[0].moved.append(cycle)
                reads[0].data.append(ctx.get(dram.axi.rdata))
                assert ctx.get(dram.axi.rid) == reads[0].identifier
                assert ctx.get(dram.axi.rlast) == (len(reads[0].moved) == reads[0].beats)
                if ctx.get(dram.axi.rlast):
                    reads.pop(0)
            if write and writes:
                writes[0].moved.append(cycle)
                if len(writes[0].moved) == writes[0].beats:
                    responses.append(writes.pop(0))
            if offered is not None:
                offered.grant = cycle
                (writes if offered.write else reads).append(todo.pop(0))
                idle = 0
            await ctx.tick()
            cycle += 1
        words.extend(ctx.get(dram.storage.words[i]) for i in range(SIZE_BYTES // config.axi_bytes))
        words.append(ctx.get(dram.violation))

    simulator = Simulator(dram)
    simulator.add_clock(1e-6)
    simulator.add_testbench(master)
    simulator.run()
    return words[:-1], bool(words[-1])


def random_bursts(config, count: int, seed: int) -> list[Burst]:
    """Whole-bus writes and reads, and reads of every narrower size, none across 4 KiB."""
    rng = random.Random(seed)
    bursts = []
    for _ in range(count):
        write = rng.random() < 0.5
        bus_size = (config.axi_bytes - 1).bit_length()
        size = bus_size if write else rng.randint(2, bus_size)
        beats = rng.choice([1, 2, config.burst_beats, rng.randint(1, config.burst_beats)])
        address = rng.randrange(0, SIZE_BYTES - (beats << size) + 1, 1 << size)
        wait = rng.choice([0, 0, 0, rng.randint(0, 40)])
        bursts.append(Burst(write, address, beats, size, wait, rng.randrange(4)))
        if write:
            bursts[-1].data = [rng.getrandbits(8 * config.axi_bytes) for _ in range(beats)]
            bursts[-1].strobes = [rng.choice([-1, rng.getrandbits(config.axi_bytes)]) for _ in range(beats)]
            bursts[-1].strobes = [s & ((1 << config.axi_bytes) - 1) for s in bursts[-1].strobes]
    return bursts


def check(config, bursts: list[Burst], words: list[int], latency: int, cycles_per_beat: int) -> None:
    """Compare with the page, word for word, and with the simulator's model of the same page."""
    memory, free = np.zeros(SIZE_BYTES, np.uint8), 0
    model = simulated.IdealDram(DramConfig(latency_cycles=latency, cycles_per_beat=cycles_per_beat))
    for burst in bursts:
        first = max(burst.grant + latency, free)
        assert burst.moved == [first + i * cycles_per_beat for i in range(burst.beats)]
        free = first + burst.beats * cycles_per_beat
        served = model.serve(burst.grant, simulated.Burst(burst.address, burst.beats), burst.write)
        assert served == (burst.moved[0], burst.moved[-1])
        for beat in range(burst.beats):
            address = burst.address + (beat << burst.size)
            word = address // config.axi_bytes * config.axi_bytes
            if burst.write:
                content = burst.data[beat].to_bytes(config.axi_bytes, "little")
                for lane in range(config.axi_bytes):
                    if burst.strobes[beat] >> lane & 1:
                        memory[word + lane] = content[lane]
            else:
                lanes = slice(address - word, address - word + (1 << burst.size))
                got = burst.data[beat].to_bytes(config.axi_bytes, "little")[lanes]
                assert got == memory[address : address + (1 << burst.size)].tobytes()
        assert burst.response == (burst.moved[-1] + 1 if burst.write else -1)
    expected = [int.from_bytes(memory[at : at + config.axi_bytes].tobytes(), "little")
                for at in range(0, SIZE_BYTES, config.axi_bytes)]  # fmt: skip
    assert words == expected


def test_one_read_after_one_write():
    bursts = [Burst(True, 8, 2, 2, 0, 2, [0x11111111, 0x22222222], [15, 15]), Burst(False, 4, 3, 2)]
    words, violation = run(NANO, bursts, latency=5, cycles_per_beat=2)
    assert [burst.grant for burst in bursts] == [0, 1]
    assert bursts[0].moved == [5, 7] and bursts[0].response == 8
    assert bursts[1].moved == [9, 11, 13] and bursts[1].data == [0, 0x11111111, 0x22222222]
    assert words[2:4] == [0x11111111, 0x22222222] and not violation


@pytest.mark.parametrize(
    "axi_bytes,latency,cycles_per_beat", [(4, 1, 1), (4, 32, 3), (8, 7, 1), (16, 1, 2), (64, 20, 1)]
)
def test_random_bursts_move_in_the_cycles_of_the_page(axi_bytes, latency, cycles_per_beat):
    config = replace(NANO, rows=64, columns=64, axi_bytes=axi_bytes)
    bursts = random_bursts(config, 60, seed=axi_bytes)
    words, violation = run(config, bursts, latency, cycles_per_beat)
    check(config, bursts, words, latency, cycles_per_beat)
    assert not violation


def test_a_burst_across_4_kib_is_a_violation():
    _, violation = run(NANO, [Burst(False, SIZE_BYTES - 8, 3, 2)], latency=1, cycles_per_beat=1)
    assert violation
