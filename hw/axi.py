"""AXI4 and AXI4-Lite signatures, and the arbiter that shares the one DRAM port between FETCH, STORE and LOAD.

Standard: Arm IHI 0022, AXI4. The accelerator only makes INCR bursts that do not cross 4 KiB, reads with an identifier
for each reader, and accepts every response at once. Addresses are of bytes.
"""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import HardwareConfig

ADDRESS_BITS = 40
CONTROL_ADDRESS_BITS = 12  # of the AXI4-Lite port
ID_BITS = 2
FETCH_ID, LOAD_ID = 0, 1  # arid; STORE writes with identifier 0
INCR = 1  # awburst, arburst
OKAY = 0  # bresp, rresp


def address_members(prefix: str) -> dict:
    """The signals of the address channel `prefix` ("aw" or "ar"), as seen by the master."""
    return {
        f"{prefix}valid": Out(1),
        f"{prefix}ready": In(1),
        f"{prefix}addr": Out(ADDRESS_BITS),
        f"{prefix}len": Out(8),  # beats − 1
        f"{prefix}size": Out(3),  # log2 of the bytes of a beat
        f"{prefix}burst": Out(2),
        f"{prefix}id": Out(ID_BITS),
    }


def axi4_signature(config: HardwareConfig) -> wiring.Signature:
    """The DRAM port as seen by the master: `config.axi_bytes` wide."""
    return wiring.Signature({
        **address_members("aw"),
        "wvalid": Out(1),
        "wready": In(1),
        "wdata": Out(config.axi_bytes * 8),
        "wstrb": Out(config.axi_bytes),
        "wlast": Out(1),
        "bvalid": In(1),
        "bready": Out(1),
        "bid": In(ID_BITS),
        "bresp": In(2),
        **address_members("ar"),
        "rvalid": In(1),
        "rready": Out(1),
        "rid": In(ID_BITS),
        "rdata": In(config.axi_bytes * 8),
        "rresp": In(2),
        "rlast": In(1),
    })  # fmt: skip


def axi_lite_signature() -> wiring.Signature:
    """The control port as seen by the master (the host): addresses of bytes within 4 KiB, 32-bit data."""
    return wiring.Signature({
        "awvalid": Out(1), "awready": In(1), "awaddr": Out(CONTROL_ADDRESS_BITS),
        "wvalid": Out(1), "wready": In(1), "wdata": Out(32), "wstrb": Out(4),
        "bvalid": In(1), "bready": Out(1), "bresp": In(2),
        "arvalid": Out(1), "arready": In(1), "araddr": Out(CONTROL_ADDRESS_BITS),
        "rvalid": In(1), "rready": Out(1), "rdata": In(32), "rresp": In(2),
    })  # fmt: skip


def request_signature() -> wiring.Signature:
    """A request for one burst, as seen by the unit that makes it.

    `address` and `beats` hold still while `valid` is up, and `valid` stays up, until `granted`, the cycle of the AXI
    address handshake. `shown` is up while the request stands on the AXI port, granted or not.
    """
    return wiring.Signature({
        "valid": Out(1),
        "address": Out(ADDRESS_BITS),
        "beats": Out(range(257)),
        "shown": In(1),
        "granted": In(1),
    })  # fmt: skip


class BurstArbiter(wiring.Component):
    """Puts one request a cycle on the address channels: FETCH before STORE before LOAD.

    A request that the slave did not accept holds its place, whatever comes after it: AXI forbids to take it back, and
    one grant per cycle forbids to show another on the other channel.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__({
            "fetch": In(request_signature()),
            "store": In(request_signature()),
            "load": In(request_signature()),
            **address_members("aw"),
            **address_members("ar"),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        requests = [self.fetch, self.store, self.load]
        held = Signal(len(requests))
        chosen = Signal(len(requests))
        shown = Signal(len(requests))
        valid = Cat(request.valid for request in requests)
        m.d.comb += [
            chosen.eq(valid & (~valid + 1)),  # the lowest bit that is set
            shown.eq(Mux(held.any(), held, chosen)),
        ]
        granted = shown & Cat(self.arready, self.awready, self.arready)
        m.d.sync += held.eq(shown & ~granted)
        for index, request in enumerate(requests):
            m.d.comb += [request.shown.eq(shown[index]), request.granted.eq(granted[index])]
        size, fetch_size = ((width - 1).bit_length() for width in (self._config.axi_bytes, fetch_bytes(self._config)))
        m.d.comb += [
            self.awvalid.eq(shown[1]),
            self.awaddr.eq(self.store.address),
            self.awlen.eq(self.store.beats - 1),
            self.awsize.eq(size),
            self.awburst.eq(INCR),
            self.arvalid.eq(shown[0] | shown[2]),
            self.araddr.eq(Mux(shown[0], self.fetch.address, self.load.address)),
            self.arlen.eq(Mux(shown[0], self.fetch.beats, self.load.beats) - 1),
            self.arsize.eq(Mux(shown[0], fetch_size, size)),
            self.arburst.eq(INCR),
            self.arid.eq(Mux(shown[0], FETCH_ID, LOAD_ID)),
        ]
        return m


def fetch_bytes(config: HardwareConfig) -> int:
    """Bytes of a beat of FETCH: one instruction at most."""
    return min(32, config.axi_bytes)
