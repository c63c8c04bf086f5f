"""hw/units/load.py: what LOAD writes, on a polite and on an erratic slave, and in which cycles."""

import random
from dataclasses import replace

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from heddle.arch.config import PRESETS, Memory
from heddle.arch.encoding import encode
from heddle.arch.isa import Load as LoadInstruction
from heddle.hw.axi import LOAD_ID, BurstArbiter, address_members, axi4_signature
from heddle.hw.units.load import MEMORIES, Load

from .unit_bench import whole

NANO = PRESETS["nano"]
DRAM_BYTES = 1 << 16


class LoadOnPort(wiring.Component):
    """LOAD alone on a DRAM port."""

    def __init__(self, config):
        self.unit = Load(config)
        self._config = config
        super().__init__({"axi": Out(axi4_signature(config)), "instruction": In(256), "start": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        m.submodules.arbiter = arbiter = BurstArbiter(self._config)
        wiring.connect(m, unit.request, arbiter.load)
        for name, member in {**address_members("ar"), **address_members("aw")}.items():
            outer, inner = getattr(self.axi, name), getattr(arbiter, name)
            m.d.comb += outer.eq(inner) if member.flow is Out else inner.eq(outer)
        m.d.comb += [
            unit.instruction.eq(self.instruction),
            unit.start.eq(self.start),
            unit.beat.eq(self.axi.rvalid & (self.axi.rid == LOAD_ID)),
            unit.data.eq(self.axi.rdata),
            unit.last_beat.eq(self.axi.rlast),
            self.axi.rready.eq(1),
            self.axi.bready.eq(1),
        ]
        return m


class Run:
    """Executes LOADs back to back, each as soon as LOAD is ready; keeps what was written, when, and the records."""

    def __init__(self, config, slave, instructions, index=None, base=0, size_bytes=DRAM_BYTES):
        self.config, self.slave, self.beyond = config, slave, []
        self.words = {memory: {} for memory in MEMORIES}  # address → int
        self.words[Memory.INDEX].update(index or {})
        self.writes, self.starts, self.retires = [], [], []  # cycles
        dut = LoadOnPort(config)
        simulator = Simulator(dut)
        simulator.add_clock(1e-6)

        async def bench(ctx):
            queue, index_data = list(instructions), 0
            ctx.set(dut.unit.base, base)
            ctx.set(dut.unit.size_bytes, size_bytes)
            slave.cycle = 0
            while queue or len(self.retires) < len(self.starts) or not slave.idle():
                assert slave.cycle < 20_000, "LOAD hangs"
                if queue:
                    ctx.set(dut.instruction, int.from_bytes(encode(queue[0]), "little"))
                starts = bool(queue) and bool(ctx.get(dut.unit.ready))
                ctx.set(dut.start, starts)
                if starts:
                    self.starts.append(slave.cycle)
                    queue.pop(0)
                if ctx.get(dut.unit.beyond):
                    self.beyond.append(slave.cycle)
                if ctx.get(dut.unit.retire):
                    self.retires.append(slave.cycle)
                self._write(ctx, dut.unit)
                if ctx.get(dut.unit.index_read.en):
                    index_data = self.words[Memory.INDEX].get(ctx.get(dut.unit.index_read.address), 0)
                    index_data = index_data >> 32 * ctx.get(dut.unit.index_read.part) & 0xFFFF_FFFF
                slave.sample(ctx, dut.axi)
                await ctx.tick()
                ctx.set(dut.unit.index_read.data, index_data)
                slave.drive(ctx, dut.axi)

        simulator.add_testbench(bench)
        simulator.run()

    def _write(self, ctx, unit):
        for memory in MEMORIES:
            port = getattr(unit, f"{memory.name.lower()}_write")
            if not ctx.get(port.en):
                continue
            part = self.config.word_bits(memory) // len(port.mask)
            address, mask = ctx.get(port.address), ctx.get(port.mask)
            chosen = sum(((1 << part) - 1) << bit * part for bit in range(len(port.mask)) if mask >> bit & 1)
            old = self.words[memory].get(address, 0)
            data = whole(ctx.get(port.data), len(port.data), self.config.word_bits(memory) // 8)
            self.words[memory][address] = (old & ~chosen) | (int.from_bytes(data, "little") & chosen)
            self.writes.append(self.slave.cycle)


def expected_words(config, dram, instruction, index=()):
    """Address → word, by the equation of the instruction."""
    size, bits = config.dram_word_bytes(instruction.memory), config.word_bits(instruction.memory)
    words = {}
    for i in range(instruction.segments):
        segment = index[instruction.index_address + i] if instruction.gather else i
        for w in range(instruction.words):
            at = instruction.dram_address + segment * instruction.dram_stride + w * size
            content = int.from_bytes(dram[at : at + size], "little")
            words[instruction.address + i * instruction.stride + w] = content & ((1 << bits) - 1)
    return words


def random_dram(seed):
    return bytearray(random.Random(seed).randbytes(DRAM_BYTES))


def random_load(config, chooser, memory, gather):
    """A LOAD whose words do not overlap each other, below word 128 of `memory`, from the first half of DRAM."""
    words, segments = chooser.choice([1, 2, 3, 9]), chooser.choice([1, 2, 4])
    size = config.dram_word_bytes(memory)
    unit = config.burst_bytes if gather else config.axi_bytes
    return LoadInstruction(
        memory=memory,
        dram_address=chooser.randrange(DRAM_BYTES // 4 // unit) * unit,
        dram_stride=-(-words * size // unit) * unit + chooser.randrange(3) * unit,
        segments=segments,
        words=words,
        address=chooser.randrange(8),
        stride=words + chooser.randrange(3),
        gather=gather,
        index_address=chooser.randrange(10) if gather else 0,
    )


@pytest.mark.parametrize("memory", MEMORIES, ids=lambda memory: memory.name)
@pytest.mark.parametrize("seed", [None, 1])
def test_load_writes_what_its_equation_says(machine, memory, seed, axi_slave):
    chooser = random.Random(f"{machine.name} {memory} {seed}")
    per_word = machine.word_elements(Memory.INDEX)
    numbers = [chooser.randrange(6) for _ in range(16 * per_word)]
    packed = {a: sum(n << 32 * i for i, n in enumerate(numbers[a * per_word : (a + 1) * per_word])) for a in range(16)}
    dram = random_dram(seed)
    loads, expected = [], {memory: {}, Memory.INDEX: dict(packed)}
    for gather in (0, 1, 0) if memory is not Memory.INDEX else (0,):
        loads.append(random_load(machine, chooser, memory, gather))
        expected[memory].update(expected_words(machine, dram, loads[-1], numbers))
    slave = axi_slave(dram, machine.axi_bytes, latency=chooser.randrange(1, 20), seed=seed)
    run = Run(machine, slave, loads, packed)
    assert run.words[memory] == expected[memory]
    assert all(not content for other, content in run.words.items() if other not in expected)


def test_one_word_takes_latency_plus_three_cycles(axi_slave):
    slave = axi_slave(random_dram(0), 4, latency=5)
    run = Run(NANO, slave, [LoadInstruction(memory=Memory.ACT, dram_address=64)])
    assert [b.cycle for b in slave.bursts] == [2]  # in the cycle before it was held against its region
    assert run.writes == [2 + 5]  # written in the cycle of the beat
    assert run.retires == [2 + 5 + 1]


def test_bursts_end_at_boundaries_and_are_requested_every_cycle(axi_slave):
    slave = axi_slave(random_dram(0), 4, latency=40)
    # 24 words of 8 bytes from byte 40 on: bursts of 64 bytes end at 64, 128, 192 and 232.
    Run(NANO, slave, [LoadInstruction(memory=Memory.VALUE, dram_address=40, words=24)])
    assert [(b.cycle, b.address, b.beats) for b in slave.bursts] == [
        (2, 40, 6),
        (3, 64, 16),
        (4, 128, 16),
        (5, 192, 10),
    ]


def test_no_more_bursts_are_in_flight_than_configured(axi_slave):
    slave = axi_slave(random_dram(0), 4, latency=10, cycles_per_beat=2)
    run = Run(NANO, slave, [LoadInstruction(memory=Memory.ACT, segments=6, words=3, stride=3, dram_stride=128)])
    # Three beats a burst: the last beats come in 12 + 4, 18 + 4, …; the fifth request waits for the first burst to end.
    assert [b.cycle for b in slave.bursts] == [2, 3, 4, 5, 17, 23]
    assert run.retires == [12 + 5 * 6 + 4 + 1]


def test_loads_overlap_and_retire_in_order(axi_slave):
    slave = axi_slave(random_dram(0), 4, latency=10)
    run = Run(NANO, slave, [LoadInstruction(memory=Memory.ACT, address=i, dram_address=64 * i) for i in range(3)])
    assert run.starts == [0, 3, 6]  # the cycle after the grant of the last burst
    assert run.retires == [13, 16, 19]


def test_a_gather_waits_for_all_to_retire_and_takes_nine_cycles_for_each_index(axi_slave):
    slave = axi_slave(random_dram(0), 4, latency=10)
    index = {3: 2, 4: 0}
    loads = [
        LoadInstruction(memory=Memory.ACT, address=9),
        LoadInstruction(memory=Memory.ACT, gather=1, index_address=3, segments=2, words=17, stride=17, dram_stride=128),
    ]
    run = Run(NANO, slave, loads, index)
    assert run.retires[0] == 13 and run.starts[1] == 14
    # The second index is looked up while the last burst of the first row is at the gate, from 25 on.
    assert [(b.cycle, b.address) for b in slave.bursts[1:]] == [(24, 256), (25, 320), (34, 0), (35, 64)]


def test_an_index_may_be_negative(axi_slave):
    slave = axi_slave(random_dram(0), 4)
    load = LoadInstruction(memory=Memory.ACT, gather=1, dram_address=1024, dram_stride=64)
    Run(NANO, slave, [load], {0: 0xFFFF_FFFE})
    assert slave.bursts[0].address == 1024 - 128


# -- the region --------------------------------------------------------------------------------------------------------

BASE, SIZE = 0x3000, 0x2000
GATHER = LoadInstruction(memory=Memory.ACT, gather=1, dram_address=1024, dram_stride=1 << 10, words=2)
BEYOND = {  # instruction, numbers in INDEX, bursts that are made before
    "a word behind": (LoadInstruction(memory=Memory.ACT, dram_address=SIZE), [], 0),
    "the last word astride": (LoadInstruction(memory=Memory.VALUE, dram_address=SIZE - 4), [], 1),
    "the second burst": (LoadInstruction(memory=Memory.ACT, dram_address=SIZE - 64, words=17), [], 1),
    "the third segment": (LoadInstruction(memory=Memory.ACT, segments=3, dram_stride=SIZE // 2, stride=1), [], 2),
    "strides to 2^40": (LoadInstruction(segments=9, dram_address=(1 << 40) - 64, dram_stride=(1 << 32) - 64), [], 0),
    "no words": (LoadInstruction(memory=Memory.ACT, dram_address=0xFFC, words=0), [], 0),
    "no words of a gather": (replace(GATHER, words=0), [1], 0),
    "a row behind": (GATHER, [7], 0),
    "the second row": (replace(GATHER, segments=3, stride=2), [6, 7, 0], 1),
    "a row in front": (GATHER, [-2], 0),
    "a row of which 40 bits look right": (GATHER, [1 << 30], 0),
    "and of a row in front": (GATHER, [-(1 << 30)], 0),
    "the farthest": (replace(GATHER, dram_stride=(1 << 32) - 64), [(1 << 31) - 1], 0),
}


@pytest.mark.parametrize("name", ["nano", "3x5"])
def test_a_region_moves_every_address(machines, name, axi_slave):
    config, chooser = machines[name], random.Random(name)
    loads = [random_load(config, chooser, Memory.VALUE, gather) for gather in (0, 1, 0)]
    dram = random_dram(5)
    slaves = [axi_slave(dram, config.axi_bytes, latency=7), axi_slave(bytes(BASE) + dram, config.axi_bytes, latency=7)]
    runs = [Run(config, slave, loads, {0: 3}, base) for slave, base in zip(slaves, (0, BASE + 0xABC), strict=True)]
    assert runs[0].words == runs[1].words and runs[0].retires == runs[1].retires and not runs[1].beyond
    there, moved = ([(b.cycle, b.address, b.beats) for b in slave.bursts] for slave in slaves)
    assert moved == [(cycle, address + BASE, beats) for cycle, address, beats in there]


@pytest.mark.parametrize("seed", [None, 2])
@pytest.mark.parametrize("case", BEYOND)
def test_what_is_beyond_the_region_is_not_asked_for(case, seed, axi_slave):
    """A LOAD is stopped at its first burst beyond; those before it retire first, and LOAD takes the next."""
    work, numbers, made = BEYOND[case]
    good = LoadInstruction(memory=Memory.VALUE, dram_address=SIZE - 80, words=10)
    slave = axi_slave(random_dram(1), 4, latency=9, seed=seed)
    index = {place: number & 0xFFFF_FFFF for place, number in enumerate(numbers)}
    run = Run(NANO, slave, [good, work, good], index, BASE, SIZE)
    assert len(run.beyond) == 1 and len(run.retires) == 3
    assert run.starts[1] < run.beyond[0] < run.retires[1] <= run.starts[2]
    assert len(slave.bursts) == 2 + made + 2
    assert all(b.address >= BASE and b.address + b.beats * b.beat_bytes <= BASE + SIZE for b in slave.bursts)
    expected = expected_words(NANO, slave.dram[BASE:], good)
    assert {address: run.words[Memory.VALUE][address] for address in expected} == expected
