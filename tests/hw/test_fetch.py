"""hw/fetch.py: instructions come out whole and in order, for every width of the bus."""

import random
from dataclasses import replace

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from heddle.arch.config import PRESETS
from heddle.arch.encoding import encoding
from heddle.arch.isa import Guard
from heddle.hw.axi import ADDRESS_BITS, BurstArbiter, address_members, axi4_signature
from heddle.hw.fetch import Fetch

COUNT = encoding(Guard)["count"]  # (position, field): of any word, for they are random
NANO, SERVER = PRESETS["nano"], PRESETS["server"]
CONFIGS = [NANO, PRESETS["base"], PRESETS["edge"], replace(SERVER, axi_bytes=64), SERVER]


class FetchOnPort(wiring.Component):
    """FETCH alone on a DRAM port."""

    def __init__(self, config):
        self.fetch = Fetch(config)
        self._config = config
        super().__init__({
            "axi": Out(axi4_signature(config)), "start": In(1), "run": In(1), "o_take": In(1),
            "base": In(ADDRESS_BITS), "size_bytes": In(ADDRESS_BITS, init=1 << 13),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.fetch = fetch = self.fetch
        m.submodules.arbiter = arbiter = BurstArbiter(self._config)
        wiring.connect(m, fetch.request, arbiter.fetch)
        for name, member in {**address_members("ar"), **address_members("aw")}.items():
            outer, inner = getattr(self.axi, name), getattr(arbiter, name)
            m.d.comb += outer.eq(inner) if member.flow is Out else inner.eq(outer)
        m.d.comb += [
            fetch.start.eq(self.start),
            fetch.run.eq(self.run),
            fetch.program.eq(0x1234),  # bits below a group are ignored
            fetch.groups.eq(5),
            fetch.base.eq(self.base),
            fetch.size_bytes.eq(self.size_bytes),
            fetch.beat.eq(self.axi.rvalid),
            fetch.data.eq(self.axi.rdata),
            fetch.o_take.eq(self.o_take),
            self.axi.rready.eq(1),
            self.axi.bready.eq(1),
        ]
        return m


def run(config, slave, script, base=0, size_bytes=1 << 13):
    dut = FetchOnPort(config)

    async def bench(ctx):
        ctx.set(dut.base, base)
        ctx.set(dut.size_bytes, size_bytes)

        async def step():
            slave.sample(ctx, dut.axi)
            await ctx.tick()
            slave.drive(ctx, dut.axi)

        ctx.set(dut.run, 1)
        ctx.set(dut.start, 1)
        await step()
        ctx.set(dut.start, 0)
        await script(ctx, dut, step)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.axi_bytes} bytes")
@pytest.mark.parametrize("seed", [None, 4])
def test_instructions_come_whole_and_in_order(config, seed, axi_slave):
    chooser = random.Random(seed)
    dram = bytearray(chooser.randbytes(1 << 13))
    slave = axi_slave(dram, config.axi_bytes, latency=5, seed=seed)
    arrived, taken = [], 0

    async def script(ctx, dut, step):
        nonlocal taken
        while taken < 40:
            if ctx.get(dut.fetch.arrives):
                arrived.append(ctx.get(dut.fetch.word).to_bytes(32, "little"))
            take = ctx.get(dut.fetch.o_valid) and chooser.random() < 0.5
            ctx.set(dut.o_take, take)
            if take:
                word = int.from_bytes(arrived[taken], "little")
                assert ctx.get(dut.fetch.o_decoded.count) == word >> COUNT[0] & (1 << COUNT[1].bits) - 1
            taken += take
            await step()
            assert slave.cycle < 10_000, "FETCH hangs"
        ctx.set(dut.o_take, 0)
        for _ in range(50):
            await step()
        assert ctx.get(dut.fetch.idle) and not ctx.get(dut.fetch.o_valid)

    run(config, slave, script)
    assert b"".join(arrived) == dram[0x1200 : 0x1200 + 5 * 256]
    assert [burst.beat_bytes for burst in slave.bursts] == [min(32, config.axi_bytes)] * 5


@pytest.mark.parametrize("config", [NANO, SERVER], ids=lambda config: config.name)
def test_no_more_than_two_groups_are_asked_for_ahead(config, axi_slave):
    slave = axi_slave(bytearray(1 << 13), config.axi_bytes, latency=2)

    async def script(ctx, dut, step):
        async def idle(cycles):
            for _ in range(cycles):
                await step()

        await idle(200)
        assert [burst.cycle for burst in slave.bursts] == [1, 2]
        ctx.set(dut.o_take, 1)
        await idle(7)
        ctx.set(dut.o_take, 0)
        await idle(20)
        assert len(slave.bursts) == 2  # seven are dispatched: nine in hand
        ctx.set(dut.o_take, 1)
        await idle(1)
        dispatched = slave.cycle - 1
        ctx.set(dut.o_take, 0)
        await idle(20)
        assert [burst.cycle for burst in slave.bursts[2:]] == [dispatched + 1]

    run(config, slave, script)


def test_a_request_once_up_is_not_taken_back_when_the_run_ends(axi_slave):
    slave = axi_slave(bytearray(1 << 13), 4, latency=2)

    async def script(ctx, dut, step):
        ctx.set(dut.axi.arready, 0)
        assert ctx.get(dut.axi.arvalid)
        await ctx.tick()
        ctx.set(dut.run, 0)
        assert ctx.get(dut.axi.arvalid) and not ctx.get(dut.fetch.idle)
        ctx.set(dut.axi.arready, 1)
        await step()
        assert not ctx.get(dut.axi.arvalid) and not ctx.get(dut.fetch.idle)  # now its beats must come
        for _ in range(70):
            await step()
        assert ctx.get(dut.fetch.idle) and len(slave.bursts) == 1

    run(NANO, slave, script)


@pytest.mark.parametrize("config", [NANO, SERVER], ids=lambda config: config.name)
def test_groups_beyond_the_region_are_not_asked_for(config, axi_slave):
    """The program is at 0x1200 of the region: two groups are in it, and one but for its last beat."""
    slave = axi_slave(bytearray(1 << 15), config.axi_bytes, latency=2)
    beyond = []

    async def script(ctx, dut, step):
        taken = 0
        for _ in range(400):
            take = ctx.get(dut.fetch.o_valid) and slave.cycle > 200
            ctx.set(dut.o_take, take)
            taken += take
            beyond.append((taken - take, ctx.get(dut.fetch.beyond)))
            await step()
        assert ctx.get(dut.fetch.idle)

    run(config, slave, script, base=0x3000, size_bytes=0x1500 - 1)
    assert [burst.address for burst in slave.bursts] == [0x4200, 0x4300]
    assert beyond[-1][0] == 16 and all(told == (taken == 16) for taken, told in beyond)  # told when they are missed
