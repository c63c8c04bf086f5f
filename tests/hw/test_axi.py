"""hw/axi.py: who gets the DRAM port, and whose write data are on it."""

import random

from amaranth.sim import Simulator
from heddle.arch.config import PRESETS
from heddle.hw.axi import FETCH_ID, KV_ID, LOAD_ID, STORE_ID, BurstArbiter, WriteChannel


def drive(script):
    """Runs `script(ctx, arbiter, tick)` on an arbiter whose four requests have telling addresses."""
    arbiter = BurstArbiter(PRESETS["server"])

    async def bench(ctx):
        for address, request in ((0x1000, arbiter.fetch), (0x2000, arbiter.store), (0x3000, arbiter.load),
                                 (0x4000, arbiter.kv)):  # fmt: skip
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
        requests = [arbiter.fetch, arbiter.store, arbiter.kv, arbiter.load]
        for mask in range(32):
            ctx.set(arbiter.kv.write, mask >> 4)
            for bit, request in enumerate(requests):
                ctx.set(request.valid, mask >> bit & 1)
            first = next((bit for bit in range(4) if mask >> bit & 1), None)
            writes = first == 1 or (first == 2 and mask >> 4 == 1)
            assert [ctx.get(request.granted) for request in requests] == [first == bit for bit in range(4)]
            assert ctx.get(arbiter.awvalid) == writes and ctx.get(arbiter.arvalid) == (first is not None and not writes)
            assert ctx.get(arbiter.opens) == writes and (not writes or ctx.get(arbiter.opens_kv) == (first == 2))
            await ctx.tick()

    drive(script)


def test_the_address_channels_say_who_asks_and_how():
    async def script(ctx, arbiter):
        ctx.set(arbiter.arready, 1)
        for request, identifier, size in (
            (arbiter.fetch, FETCH_ID, 5), (arbiter.load, LOAD_ID, 7), (arbiter.kv, KV_ID, 7)
        ):  # fmt: skip
            ctx.set(request.valid, 1)
            assert ctx.get(arbiter.araddr) == ctx.get(request.address)
            assert (ctx.get(arbiter.arid), ctx.get(arbiter.arsize), ctx.get(arbiter.arlen)) == (identifier, size, 7)
            ctx.set(request.valid, 0)
        ctx.set(arbiter.arready, 0)
        ctx.set(arbiter.awready, 1)
        ctx.set(arbiter.kv.write, 1)
        for request, identifier in ((arbiter.store, STORE_ID), (arbiter.kv, KV_ID)):
            ctx.set(request.valid, 1)
            assert ctx.get(arbiter.awaddr) == ctx.get(request.address)
            assert (ctx.get(arbiter.awid), ctx.get(arbiter.awsize), ctx.get(arbiter.awlen)) == (identifier, 7, 7)
            ctx.set(request.valid, 0)

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
        requests = [arbiter.fetch, arbiter.store, arbiter.kv, arbiter.load]
        granted_count = [0, 0, 0, 0]
        shown_before = None
        opened, written = [], []
        for _ in range(1000):
            for bit, request in enumerate(requests):
                if not ctx.get(request.valid):
                    if request is arbiter.kv:
                        ctx.set(request.write, chooser.random() < 0.5)
                    ctx.set(request.valid, chooser.random() < (0.1, 0.2, 0.3, 0.8)[bit])
            ctx.set(arbiter.arready, chooser.random() < 0.5)
            ctx.set(arbiter.awready, chooser.random() < 0.5)
            shown = [bit for bit, request in enumerate(requests) if ctx.get(request.shown)]
            granted = [bit for bit, request in enumerate(requests) if ctx.get(request.granted)]
            assert len(shown) <= 1 and set(granted) <= set(shown)
            assert shown_before is None or shown == shown_before
            assert not (ctx.get(arbiter.awvalid) and ctx.get(arbiter.arvalid))
            if ctx.get(arbiter.opens):
                assert shown_before is None
                opened.append(2 if ctx.get(arbiter.opens_kv) else 1)
            shown_before = shown if shown and not granted else None
            written += [bit for bit in granted if bit == 1 or (bit == 2 and ctx.get(arbiter.kv.write))]
            assert opened[: len(written)] == written and len(opened) <= len(written) + 1
            await ctx.tick()
            for bit in granted:
                granted_count[bit] += 1
                ctx.set(requests[bit].valid, 0)
        assert min(granted_count) > 20

    drive(script)


def drive_channel(script):
    channel = WriteChannel(PRESETS["nano"])

    async def bench(ctx):
        await script(ctx, channel)

    simulator = Simulator(channel)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_write_data_of_a_later_burst_wait():
    async def script(ctx, channel):
        ctx.set(channel.wready, 1)
        for writer, data in ((channel.store, 0x57), (channel.kv, 0x4B)):
            ctx.set(writer.valid, 1)
            ctx.set(writer.data, data)
        ctx.set(channel.kv.strobe, 3)
        ctx.set(channel.opens, 1)
        ctx.set(channel.opens_kv, 1)
        assert not ctx.get(channel.wvalid)  # from the next cycle on
        await ctx.tick()
        ctx.set(channel.opens_kv, 0)
        for last in (0, 1):
            ctx.set(channel.kv.last, last)
            assert (ctx.get(channel.wdata), ctx.get(channel.wstrb), ctx.get(channel.wlast)) == (0x4B, 3, last)
            assert ctx.get(channel.kv.ready) and not ctx.get(channel.store.ready)
            await ctx.tick()
            ctx.set(channel.opens, 0)
        assert ctx.get(channel.wdata) == 0x57 and ctx.get(channel.store.ready) and not ctx.get(channel.kv.ready)

    drive_channel(script)


def test_the_order_of_data_is_the_order_of_bursts():
    chooser = random.Random(3)

    async def script(ctx, channel):
        opened, left = [], []  # (writer, beats), of those whose last beat is still to come
        count, moved = 0, 0
        while moved < 300:
            opens = len(opened) < 10 and chooser.random() < 0.4
            by_kv = chooser.random() < 0.7
            ctx.set(channel.opens, opens)
            ctx.set(channel.opens_kv, by_kv)
            ctx.set(channel.wready, chooser.random() < 0.6)
            for number, writer in enumerate((channel.store, channel.kv)):
                own = [place for place, (who, _) in enumerate(opened) if who == number]
                ctx.set(writer.valid, bool(own))
                ctx.set(writer.data, number)
                ctx.set(writer.last, bool(own) and left[own[0]] == 1)
            assert ctx.get(channel.wvalid) == bool(opened)
            if ctx.get(channel.wvalid) and ctx.get(channel.wready):
                assert ctx.get(channel.wdata) == opened[0][0]
                left[0] -= 1
                assert ctx.get(channel.wlast) == (left[0] == 0)
                moved += 1
                if not left[0]:
                    opened.pop(0)
                    left.pop(0)
            if opens:
                opened.append((int(by_kv), count))
                left.append(chooser.randrange(1, 4))
                count += 1
            await ctx.tick()

    drive_channel(script)
