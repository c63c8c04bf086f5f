"""AXI4 as the DRAM port must keep it, whatever the slave does (Arm IHI 0022, A3.2.1, A3.3, A3.4.1)."""

from __future__ import annotations

from amaranth import Cat, Const, Mux, Signal

from ...arch.config import PRESETS
from ...hw.axi import (
    FETCH_ID,
    INCR,
    KV_ID,
    LOAD_ID,
    STORE_ID,
    WRITES_AHEAD,
    BurstArbiter,
    WriteChannel,
    fetch_bytes,
)
from .engine import Design
from .registry import proof


@proof("arbiter of the DRAM port", "nano")
@proof("arbiter of the DRAM port, server", "server")
def arbiter(name: str) -> Design:
    """Units keep their requests up until they are granted; the slave is ready when it likes."""
    d = Design()
    config = PRESETS[name]
    a = d.place(BurstArbiter(config))
    requests = {each: getattr(a, each) for each in ("fetch", "store", "kv", "load")}  # by priority
    for each, request in requests.items():
        extra = [request.write] if each == "kv" else []
        payload = [request.valid, request.address, request.beats, *extra]
        d.assume(d.stays(each, request.valid & ~request.granted, *payload))
    aw = [a.awaddr, a.awlen, a.awsize, a.awburst, a.awid]
    ar = [a.araddr, a.arlen, a.arsize, a.arburst, a.arid]
    valid, shown, granted = (
        Cat(getattr(request, field) for request in requests.values()) for field in ("valid", "shown", "granted")
    )
    writes = Cat(Const(0, 1), Const(1, 1), a.kv.write, Const(0, 1))
    waits = (a.awvalid & ~a.awready) | (a.arvalid & ~a.arready)
    waited = d.register(1, "waited", waits)
    first = valid & (~valid + 1)[:4]
    size = (config.axi_bytes - 1).bit_length()
    opened = Signal()  # the write that is shown has been told
    d.m.d.sync += opened.eq(a.awvalid & ~a.awready)
    d.properties |= {
        "AWVALID stays until AWREADY": ~d.register(1, "aw_waits", a.awvalid & ~a.awready) | a.awvalid,
        "the write address holds still until AWREADY": d.stays("aw", a.awvalid & ~a.awready, *aw),
        "ARVALID stays until ARREADY": ~d.register(1, "ar_waits", a.arvalid & ~a.arready) | a.arvalid,
        "the read address holds still until ARREADY": d.stays("ar", a.arvalid & ~a.arready, *ar),
        "one address at a time": ~(a.awvalid & a.arvalid),
        "one request is shown, and it is one": (shown & (shown - 1)[:4] == 0) & (shown & ~valid == 0),
        "a request is shown if there is any": shown.any() == valid.any(),
        "the first in the order of priority is shown, unless another waits": waited | (shown == first),
        "what waits goes on being shown": d.stays("shown", waits, shown),
        "granted is what is shown and accepted": granted == Mux(
            (a.awvalid & a.awready) | (a.arvalid & a.arready), shown, 0),
        "a write is shown as a write, a read as a read": (a.awvalid == (shown & writes).any()) & (
            a.arvalid == (shown & ~writes).any()),
        "bursts count up": (a.awburst == INCR) & (a.arburst == INCR),
        "AWLEN is that of the request": ~a.awvalid | (
            a.awlen == (Mux(a.store.shown, a.store.beats, a.kv.beats) - 1)[:8]),
        "beats are as wide as the port, or an instruction": ~a.arvalid | (
            a.arsize == Mux(a.fetch.shown, (fetch_bytes(config) - 1).bit_length(), size)),
        "ARID is that of the reader": ~a.arvalid | (a.arid == Mux(
            a.fetch.shown, FETCH_ID, Mux(a.kv.shown, KV_ID, LOAD_ID))),
        "AWID is that of the writer": ~a.awvalid | (a.awid == Mux(a.store.shown, STORE_ID, KV_ID)),
        "a write opens in the first cycle in which it is shown": a.opens == (a.awvalid & ~opened),
        "a write opens for whose it is": ~a.opens | (a.opens_kv == a.kv.shown),
    }  # fmt: skip
    d.covers |= {
        "LOAD is granted while STORE has to wait": a.load.granted & a.store.valid,
        "a write waits, and is accepted": d.register(1, "aw_waited", a.awvalid & ~a.awready) & a.awready,
    }
    return d


@proof("write data")
def write_channel() -> Design:
    """Writers keep a beat until it is taken; as many writes are open as the arbiter may open. (That they leave the
    queue in order is proved of the queue.)"""
    d = Design()
    c = WriteChannel(PRESETS["nano"])
    inside = c.elaborate(None)
    order = inside.submodules.order
    d.place(c, fragment=inside)
    open_writes = Signal(range(WRITES_AHEAD + 1))
    takes = c.wvalid & c.wready
    d.m.d.sync += open_writes.eq(open_writes + c.opens - (takes & c.wlast))
    d.assume(~c.opens | (open_writes < WRITES_AHEAD))
    for name in ("store", "kv"):
        writer = getattr(c, name)
        d.assume(d.stays(name, writer.valid & ~writer.ready, writer.valid, writer.data, writer.strobe,
                              writer.last))  # fmt: skip
    turn = d.register(1, "turn", order.o)
    stays = d.register(1, "stays", (open_writes != 0) & ~(takes & c.wlast))
    d.assume(~stays | (order.o == turn))  # the head of the queue stays: see the proofs of queue
    d.properties |= {
        "WVALID stays until WREADY": ~d.register(1, "waits", c.wvalid & ~c.wready) | c.wvalid,
        "data hold still until WREADY": d.stays("w", c.wvalid & ~c.wready, c.wdata, c.wstrb, c.wlast),
        "no data before a write has opened": ~c.wvalid | (open_writes != 0),
        "one writer at a time": ~(c.store.ready & c.kv.ready),
        "a beat moves for the writer and for the slave alike": takes == (
            (c.store.valid & c.store.ready) | (c.kv.valid & c.kv.ready)
        ),
        "as many writes are open as were granted and have not ended": order.level == open_writes,
    }  # fmt: skip
    d.covers |= {"KV gives its last beat behind a burst of STORE": takes & c.wlast & c.kv.ready & d.register(
        1, "of_store", c.store.ready)}  # fmt: skip
    return d
