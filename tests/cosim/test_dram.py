"""cosim/dram.py serves every beat in the cycle that docs/architecture.md gives, and keeps bytes where they belong."""

import random
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from amaranth.sim import Simulator
from heddle.arch.config import PRESETS, HardwareConfig
from heddle.arch.dram import DRAM_PRESETS, DramConfig
from heddle.cosim.dram import Dram
from heddle.cosim.dram_timing import DramTiming
from heddle.hw.axi import INCR
from heddle.hw.verilog import to_verilog
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


def run(config, bursts: list[Burst], latency: int = 0, cycles_per_beat: int = 0) -> tuple[list[int], bool]:
    """Offer the bursts one after another and take every response at once. The words at the end, and `violation`."""
    dram = Dram(config, SIZE_BYTES)
    words: list[int] = []

    async def master(ctx):
        ctx.set(dram.latency, latency or config.dram.latency_cycles)
        ctx.set(dram.cycles_per_beat, cycles_per_beat or config.dram.cycles_per_beat)
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
    """Whole-bus writes and reads, and reads of every narrower size, none across 4 KiB, or what the DRAM interleaves.
    Addresses repeat, so that rows are found open; those beyond SIZE_BYTES wrap."""
    rng = random.Random(seed)
    bursts, block = [], config.dram.interleave_bytes or SIZE_BYTES
    spread = rng.sample(range(1 << 12), 6) if config.dram.banked else [0]
    for _ in range(count):
        write = rng.random() < 0.5
        bus_size = (config.axi_bytes - 1).bit_length()
        size = bus_size if write else rng.randint(2, bus_size)
        beats = rng.choice([1, 2, config.burst_beats, rng.randint(1, config.burst_beats)])
        address = rng.choice(spread) * block + rng.randrange(0, block - (beats << size) + 1, 1 << size)
        wait = rng.choice([0, 0, 0, rng.randint(0, 40)])
        bursts.append(Burst(write, address, beats, size, wait, rng.randrange(4)))
        if write:
            bursts[-1].data = [rng.getrandbits(8 * config.axi_bytes) for _ in range(beats)]
            bursts[-1].strobes = [rng.choice([-1, rng.getrandbits(config.axi_bytes)]) for _ in range(beats)]
            bursts[-1].strobes = [s & ((1 << config.axi_bytes) - 1) for s in bursts[-1].strobes]
    return bursts


def check(config, bursts: list[Burst], words: list[int]) -> None:
    """Compare with the page, word for word, and with the simulator's model of the same page."""
    memory, free, pace = np.zeros(SIZE_BYTES, np.uint8), 0, config.dram.cycles_per_beat
    model = simulated.make_dram(config, config.dram)
    for burst in bursts:
        first = burst.moved[0] if config.dram.banked else max(burst.grant + config.dram.latency_cycles, free)
        assert burst.moved == [first + i * pace for i in range(burst.beats)]
        free = first + burst.beats * pace
        request = simulated.Burst(burst.address, burst.beats, beat_bytes=1 << burst.size)
        assert model.serve(burst.grant, request, burst.write) == (burst.moved[0], burst.moved[-1])
        for beat in range(burst.beats):
            address = (burst.address + (beat << burst.size)) % SIZE_BYTES
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


def test_a_banked_read_after_a_banked_write():
    """By hand: the write opens row 0 in cycle 6 for data from 6 + 3 + 2 = 11 on, so its two beats move in 9 and 10. Its
    access of 4 cycles ends in 15; the read of the same row, granted in 1, may follow from 15 + 5 + 4 on."""
    dram = DramConfig(model="banked", latency_cycles=6, channels=1, banks=1, row_bytes=256, interleave_bytes=256,
                      access_bytes=8, access_ticks=4 * 256, cl=4, cwl=2, t_rcd=3, t_rp=3, t_ras=9, t_wr=4, t_rtp=2,
                      t_rrd=2, t_faw=8, t_wtr=5, t_rtw=1, t_refi=1000, t_rfc=50)  # fmt: skip
    bursts = [Burst(True, 8, 2, 2, 0, 2, [0x11111111, 0x22222222], [15, 15]), Burst(False, 8, 2, 2)]
    words, violation = run(replace(NANO, dram=dram), bursts)
    assert bursts[0].moved == [9, 10] and bursts[0].response == 11
    assert bursts[1].moved == [15 + 5 + 4 + 4, 15 + 5 + 4 + 4 + 1] and bursts[1].data == [0x11111111, 0x22222222]
    assert words[2:4] == [0x11111111, 0x22222222] and not violation


