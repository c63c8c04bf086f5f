"""hw/units/kv.py: what Append leaves in DRAM and Stream in memory, on a polite and on an erratic slave, and when."""

import random
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from heddle.arch.config import PRESETS, Memory
from heddle.arch.encoding import encode
from heddle.arch.isa import Append, Part, Stream
from heddle.hw.axi import KV_ID, BurstArbiter, WriteChannel, address_members, axi4_signature
from heddle.hw.cache_walk import divide
from heddle.hw.units.kv import Kv

from ..machines import BF16_PORT_8, ODD
from .unit_bench import whole

NANO = PRESETS["nano"]
MACHINES = {
    "nano": NANO,
    "small": PRESETS["small"],
    "3x5": ODD,
    "base": PRESETS["base"],  # several pairs in a beat
    "bf16": BF16_PORT_8,
}
DRAM_BYTES, BASE = 1 << 17, 0x3000


class KvOnPort(wiring.Component):
    """KV alone on a DRAM port."""

    def __init__(self, config):
        self.unit = Kv(config)
        self._config = config
        super().__init__({"axi": Out(axi4_signature(config)), "instruction": In(256), "start": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        m.submodules.arbiter = arbiter = BurstArbiter(self._config)
        m.submodules.channel = channel = WriteChannel(self._config)
        wiring.connect(m, unit.request, arbiter.kv)
        wiring.connect(m, unit.gives, channel.kv)
        for name, member in {**address_members("ar"), **address_members("aw")}.items():
            outer, inner = getattr(self.axi, name), getattr(arbiter, name)
            m.d.comb += outer.eq(inner) if member.flow is Out else inner.eq(outer)
        m.d.comb += [
            unit.instruction.eq(self.instruction),
            unit.start.eq(self.start),
            unit.beat.eq(self.axi.rvalid & (self.axi.rid == KV_ID)),
            unit.data.eq(self.axi.rdata),
            unit.last_beat.eq(self.axi.rlast),
            unit.response.eq(self.axi.bvalid & (self.axi.bid == KV_ID)),
            channel.opens.eq(arbiter.opens),
            channel.opens_kv.eq(arbiter.opens_kv),
            *[getattr(self.axi, name).eq(getattr(channel, name)) for name in ("wvalid", "wdata", "wstrb", "wlast")],
            channel.wready.eq(self.axi.wready),
            self.axi.rready.eq(1),
            self.axi.bready.eq(1),
        ]
        return m


class State:
    """DRAM and the memories that KV touches, as arrays of numbers, random; PARAM has a row of pairs for each word."""

    def __init__(self, config, seed=0, pages=()):
        random = np.random.default_rng(seed)
        c = config.columns
        self.config = config
        self.weight = random.integers(0, 1 << config.code_bits, (256, c), dtype=np.uint64)
        self.param = random.integers(0, 1 << 64, (64, c), dtype=np.uint64)
        self.page = random.integers(0, 1 << 32, 256, dtype=np.uint64)
        self.page[: len(pages)] = pages
        self.dram = np.frombuffer(random.bytes(DRAM_BYTES), np.uint8).copy()

    def copy(self):
        twin = object.__new__(State)
        twin.__dict__ = {
            name: value.copy() if isinstance(value, np.ndarray) else value for name, value in self.__dict__.items()
        }
        return twin

    def assert_same(self, other):
        for name in ("weight", "param", "dram"):
            mine, theirs = getattr(self, name), getattr(other, name)
            assert not (different := np.argwhere(mine != theirs)).size, (name, different[:5], len(different))

    def packed(self, name, address) -> int:
        bits = self.config.code_bits if name == "weight" else 64
        return sum(int(element) << bits * place for place, element in enumerate(getattr(self, name)[address]))

    def put(self, name, address, mask, data) -> None:
        array = getattr(self, name)
        bits = self.config.code_bits if name == "weight" else 64
        for place in range(array.shape[1]):
            old, new = int(array[address, place]), data >> bits * place & ((1 << bits) - 1)
            if name == "param":  # halves
                chosen = sum(0xFFFF_FFFF << 32 * half for half in range(2) if mask >> 2 * place + half & 1)
            else:
                chosen = (1 << bits) - 1 if mask >> place & 1 else 0
            array[address, place] = (old & ~chosen) | (new & chosen)


# -- the equations of arch/isa --------------------------------------------------------------------------------------


def block_start(state: State, work, b) -> int:
    """block(b), as an address in DRAM."""
    assert b >> work.page_blocks < work.pages
    p = int(state.page[work.table + (b >> work.page_blocks)])
    block_bytes = work.block_bytes(state.config)
    return BASE + work.dram_address + p * work.page_bytes + b % (1 << work.page_blocks) * block_bytes


def words_of_dram(state: State, address, count, element_bytes, word_bytes):
    """`count` words from `address` on, as rows of C numbers."""
    raw = state.dram[address : address + count * word_bytes].reshape(count, word_bytes)
    used = np.ascontiguousarray(raw[:, : element_bytes * state.config.columns])
    return used.view(f"<u{element_bytes}").astype(np.uint64)


def execute(state: State, work) -> None:
    config, c = state.config, state.config.columns
    code_bytes, word_bytes = config.code_bits // 8, config.dram_word_bytes(Memory.WEIGHT)
    if isinstance(work, Append):
        for h in range(work.heads):
            for t in range(work.tokens):
                b, s = work.block + (work.slot + t) // c, (work.slot + t) % c
                at = block_start(state, work, b) + h * work.head_bytes
                if work.part is Part.PAIRS:
                    number = work.address + h * work.head_step + t
                    pair = int(state.param[number // c, number % c]).to_bytes(8, "little")
                    state.dram[at + 8 * s : at + 8 * s + 8] = np.frombuffer(pair, np.uint8)
                    continue
                for w in range(work.token_words):
                    word = state.weight[work.address + h * work.head_step + w * work.stride + t]
                    place = at + (w * c + s) * word_bytes
                    content = word.astype(f"<u{code_bytes}").tobytes()
                    state.dram[place : place + word_bytes] = 0
                    state.dram[place : place + len(content)] = np.frombuffer(content, np.uint8)
        return
    for j in range(work.blocks):
        at = block_start(state, work, work.first + j)
        if work.part is Part.PAIRS:
            state.param[work.address + j] = words_of_dram(state, at, 1, 8, config.dram_word_bytes(Memory.PARAM))[0]
            continue
        for w in range(work.words):
            tile = words_of_dram(state, at + w * c * word_bytes, c, code_bytes, word_bytes)
            if work.part is Part.KEYS:
                start = work.address + j * work.stride + w * c
                state.weight[start : start + c] = tile.T
            else:
                start = work.address + w * work.stride + j * c
                state.weight[start : start + c] = tile


# -- the timing of docs/architecture.md --------------------------------------------------------------------------------


@dataclass
class Clock:
    """The ideal DRAM, and KV alone in front of it."""

    config: object
    latency: int
    cycles_per_beat: int
    free: int = 0
    grants: list[tuple[int, int, int]] = field(default_factory=list)  # cycle, address, beats

    def burst(self, grant, address, beats) -> int:
        """The cycle of its last beat."""
        self.grants.append((grant, address, beats))
        first = max(grant + self.latency, self.free)
        self.free = first + beats * self.cycles_per_beat
        return first + (beats - 1) * self.cycles_per_beat

    def retire(self, state: State, work, start) -> int:
        """The cycle in which `work` retires if it starts at `start`."""
        return self._append(state, work, start) if isinstance(work, Append) else self._stream(state, work, start)

    def _append(self, state, work, start):
        config, c, size = self.config, self.config.columns, self.config.axi_bytes
        word_bytes = config.dram_word_bytes(Memory.WEIGHT)
        lasts, q = [], start + 1
        for h in range(work.heads):
            for t in range(work.tokens):
                b, s = work.block + (work.slot + t) // c, (work.slot + t) % c
                at = block_start(state, work, b) + h * work.head_bytes
                for w in range(1 if work.part is Part.PAIRS else work.token_words):
                    if len(lasts) >= 8:
                        q = max(q, lasts[-8] + 1)
                    q += 5  # from here on the place of the next item is looked up
                    if work.part is Part.PAIRS:
                        lasts.append(self.burst(q, (at + 8 * s) // size * size, -(-8 // size)))
                    else:
                        lasts.append(self.burst(q, at + (w * c + s) * word_bytes, word_bytes // size))
        return lasts[-1] + 2

    def _stream(self, state, work, start):
        config, c = self.config, self.config.columns
        gate, ask, lasts = start + 1, start, []  # when a burst has passed the gate, and when it is granted
        for j in range(work.blocks):
            at = block_start(state, work, work.first + j)
            length = config.dram_word_bytes(Memory.PARAM)
            if work.part is not Part.PAIRS:
                length = work.words * c * config.dram_word_bytes(Memory.WEIGHT)
            stop, gate = at + length, gate + 5
            while at < stop:
                end = min(stop, at - at % config.burst_bytes + config.burst_bytes)
                ask = gate = max(gate, ask + 1)
                while sum(last >= ask for last in lasts) >= config.load_outstanding:
                    ask += 1
                lasts.append(self.burst(ask, at, (end - at) // config.axi_bytes))
                at = end
        return lasts[-1] + (c + 2 if work.part is Part.KEYS else 1)


# -- the bench ---------------------------------------------------------------------------------------------------------


class Run:
    """Executes instructions, each as soon as KV is ready, on `state`, whose DRAM is the slave's after the run."""

    def __init__(self, state: State, slave, works, size_bytes=DRAM_BYTES - BASE):
        self.state, self.slave = state, slave
        self.starts, self.retires, self.beyond, self.accesses = [], [], [], []
        self.coming: list = []  # what was read, and is there in the cycle after the next one
        slave.dram = bytearray(state.dram.tobytes())
        dut = KvOnPort(state.config)

        async def bench(ctx):
            ctx.set(dut.unit.base, BASE)
            ctx.set(dut.unit.size_bytes, size_bytes)
            queue = list(works)
            idle = 0
            while idle < 50:
                idle = 0 if queue or len(self.retires) < len(self.starts) or not slave.idle() else idle + 1
                assert slave.cycle < 50_000, "KV hangs"
                starts = bool(queue) and bool(ctx.get(dut.unit.ready))
                ctx.set(dut.start, starts)
                ctx.set(dut.instruction, int.from_bytes(encode(queue[0]), "little") if queue else 0)
                if starts:
                    self.starts.append(slave.cycle)
                    queue.pop(0)
                if ctx.get(dut.unit.beyond):
                    self.beyond.append(slave.cycle)
                if ctx.get(dut.unit.retire):
                    self.retires.append(slave.cycle)
                    assert len(self.retires) == len(self.starts), "retires twice"
                answers = self._access(ctx, dut.unit)
                slave.sample(ctx, dut.axi)
                await ctx.tick()
                for port, answer in answers:
                    ctx.set(port.data, answer)
                slave.drive(ctx, dut.axi)

        simulator = Simulator(dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        simulator.run()
        state.dram = np.frombuffer(bytes(slave.dram), np.uint8).copy()

    def _access(self, ctx, unit) -> list:
        """Writes at once; gives what ports show in the next cycle: ones where nothing was read."""
        coming, answers = [], self.coming
        for name in ("weight", "param"):
            port = getattr(unit, f"{name}_write")
            if ctx.get(port.en):
                self.accesses.append((self.slave.cycle, name, ctx.get(port.address)))
                bits = self.state.config.code_bits if name == "weight" else 64
                data = whole(ctx.get(port.data), len(port.data), bits * self.state.config.columns // 8)
                self.state.put(name, ctx.get(port.address), ctx.get(port.mask), int.from_bytes(data, "little"))
            port = getattr(unit, f"{name}_read")
            read = ctx.get(port.en)
            word = self.state.packed(name, ctx.get(port.address)) if read else -1
            coming.append((port, word >> ctx.get(port.part) * len(port.data) & ((1 << len(port.data)) - 1)))
        self.coming = coming
        port, per_word = unit.page_read, self.state.config.axi_bytes // 4
        answer = (1 << len(port.data)) - 1
        if ctx.get(port.en):
            first = ctx.get(port.address) * per_word
            entries = self.state.page[first : first + per_word] if first + per_word <= 256 else [0] * per_word
            answer = int(entries[ctx.get(port.part)])
        return [*answers, (port, answer)]


def check(state: State, slave, works):
    """Runs `works`; holds memories and DRAM to the equations, and on a polite slave every cycle to the page."""
    expected = state.copy()
    for work in works:
        work.check(state.config)
        execute(expected, work)
    run = Run(state, slave, works)
    state.assert_same(expected)
    assert not run.beyond
    if slave.seed is None:
        clock = Clock(state.config, slave.latency, slave.cycles_per_beat)
        start = run.starts[0]
        for work, begun, retired in zip(works, run.starts, run.retires, strict=True):
            assert begun == start
            assert retired == clock.retire(expected, work, start), work
            start = retired + 1
        assert [(burst.cycle, burst.address, burst.beats) for burst in slave.bursts] == clock.grants
    return run


def layout(config, part, token_words, page_blocks, heads):
    """(head_bytes, page_bytes) of pages that hold `heads` heads one after the other."""
    block = Stream(part=part, token_words=token_words).block_bytes(config)
    unit = max(8, config.axi_bytes, config.dram_word_bytes(Memory.WEIGHT))
    head_bytes = -(-(block << page_blocks) // unit) * unit
    return head_bytes, -(-heads * head_bytes // config.burst_bytes) * config.burst_bytes


def random_works(config, chooser):
    """Appends and Streams of each part on pages in any order, and the page table."""
    works, table, pages = [], chooser.randrange(9), 6
    numbers = chooser.sample(range(9), pages)
    for part in (Part.VALUES, Part.PAIRS, Part.KEYS):
        pairs = part is Part.PAIRS
        token_words, page_blocks, heads = chooser.randrange(1, 4), chooser.randrange(3), chooser.randrange(1, 4)
        head_bytes, page_bytes = layout(config, part, token_words, page_blocks, heads)
        unit = max(8, config.axi_bytes, config.dram_word_bytes(Memory.WEIGHT))
        common = dict(
            part=part, token_words=token_words, dram_address=unit * chooser.randrange(20), page_bytes=page_bytes,
            table=table, pages=pages, page_blocks=page_blocks,
        )  # fmt: skip
        blocks = pages << page_blocks
        tokens = chooser.randrange(1, min(blocks, 3) * config.columns - config.columns + 2)
        slot = chooser.randrange(config.columns)
        block = chooser.randrange(blocks - (slot + tokens - 1) // config.columns)
        appended = Part.PAIRS if pairs else Part.VALUES
        works.append(Append(
            **{**common, "part": appended}, tokens=tokens, heads=heads, block=block, slot=slot,
            address=chooser.randrange(20), stride=chooser.randrange(60), head_step=tokens + chooser.randrange(3),
            head_bytes=head_bytes,
        ))  # fmt: skip
        common["dram_address"] += chooser.randrange(heads) * head_bytes
        count, words = chooser.randrange(1, min(blocks, 4) + 1), chooser.randrange(1, token_words + 1)
        apart = count * config.columns if part is Part.VALUES else words * config.columns
        works.append(Stream(
            **common, blocks=count, first=chooser.randrange(blocks - count + 1), words=words,
            address=chooser.randrange(30), stride=apart + chooser.randrange(3),
        ))  # fmt: skip
    return works, [0] * table + numbers


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("seed", [None, 1])
def test_append_and_stream_do_what_their_equations_say(name, seed, axi_slave):
    config, chooser = MACHINES[name], random.Random(f"{name} {seed}")
    for _ in range(1 if name == "base" else 3):
        works, pages = random_works(config, chooser)
        slave = axi_slave(bytearray(), config.axi_bytes, latency=chooser.randrange(1, 30), seed=seed,
                          cycles_per_beat=chooser.choice([1, 1, 3]))  # fmt: skip
        check(State(config, chooser.randrange(1000), pages), slave, works)


def test_one_word_and_one_block_by_hand(axi_slave):
    slave = axi_slave(bytearray(), 4, latency=5)
    state = State(NANO, pages=[2])
    common = dict(part=Part.VALUES, page_bytes=64)
    works = [Append(**common, address=9, slot=3), Stream(**common, address=20)]
    run = check(state, slave, works)
    assert slave.dram[BASE + 140 : BASE + 144] == state.weight[9].astype(np.uint8).tobytes()
    assert (state.weight[23] == state.weight[9]).all()
    # Read at 1, asked for at 6, a beat at 11, the response at 12. Then started at 14: asked for at 20, beats 25 to 28.
    assert run.retires == [13, 29]
    assert [burst.cycle for burst in slave.bursts] == [6, 20]


def test_keys_retire_when_the_last_tile_has_left(axi_slave):
    slave = axi_slave(bytearray(), 4, latency=5)
    run = check(State(NANO, pages=[0]), slave, [Stream(part=Part.KEYS, token_words=3, words=3, address=20)])
    # Twelve beats from 11 on; a word goes in a cycle behind its beat, and another comes out from the fifth on.
    assert [cycle for cycle, _, _ in run.accesses] == [*range(16, 24), *range(24, 28)]
    assert run.retires == [22 + 1 + 4 + 1]


def test_a_prompt_across_blocks_and_pages(axi_slave):
    config = MACHINES["3x5"]
    pages = [7, 1, 4]
    common = dict(page_bytes=layout(config, Part.VALUES, 2, 1, 1)[1], pages=3, page_blocks=1, token_words=2)
    works = [
        Append(**common, part=Part.VALUES, slot=3, tokens=13, block=1, stride=40),  # blocks 1, 2, 3 and 4
        Stream(**common, part=Part.KEYS, first=1, blocks=4, words=2, stride=10),
        Stream(**common, part=Part.VALUES, blocks=6, words=1, address=100),
    ]
    check(State(config, 3, pages), axi_slave(bytearray(), 4, latency=7), works)


@pytest.mark.parametrize("name", ["nano", "small", "base"])  # two beats to a pair, one, half of one
def test_pairs_next_to_a_pair_stay(name, axi_slave):
    config = MACHINES[name]
    c, page_bytes = config.columns, layout(config, Part.PAIRS, 1, 0, 2)[1]
    common = dict(part=Part.PAIRS, page_bytes=page_bytes, pages=2)
    works = [
        *[Append(**common, slot=s, address=40 + 3 * s) for s in (0, 1, c - 1)],
        Append(**common, slot=c - 2, tokens=4, heads=2, head_step=c + 1, head_bytes=c * 8, address=c - 1),
        Stream(**common, blocks=2, address=50),
    ]
    check(State(config, 5, [3, 1]), axi_slave(bytearray(), config.axi_bytes, latency=3), works)


@pytest.mark.parametrize(("latency", "cycles_per_beat"), [(40, 1), (1, 1), (9, 5)])
def test_no_more_is_under_way_than_allowed(latency, cycles_per_beat, axi_slave):
    common = dict(page_bytes=64 * 6, token_words=12, pages=2)
    works = [
        Append(**common, part=Part.VALUES, tokens=4),
        Stream(**common, part=Part.VALUES, blocks=2, words=9, stride=8),
    ]
    slave = axi_slave(bytearray(), 4, latency=latency, cycles_per_beat=cycles_per_beat)
    check(State(NANO, 5, [0, 3]), slave, works)
    if latency == 40:
        appended = [burst.cycle for burst in slave.bursts if burst.write]
        assert appended[7] == 6 + 7 * 5 and appended[8] == 6 + 40 + 1 + 5


@pytest.mark.parametrize("name", ["nano", "3x5"])
def test_what_is_beyond_the_region_is_not_asked_for(name, axi_slave):
    """Each instruction is stopped at its first burst beyond; what came before is made, and KV takes the next."""
    config = MACHINES[name]
    block = Stream(part=Part.VALUES).block_bytes(config)
    page_bytes = layout(config, Part.VALUES, 1, 1, 1)[1]
    size = 4 * page_bytes
    good = Append(part=Part.VALUES, page_bytes=page_bytes, table=1, address=3)
    numbers = [0, 1, 4, 1 << 16, (1 << 32) - 1, 2]
    cases = [  # instruction, bursts that are made before
        (replace(good, table=2), 0),  # a page behind the region
        (replace(good, table=3), 0),  # … whose number has too many bits
        (replace(good, table=4), 0),
        (replace(good, page_blocks=1, block=2), 0),  # a place in the table beyond `pages`
        (replace(good, block=(1 << 20) - 1), 0),
        (replace(good, page_blocks=15, block=(1 << 15) - 1, token_words=255), 0),
        (replace(good, dram_address=(1 << 32) - 8), 0),
        (replace(good, heads=2, head_bytes=1 << 20), 1),
        (replace(good, tokens=3 * config.columns, table=0, pages=2), 2 * config.columns),
        (replace(good, page_bytes=(1 << 24) - config.burst_bytes), 0),
        (replace(good, table=0, dram_address=size - 8, token_words=9), 1),  # the second word of the token
    ]
    for part in (Part.KEYS, Part.VALUES):
        stream = Stream(part=part, page_bytes=page_bytes, table=1, address=7, pages=4)
        cases += [
            (replace(stream, table=2), 0),
            (replace(stream, blocks=4), 1),
            (replace(stream, first=4), 0),
            (replace(stream, token_words=255, words=255, page_bytes=0, dram_address=size - config.burst_bytes), 1),
        ]
    assert block <= config.burst_bytes
    for work, made in cases:
        work.check(config)
        state = State(config, 5, numbers)
        before = state.copy()
        slave = axi_slave(bytearray(), config.axi_bytes, latency=9)
        assert len(Run(state.copy(), axi_slave(bytearray(), config.axi_bytes, latency=9), [work], size).retires) == 1
        run = Run(state, slave, [work, good], size)
        assert len(run.beyond) == 1 and len(run.retires) == 2, work
        assert run.starts[0] < run.beyond[0] < run.retires[0] < run.starts[1]
        assert len(slave.bursts) == made + 1, work
        assert all(b.address >= BASE and b.address + b.beats * b.beat_bytes <= BASE + size for b in slave.bursts)
        execute(before, good)
        at = block_start(before, good, 0)
        assert (state.dram[at : at + 4] == before.dram[at : at + 4]).all()


def test_an_item_never_crosses_4_kib(axi_slave):
    """Not even one that `check` would refuse: words are wider here than a beat, and this one stands astride."""
    config = replace(NANO, name="4x16", columns=16)
    crossing = Append(part=Part.VALUES, dram_address=0x1000 - 8)
    assert config.dram_word_bytes(Memory.WEIGHT) == 16
    state = State(config, pages=[0])
    before, slave = state.copy(), axi_slave(bytearray(), 4)
    assert len(Run(state, slave, [crossing]).beyond) == 1 and not slave.bursts
    state.assert_same(before)
    check(State(config, pages=[0]), axi_slave(bytearray(), 4), [replace(crossing, dram_address=0x1000 - 32, tokens=3)])


@pytest.mark.parametrize("divisor", [1, 2, 3, 5, 7, 31, 100, 127, 255])
@pytest.mark.parametrize("width", [4, 12, 20])
def test_division_by_a_constant(divisor, width):
    """The numbers that `divide` multiplies with are exact for every number; the circuit, for a few."""
    numbers = np.arange(1 << width, dtype=np.uint64)
    shift = width + (divisor - 1).bit_length()
    factor = (1 << shift) // divisor + 1
    assert (numbers * np.uint64(factor) >> np.uint64(shift) == numbers // np.uint64(divisor)).all()

    class Divider(wiring.Component):
        def __init__(self):
            super().__init__({"i": In(width), "quotient": Out(width), "remainder": Out(8)})

        def elaborate(self, platform):
            m = Module()
            quotient, remainder = divide(self.i, divisor)
            m.d.comb += [self.quotient.eq(quotient), self.remainder.eq(remainder)]
            return m

    dut = Divider()

    async def bench(ctx):
        some = [0, 1, divisor - 1, divisor, (1 << width) - 1, *range(0, 1 << width, 1 + (1 << width) // 50)]
        for number in (each % (1 << width) for each in some):
            ctx.set(dut.i, number)
            assert (ctx.get(dut.quotient), ctx.get(dut.remainder)) == divmod(number, divisor)

    simulator = Simulator(dut)
    simulator.add_testbench(bench)
    simulator.run()
