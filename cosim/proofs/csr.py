"""AXI4-Lite as the control port must keep it (Arm IHI 0022, B1.1), whatever the host does."""

from __future__ import annotations

from amaranth import Signal
from amaranth.hdl import Fragment

from ...arch.config import PRESETS
from ...hw.axi import OKAY
from ...hw.csr import Csr
from .engine import Design, inner
from .registry import proof


@proof("control port", depth=3, cover_depth=80, slow=True)
def control() -> Design:
    """The host keeps what it offers until it is accepted; answers it takes when it likes."""
    d = Design(free_memories=True)
    c = Csr(PRESETS["nano"])
    fragment = Fragment.get(c, None)
    d.place(c, fragment=fragment)
    bus, steps = c.control, inner(fragment, "steps")
    d.assume(
        d.stays("aw", bus.awvalid & ~bus.awready, bus.awvalid, bus.awaddr),
        d.stays("w", bus.wvalid & ~bus.wready, bus.wvalid, bus.wdata, bus.wstrb),
        d.stays("ar", bus.arvalid & ~bus.arready, bus.arvalid, bus.araddr),
    )
    writes, reads = Signal(2), Signal(2)  # accepted, and not answered
    wrote, read = bus.awvalid & bus.awready, bus.arvalid & bus.arready
    d.m.d.sync += [
        writes.eq(writes + wrote - (bus.bvalid & bus.bready)),
        reads.eq(reads + read - (bus.rvalid & bus.rready)),
    ]
    pulses = [c.start, c.clear, c.abort]
    d.properties |= {
        "an address is taken with its data": wrote == (bus.wvalid & bus.wready),
        "BVALID stays until BREADY": d.stays("b", bus.bvalid & ~bus.bready, bus.bvalid, bus.bresp),
        "RVALID and its data stay until RREADY": d.stays("r", bus.rvalid & ~bus.rready, bus.rvalid, bus.rdata),
        "one answer for each write, at once": bus.bvalid == (writes == 1),
        "one answer for each read, which is on its way until then": (steps & (steps - 1) == 0) & (
            reads == steps.any() + bus.rvalid
        ),
        "one write and one read at a time": (writes <= 1) & (reads <= 1),
        "no second read before the answer to the first": ~(read & (reads != 0)),
        "every answer is OKAY": (bus.bresp == OKAY) & (bus.rresp == OKAY),
        "a pulse comes with a write, and never without": ~(pulses[0] | pulses[1] | pulses[2]) | wrote,
    }
    d.covers |= {"a write is answered": bus.bvalid & bus.bready, "a read is answered": bus.rvalid & bus.rready}
    return d