def crowded(seed: int) -> HardwareConfig:
    """Any port, and a banked memory with few banks, small rows, a refresh every few hundred cycles and any timing."""
    config = replace(NANO, rows=64, columns=64, axi_bytes=(4, 8, 16, 32, 64)[seed % 5])
    rng = random.Random(seed)
    times = ("cl", "cwl", "t_rcd", "t_rp", "t_ras", "t_wr", "t_rtp", "t_rrd", "t_faw", "t_wtr", "t_rtw")
    interleave = max(rng.choice([256, 1024]), config.burst_bytes)
    dram = DramConfig(
        model="banked", latency_cycles=rng.randint(1, 20), cycles_per_beat=rng.choice([1, 1, 2, 3]),
        channels=rng.choice([1, 2, 4]), banks=rng.choice([1, 2, 4]), interleave_bytes=interleave,
        row_bytes=interleave << rng.randrange(3), access_bytes=max(rng.choice([16, 32, 64]), config.axi_bytes),
        access_ticks=rng.randint(1, 4000), **{name: rng.randint(1, 60 if name == "t_faw" else 20) for name in times},
        t_refi=rng.randint(100, 500), t_rfc=rng.randint(1, 60),
    )  # fmt: skip
    return replace(config, dram=dram)


def check_banked(config, count: int) -> None:
    bursts = random_bursts(config, count, seed=99)
    words, violation = run(config, bursts)
    check(config, bursts, words)
    assert not violation


@pytest.mark.parametrize("name", DRAM_PRESETS)
@pytest.mark.parametrize("axi_bytes", [16, 64])
def test_random_bursts_move_in_the_cycles_of_a_preset(name, axi_bytes):
    check_banked(replace(NANO, rows=64, columns=64, axi_bytes=axi_bytes).with_dram(name), 30)


@pytest.mark.parametrize("seed", range(5))
def test_random_bursts_move_in_the_cycles_of_the_banked_model(seed):
    check_banked(crowded(seed), 40)


@pytest.mark.parametrize("channels,banks", [(1, 8), (4, 1), (1, 1)])
def test_one_channel_and_one_bank_need_no_bits(channels, banks):
    """Verilog has no signals of no bits: one that something reads would be one of two."""
    timing = DramTiming(NANO.with_dram("HBM2", channels=channels, banks=banks).dram)
    assert "[-1:0]" not in to_verilog(timing, name="timing")


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 124))
def test_more_random_bursts_move_in_the_cycles_of_the_banked_model(seed):
    check_banked(crowded(seed), 200)


@pytest.mark.parametrize(
    "axi_bytes,latency,cycles_per_beat", [(4, 1, 1), (4, 32, 3), (8, 7, 1), (16, 1, 2), (64, 20, 1)]
)
def test_random_bursts_move_in_the_cycles_of_the_page(axi_bytes, latency, cycles_per_beat):
    config = replace(NANO, rows=64, columns=64, axi_bytes=axi_bytes)
    bursts = random_bursts(config, 60, seed=axi_bytes)
    config = config.with_dram(latency_cycles=latency, cycles_per_beat=cycles_per_beat)
    words, violation = run(config, bursts)
    check(config, bursts, words)
    assert not violation


def test_a_burst_across_4_kib_is_a_violation():
    _, violation = run(NANO, [Burst(False, SIZE_BYTES - 8, 3, 2)], latency=1, cycles_per_beat=1)
    assert violation
