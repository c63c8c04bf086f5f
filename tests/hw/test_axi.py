"""hw/axi.py: who gets the DRAM port."""

import random

from amaranth.sim import Simulator
from heddle.arch.config import PRESETS
from heddle.hw.axi import FETCH_ID, LOAD_ID, BurstArbiter


def drive(script):
    """Runs `script(ctx, arbiter, tick)` on an arbiter whose three requests have telling addresses."""
    arbiter = BurstArbiter(PRESETS["server"])

    async def bench(ctx):
        for address, request in ((0x1000, arbiter.fetch), (0x2000, arbiter.store), (0x3000, arbiter.load)):
            ctx.set(request.address, address)
            ctx.set(request.beats, 8)
        await script(ctx, arbiter)

    simulator = Simulator(arbiter)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_one_request_a_cycle_by_fixed_priority():
    async def script(ctx, arbiter):
        for channel_ready in (arbiter.arready, arbiter.awready):
            ctx.set(channel_ready, 1)
        requests = [arbiter.fetch, arbiter.store, arbiter.load]
        for mask in range(8):
            for bit, request in enumerate(requests):
                ctx.set(request.valid, mask >> bit & 1)
            first = next((bit for bit in range(3) if mask >> bit & 1), None)
            assert [ctx.get(request.granted) for request in requests] == [first == bit for bit in range(3)]
            assert ctx.get(arbiter.awvalid) == (first == 1) and ctx.get(arbiter.arvalid) == (first in (0, 2))
            await ctx.tick()

    drive(script)


def test_the_address_channels_say_who_asks_and_how():
    async def script(ctx, arbiter):
        ctx.set(arbiter.arready, 1)
        for request, identifier, size in ((arbiter.fetch, FETCH_ID, 5), (arbiter.load, LOAD_ID, 7)):
            ctx.set(request.valid, 1)
            assert ctx.get(arbiter.araddr) == ctx.get(request.address)
            assert (ctx.get(arbiter.arid), ctx.get(arbiter.arsize), ctx.get(arbiter.arlen)) == (identifier, size, 7)
            ctx.set(request.valid, 0)
        ctx.set(arbiter.store.valid, 1)
        assert (ctx.get(arbiter.awaddr), ctx.get(arbiter.awsize), ctx.get(arbiter.awlen)) == (0x2000, 7, 7)

    drive(script)


def test_a_request_keeps_its_place_until_it_is_accepted():
    async def script(ctx, arbiter):
        ctx.set(arbiter.load.valid, 1)
        await ctx.tick()
        ctx.set(arbiter.fetch.valid, 1)
        ctx.set(arbiter.store.valid, 1)
        ctx.set(arbiter.awready, 1)  # not for LOAD
        for _ in range(3):
            assert ctx.get(arbiter.araddr) == 0x3000 and not ctx.get(arbiter.awvalid)
            assert ctx.get(arbiter.load.shown) and not ctx.get(arbiter.load.granted)
            await ctx.tick()
        ctx.set(arbiter.arready, 1)
        assert ctx.get(arbiter.load.granted)
        await ctx.tick()
        assert ctx.get(arbiter.fetch.granted) and ctx.get(arbiter.araddr) == 0x1000

    drive(script)


def test_never_two_grants_and_never_one_taken_back():
    chooser = random.Random(7)

    async def script(ctx, arbiter):
        requests = [arbiter.fetch, arbiter.store, arbiter.load]
        granted_count = [0, 0, 0]
        shown_before = None
        for _ in range(500):
            for bit, request in enumerate(requests):
                if not ctx.get(request.valid):
                    ctx.set(request.valid, chooser.random() < (0.1, 0.3, 0.8)[bit])
            ctx.set(arbiter.arready, chooser.random() < 0.5)
            ctx.set(arbiter.awready, chooser.random() < 0.5)
            shown = [bit for bit, request in enumerate(requests) if ctx.get(request.shown)]
            granted = [bit for bit, request in enumerate(requests) if ctx.get(request.granted)]
            assert len(shown) <= 1 and set(granted) <= set(shown)
            assert shown_before is None or shown == shown_before
            shown_before = shown if shown and not granted else None
            await ctx.tick()
            for bit in granted:
                granted_count[bit] += 1
                ctx.set(requests[bit].valid, 0)
        assert min(granted_count) > 20

    drive(script)
