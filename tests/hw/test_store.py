"""hw/units/store.py: what STORE leaves in DRAM, on a polite and on an erratic slave, and in which cycles."""

import random

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from heddle.arch.config import PRESETS, Memory
from heddle.arch.encoding import encode
from heddle.arch.isa import Store as StoreInstruction
from heddle.hw.axi import BurstArbiter, address_members, axi4_signature
from heddle.hw.units.store import MEMORIES, RESPONSE_LIMIT, Store

NANO = PRESETS["nano"]
DRAM_BYTES = 1 << 16


class StoreOnPort(wiring.Component):
    """STORE alone on a DRAM port."""

    def __init__(self, config):
        self.unit = Store(config)
        self._config = config
        super().__init__({"axi": Out(axi4_signature(config)), "instruction": In(256), "start": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        m.submodules.arbiter = arbiter = BurstArbiter(self._config)
        wiring.connect(m, unit.request, arbiter.store)
        for name, member in {**address_members("ar"), **address_members("aw")}.items():
            outer, inner = getattr(self.axi, name), getattr(arbiter, name)
            m.d.comb += outer.eq(inner) if member.flow is Out else inner.eq(outer)
        m.d.comb += [
            unit.instruction.eq(self.instruction),
            unit.start.eq(self.start),
            self.axi.wvalid.eq(unit.beat_valid),
            unit.beat_ready.eq(self.axi.wready),
            self.axi.wdata.eq(unit.data),
            self.axi.wstrb.eq(~0),
            self.axi.wlast.eq(unit.last_beat),
            unit.response.eq(self.axi.bvalid),
            self.axi.rready.eq(1),
            self.axi.bready.eq(1),
        ]
        return m


class Run:
    """Executes STOREs, each as soon as STORE is ready; `words` gives the word of a memory at an address."""

    def __init__(
        self, config, slave, instructions, words=lambda memory, address: 0, base=0, size_bytes=DRAM_BYTES
    ):  # fmt: skip
        self.reads, self.starts, self.retires, self.beyond = [], [], [], []  # cycles
        dut = StoreOnPort(config)

        async def bench(ctx):
            queue, before = list(instructions), {}
            ctx.set(dut.unit.base, base)
            ctx.set(dut.unit.size_bytes, size_bytes)
            while queue or len(self.retires) < len(self.starts) or not slave.idle():
                assert slave.cycle < 20_000, "STORE hangs"
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
                read, late = {}, {}
                for memory in MEMORIES:
                    port = getattr(dut.unit, f"{memory.name.lower()}_read")
                    if ctx.get(port.en):
                        self.reads.append(slave.cycle)
                        word = words(memory, ctx.get(port.address)) >> ctx.get(port.part) * len(port.data)
                        now = read if config.read_cycles(memory) == 1 else late
                        now[port] = word & ((1 << len(port.data)) - 1)
                slave.sample(ctx, dut.axi)
                await ctx.tick()
                for port, word in (read | before).items():
                    ctx.set(port.data, word)
                before = late
                slave.drive(ctx, dut.axi)

        simulator = Simulator(dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        simulator.run()


def random_word(config, seed):
    def word(memory, address):
        return random.Random(f"{seed} {memory} {address}").getrandbits(config.word_bits(memory))

    return word


@pytest.mark.parametrize("memory", MEMORIES, ids=lambda memory: memory.name)
@pytest.mark.parametrize("seed", [None, 1])
def test_store_leaves_what_its_equation_says(machine, memory, seed, axi_slave):
    chooser = random.Random(f"{machine.name} {memory} {seed}")
    size, word = machine.dram_word_bytes(memory), random_word(machine, seed)
    dram = bytearray(chooser.randbytes(DRAM_BYTES))
    expected, stores, at = bytearray(dram), [], 0
    for words, segments in ((1, 1), (5, 3), (1, 4)):
        at += chooser.randrange(4) * machine.axi_bytes
        stride = words * size + chooser.randrange(3) * machine.axi_bytes
        stores.append(
            StoreInstruction(
                memory=memory,
                dram_address=at,
                dram_stride=stride,
                segments=segments,
                words=words,
                address=chooser.randrange(1000),
                stride=chooser.randrange(50),
            )  # fmt: skip
        )
        for i in range(segments):
            for w in range(words):
                place = (stores[-1].address + i * stores[-1].stride + w) % machine.words(memory)  # bits beyond: none
                content = word(memory, place).to_bytes(size, "little")
                expected[at + i * stride + w * size : at + i * stride + (w + 1) * size] = content
        at += segments * stride
    slave = axi_slave(dram, machine.axi_bytes, latency=chooser.randrange(1, 12), seed=seed)
    run = Run(machine, slave, stores, word)
    assert dram == expected
    assert len(run.retires) == len(stores)


def test_one_word_in_cycles(axi_slave):
    slave = axi_slave(bytearray(256), 4, latency=5)
    run = Run(NANO, slave, [StoreInstruction(memory=Memory.ACT, dram_address=64)] * 2)
    assert run.reads[0] == 1  # q
    assert slave.bursts[0].cycle == 1 + 1 + 2  # q + n + MEMORY_CYCLES
    assert run.retires[0] == 4 + 5 + 1 + 1  # beat, response, retire
    assert run.starts[1] == run.retires[0] + 1


def test_two_buffers_hide_reading_behind_writing(axi_slave):
    slave = axi_slave(bytearray(1024), 4, latency=20)
    run = Run(NANO, slave, [StoreInstruction(memory=Memory.VALUE, words=32)])  # four bursts of 16 beats
    q = [1, 17, 19 + 20 + 16, 19 + 20 + 32]  # two at once, then each as the burst two before has left
    assert [run.reads[16 * j] for j in range(4)] == q
    assert [b.cycle for b in slave.bursts] == [each + 18 for each in q]
    beats = [cycle for cycle, write, _ in slave.beats if write]
    # Granted at 19, 35, 73, 89: each burst begins 20 later, or when the one before is through.
    assert [beats[16 * j] for j in range(4)] == [39, 55, 93, 109]
    assert run.retires == [109 + 16 + 1]


def test_short_bursts_are_requested_as_their_buffers_are_free(axi_slave):
    slave = axi_slave(bytearray(1024), 4, latency=1)
    Run(NANO, slave, [StoreInstruction(memory=Memory.ACT, segments=4, dram_stride=64)])
    # q = 1, 2 by reading; then the buffer of burst j − 2 is free in the cycle after its only beat, 4 + 1 and 5 + 1.
    assert [b.cycle for b in slave.bursts] == [4, 5, 9, 10]


def test_a_response_does_not_retire_what_is_still_being_read(axi_slave):
    slave = axi_slave(bytearray(256), 4, latency=1)
    run = Run(NANO, slave, [StoreInstruction(memory=Memory.ACT, words=4, dram_address=60)])
    # One beat to the boundary: q = 1, request 4, response 6; the three beats read from q = 2 on are asked for in 7.
    assert [(b.cycle, b.beats) for b in slave.bursts] == [(4, 1), (7, 3)]
    assert run.retires == [7 + 3 + 1 + 1]


def test_a_slow_responder_never_sees_too_many_bursts(axi_slave):
    class Reluctant(axi_slave):
        def chance(self, probability):
            return probability != 0.3 or self.cycle % 64 == 0  # a write response only now and then

    slave = Reluctant(bytearray(1 << 12), 4, seed=3)
    outstanding = []
    run = Run(NANO, slave, [StoreInstruction(memory=Memory.ACT, segments=24, dram_stride=64)])
    for burst in slave.bursts:
        answered = burst.cycle // 64
        outstanding.append(len([b for b in slave.bursts if b.cycle <= burst.cycle]) - answered)
    assert len(slave.bursts) == 24 and max(outstanding) == RESPONSE_LIMIT
    assert len(run.retires) == 1


# -- scatters ----------------------------------------------------------------------------------------------------------


def numbered(config, numbers, other):
    """Words of INDEX that hold `numbers` from element 3 on; `other` gives those of all other memories."""
    per_word = config.word_elements(Memory.INDEX)

    def word(memory, address):
        if memory is not Memory.INDEX:
            return other(memory, address)
        elements = [numbers.get(address * per_word + place - 3, 0xDEAD) for place in range(per_word)]
        return sum((element & 0xFFFFFFFF) << 32 * place for place, element in enumerate(elements))

    return word


@pytest.mark.parametrize("memory", MEMORIES, ids=lambda memory: memory.name)
@pytest.mark.parametrize("seed", [None, 1])
def test_a_scatter_leaves_what_its_equation_says(machine, memory, seed, axi_slave):
    """Rows in any order, some of them twice, between STOREs that scatter nothing."""
    chooser = random.Random(f"{machine.name} {memory} {seed}")
    size, burst = machine.dram_word_bytes(memory), machine.burst_bytes
    rows = [2, 0, 2, 1, 0]
    word = numbered(machine, dict(enumerate(rows)), random_word(machine, seed))
    words = chooser.choice([1, 2, burst // size + 1])
    stride = -(-words * size // burst) * burst
    scatter = StoreInstruction(memory=memory, dram_address=burst, dram_stride=stride, segments=len(rows), words=words,
                               address=40, stride=words, scatter=1, index_address=3)  # fmt: skip
    plain = StoreInstruction(memory=memory, dram_address=burst + 4 * stride, address=7)
    dram = bytearray(chooser.randbytes(DRAM_BYTES))
    expected = bytearray(dram)
    for i, row in enumerate(rows):
        for w in range(words):
            at = burst + row * stride + w * size
            expected[at : at + size] = word(memory, 40 + i * words + w).to_bytes(size, "little")
    at = plain.dram_address
    expected[at : at + size] = word(memory, 7).to_bytes(size, "little")
    slave = axi_slave(dram, machine.axi_bytes, latency=chooser.randrange(1, 12), seed=seed)
    run = Run(machine, slave, [plain, scatter, plain], word)
    assert dram == expected
    assert len(run.retires) == 3 and not run.beyond


def test_a_scatter_in_cycles(axi_slave):
    """Three rows of two beats: each is read 8 cycles after what was before it."""
    slave = axi_slave(bytearray(1024), 4, latency=1)
    scatter = StoreInstruction(memory=Memory.ACT, segments=3, words=2, dram_stride=64, scatter=1, index_address=3)
    run = Run(NANO, slave, [scatter], numbered(NANO, {0: 5, 1: 1, 2: 3}, lambda memory, address: 0))
    assert run.reads == [1, 9, 10, 11, 19, 20, 21, 29, 30]  # an index, then two words
    assert [(b.cycle, b.address) for b in slave.bursts] == [(13, 5 * 64), (23, 64), (33, 3 * 64)]
    assert run.retires == [33 + 1 + 1 + 1 + 1]


@pytest.mark.parametrize("row", [-1, 100, 0x7FFFFFFF])
def test_a_row_beyond_the_region_is_not_written(row, axi_slave):
    """What comes before it is; and STORE takes the next, a scatter or not."""
    scatter = StoreInstruction(memory=Memory.VALUE, segments=3, words=2, dram_address=256, dram_stride=64, scatter=1,
                               index_address=3)  # fmt: skip
    plain = StoreInstruction(memory=Memory.VALUE, dram_address=1024, address=9)
    slave = axi_slave(bytearray(1 << 14), 4, latency=9)
    numbers = {0: 2, 1: row, 2: 1}
    run = Run(NANO, slave, [scatter, plain, scatter], numbered(NANO, numbers, random_word(NANO, 5)), size_bytes=4096)
    assert len(run.beyond) == 2 and len(run.retires) == 3
    assert [b.address for b in slave.bursts] == [256 + 2 * 64, 1024, 256 + 2 * 64]


# -- the region --------------------------------------------------------------------------------------------------------

BASE, SIZE = 0x3000, 0x2000
BEYOND = {  # instruction, bursts that are made before
    "a word behind": (StoreInstruction(memory=Memory.ACT, dram_address=SIZE), 0),
    "the last word astride": (StoreInstruction(memory=Memory.VALUE, dram_address=SIZE - 4), 1),
    "the second burst": (StoreInstruction(memory=Memory.ACT, dram_address=SIZE - 64, words=17), 1),
    "the second of many": (StoreInstruction(memory=Memory.ACT, dram_address=SIZE - 64, words=170), 1),
    "the third segment": (StoreInstruction(memory=Memory.ACT, segments=3, dram_stride=SIZE // 2), 2),
    "the third segment of many": (StoreInstruction(memory=Memory.ACT, segments=30, dram_stride=SIZE // 2), 2),
    "strides to 2^40": (StoreInstruction(segments=9, dram_address=(1 << 40) - 64, dram_stride=(1 << 32) - 64), 0),
    "no words": (StoreInstruction(memory=Memory.ACT, dram_address=0xFFC, words=0), 0),
    "no words, often": (StoreInstruction(memory=Memory.ACT, words=0, segments=9, dram_stride=64), 0),
}


def test_a_region_moves_every_address(axi_slave):
    store = StoreInstruction(memory=Memory.VALUE, dram_address=40, words=7, segments=3, stride=9, dram_stride=68)
    slaves = [axi_slave(bytearray(size), 4, latency=7) for size in (0x1000, BASE + 0x1000)]
    word = random_word(NANO, 9)
    runs = [Run(NANO, slave, [store], word, base) for slave, base in zip(slaves, (0, BASE + 0xABC), strict=True)]
    assert slaves[1].dram == bytes(BASE) + slaves[0].dram and any(slaves[0].dram)
    assert runs[0].retires == runs[1].retires and not runs[1].beyond


@pytest.mark.parametrize("seed", [None, 2])
@pytest.mark.parametrize("case", BEYOND)
def test_what_is_beyond_the_region_is_not_asked_for(case, seed, axi_slave):
    """A STORE is stopped at its first burst beyond; what came before is written, and STORE takes the next."""
    work, made = BEYOND[case]
    good = StoreInstruction(memory=Memory.VALUE, dram_address=SIZE - 80, words=10, address=100)
    slave = axi_slave(bytearray(DRAM_BYTES), 4, latency=9, seed=seed)
    word = random_word(NANO, case)
    run = Run(NANO, slave, [good, work, good, good], word, BASE, SIZE)
    assert len(run.beyond) == 1 and len(run.retires) == 4
    assert run.starts[1] < run.beyond[0] < run.retires[1] < run.starts[2]
    assert len(slave.bursts) == 2 + made + 4
    assert all(b.address >= BASE and b.address + b.beats * b.beat_bytes <= BASE + SIZE for b in slave.bursts)
    assert not any(slave.dram[:BASE]) and not any(slave.dram[BASE + SIZE :])
    written = b"".join(word(Memory.VALUE, 100 + w).to_bytes(8, "little") for w in range(10))
    assert slave.dram[BASE + SIZE - 80 : BASE + SIZE] == written
