"""cosim/hostile_dram.py: it is hostile, and it is legal: bytes come back whole, whatever it does on the way."""

import random

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.sim import Simulator
from heddle.arch.config import PRESETS
from heddle.cosim.axi_rules import AxiRules, Rule, names_of
from heddle.cosim.hostile_dram import HostileDram
from heddle.hw.axi import axi4_signature

NANO, BASE, SIZE = PRESETS["nano"], 0x12345000, 4096


class Watched(wiring.Component):
    """The DRAM, and the rules of its port."""

    def __init__(self):
        self.dram, self.rules = HostileDram(NANO, SIZE), AxiRules(NANO)
        super().__init__({"axi": In(axi4_signature(NANO)), "broken": Out(len(Rule)), "quiet": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dram, m.submodules.rules = self.dram, self.rules
        connect(m, flipped(self.axi), self.dram.axi)
        for name in axi4_signature(NANO).members:
            m.d.comb += getattr(self.rules.axi, name).eq(getattr(self.dram.axi, name))
        m.d.comb += [
            self.dram.base.eq(BASE), self.rules.base.eq(BASE), self.rules.size_bytes.eq(SIZE),
            self.broken.eq(self.rules.broken), self.quiet.eq(self.rules.quiet),
        ]  # fmt: skip
        return m


class Traffic:
    """Writes bursts over all of DRAM with two identifiers, then reads them with three; keeps what came, in order."""

    def __init__(self, seed, order=0, **error):
        chooser = random.Random(seed)
        self.content = chooser.randbytes(SIZE)
        self.responses, self.reads = [], []  # (identifier, response); identifiers of beats
        self.data = {}  # address → (word, response)
        cuts = [0]
        while cuts[-1] < SIZE:
            cuts.append(min(SIZE, cuts[-1] + 4 * chooser.randrange(1, 17)))
        self.bursts = [range(*piece, 4) for piece in zip(cuts, cuts[1:], strict=False)]
        dut = Watched()

        async def bench(ctx):
            dram, axi = dut.dram, dut.axi
            for port, value in ((dram.seed, chooser.getrandbits(64)), (dram.spell, 3), (dram.order, order),
                                (dram.reseed, 1), (axi.rready, 1), (axi.bready, 1)):  # fmt: skip
                ctx.set(port, value)
            for odds in dram.odds:
                ctx.set(odds, 128)
            for name, value in error.items():
                ctx.set(getattr(dram, name), value)
            await ctx.tick()
            ctx.set(dram.reseed, 0)
            await self._run(ctx, dut, [("aw", chooser.choice([0, 2]), burst) for burst in self.bursts])
            await self._run(ctx, dut, [("ar", chooser.choice([0, 1, 2]), burst) for burst in self.bursts])
            assert names_of(ctx.get(dut.broken)) == []

        simulator = Simulator(dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        simulator.run()

    async def _run(self, ctx, dut, todo):
        axi, beats, asked = dut.axi, [], {0: [], 1: [], 2: []}
        offered, idle, cycles = None, 0, 0
        while idle < 3:
            cycles += 1
            assert cycles < 10_000, "the DRAM hangs"
            shown = offered is None and bool(todo)
            offered = offered or (todo.pop(0) if todo else None)
            for prefix in ("aw", "ar"):
                self._offer(ctx, axi, prefix, offered if offered and offered[0] == prefix else None)
            ctx.set(axi.wvalid, bool(beats))
            if beats:
                at, last = beats[0]
                ctx.set(axi.wdata, int.from_bytes(self.content[at : at + 4], "little"))
                ctx.set(axi.wstrb, 15)
                ctx.set(axi.wlast, last)
                beats = beats[bool(ctx.get(axi.wready)) :]
            if ctx.get(axi.rvalid):
                self.reads.append(ctx.get(axi.rid))
                self.data[asked[self.reads[-1]].pop(0)] = (ctx.get(axi.rdata).to_bytes(4, "little"), ctx.get(axi.rresp))
            if ctx.get(axi.bvalid):
                self.responses.append((ctx.get(axi.bid), ctx.get(axi.bresp)))
            if shown and offered[0] == "aw":
                beats += [(at, at == offered[2][-1]) for at in offered[2]]
            if offered and ctx.get(getattr(axi, f"{offered[0]}ready")):
                if offered[0] == "ar":
                    asked[offered[1]] += offered[2]
                offered = None
            await ctx.tick()
            idle = 0 if todo or offered or beats or not ctx.get(dut.quiet) else idle + 1

    def _offer(self, ctx, axi, prefix, burst):
        ctx.set(getattr(axi, f"{prefix}valid"), burst is not None)
        if burst is not None:
            _, identifier, places = burst
            for name, value in (("addr", BASE + places[0]), ("len", len(places) - 1), ("size", 2), ("burst", 1),
                                ("id", identifier)):  # fmt: skip
                ctx.set(getattr(axi, prefix + name), value)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_what_is_written_comes_back_out_of_order(order):
    traffic = Traffic(order, order)
    assert b"".join(traffic.data[at][0] for at in range(0, SIZE, 4)) == traffic.content
    assert all(response == 0 for _, response in (*traffic.responses, *traffic.data.values()))
    assert len(traffic.responses) == len(traffic.bursts)
    changes = sum(one != other for one, other in zip(traffic.reads, traffic.reads[1:], strict=False))
    assert changes > 2 * len(traffic.bursts)  # beats of different bursts interleave


@pytest.mark.parametrize("whole", [0, 1])
def test_one_read_errs_in_one_beat_or_in_all(whole):
    number = 70  # of the bursts of the writes and reads together
    traffic = Traffic(7, error_burst=number, error_whole=whole, error_code=3)
    burst = traffic.bursts[number - 1 - len(traffic.bursts)] if number > len(traffic.bursts) else None
    wrong = [at for at, (_, response) in traffic.data.items() if response == 3]
    written = [response for _, response in traffic.responses]
    if burst is None:
        assert written.count(3) == 1 and not wrong
    else:
        assert not any(written)
        assert sorted(wrong) == list(burst) if whole else len(wrong) == 1 and wrong[0] in burst
