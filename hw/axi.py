"""AXI4 and AXI4-Lite signatures, and what shares the one DRAM port between FETCH, STORE, KV and LOAD.

Standard: Arm IHI 0022, AXI4. The accelerator only makes INCR bursts that do not cross 4 KiB, reads with an identifier
for each reader and each writer, and accepts every response at once. Addresses are of bytes.
"""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import HardwareConfig
from .queue import Queue

ADDRESS_BITS = 40
CONTROL_ADDRESS_BITS = 12  # of the AXI4-Lite port
ID_BITS = 2
FETCH_ID, LOAD_ID, KV_ID = 0, 1, 2  # arid
STORE_ID = 0  # awid; KV's is KV_ID
BOUNDARY_BYTES = 4096  # no burst crosses a multiple of this
WRITES_AHEAD = 16  # bursts whose data are still to come: two of STORE and eight of KV, rounded up
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


def kv_request_signature() -> wiring.Signature:
    """A request of KV, which reads and writes."""
    return wiring.Signature({**request_signature().members, "write": Out(1)})


def write_data_signature(config: HardwareConfig) -> wiring.Signature:
    """Write data as seen by the unit that gives them: a beat moves in a cycle with `valid` and `ready`."""
    return wiring.Signature({
        "valid": Out(1),
        "data": Out(config.axi_bytes * 8),
        "strobe": Out(config.axi_bytes),
        "last": Out(1),  # of its burst
        "ready": In(1),
    })  # fmt: skip


class BurstArbiter(wiring.Component):
    """Puts one request a cycle on the address channels: FETCH before STORE before KV before LOAD.

    A request that the slave did not accept holds its place, whatever comes after it: AXI forbids to take it back, and
    one grant per cycle forbids to show another on the other channel. `opens` is up in the first cycle in which a write
    is shown, `opens_kv` if it is KV's: so writes open in the order in which they are granted.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__({
            "fetch": In(request_signature()),
            "store": In(request_signature()),
            "kv": In(kv_request_signature()),
            "load": In(request_signature()),
            **address_members("aw"),
            **address_members("ar"),
            "opens": Out(1),
            "opens_kv": Out(1),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        requests = [self.fetch, self.store, self.kv, self.load]  # by priority
        writes = Cat(Const(0, 1), Const(1, 1), self.kv.write, Const(0, 1))
        held = Signal(len(requests))
        chosen = Signal(len(requests))
        shown = Signal(len(requests))
        valid = Cat(request.valid for request in requests)
        m.d.comb += [
            chosen.eq(valid & (~valid + 1)),  # the lowest bit that is set
            shown.eq(Mux(held.any(), held, chosen)),
        ]
        granted = shown & Cat(Mux(write, self.awready, self.arready) for write in writes)
        m.d.sync += held.eq(shown & ~granted)
        for index, request in enumerate(requests):
            m.d.comb += [request.shown.eq(shown[index]), request.granted.eq(granted[index])]
        of_fetch, of_store, of_kv, _ = shown
        size, fetch_size = ((width - 1).bit_length() for width in (self._config.axi_bytes, fetch_bytes(self._config)))
        m.d.comb += [
            self.awvalid.eq((shown & writes).any()),
            self.awaddr.eq(Mux(of_store, self.store.address, self.kv.address)),
            self.awlen.eq(Mux(of_store, self.store.beats, self.kv.beats) - 1),
            self.awsize.eq(size),
            self.awburst.eq(INCR),
            self.awid.eq(Mux(of_store, STORE_ID, KV_ID)),
            self.arvalid.eq((shown & ~writes).any()),
            self.araddr.eq(Mux(of_fetch, self.fetch.address, Mux(of_kv, self.kv.address, self.load.address))),
            self.arlen.eq(Mux(of_fetch, self.fetch.beats, Mux(of_kv, self.kv.beats, self.load.beats)) - 1),
            self.arsize.eq(Mux(of_fetch, fetch_size, size)),
            self.arburst.eq(INCR),
            self.arid.eq(Mux(of_fetch, FETCH_ID, Mux(of_kv, KV_ID, LOAD_ID))),
            self.opens.eq((shown & writes & ~held).any()),
            self.opens_kv.eq(of_kv),
        ]
        return m


class WriteChannel(wiring.Component):
    """Lets STORE and KV give their write data, burst after burst, in the order in which their requests open.

    A burst may give from the cycle after `opens` on, whether or not the slave has accepted its address (AXI lets a
    slave wait for data before it does), as soon as all that opened before it has given.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__({
            "opens": In(1),
            "opens_kv": In(1),
            "store": In(write_data_signature(config)),
            "kv": In(write_data_signature(config)),
            "wvalid": Out(1),
            "wready": In(1),
            "wdata": Out(config.axi_bytes * 8),
            "wstrb": Out(config.axi_bytes),
            "wlast": Out(1),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.order = order = Queue(1, WRITES_AHEAD)
        m.d.comb += [
            order.put.eq(self.opens),
            order.i.eq(self.opens_kv),
            order.take.eq(self.wvalid & self.wready & self.wlast),
        ]
        for writer, turn in ((self.store, ~order.o), (self.kv, order.o)):
            with m.If((order.level != 0) & turn):
                m.d.comb += [
                    self.wvalid.eq(writer.valid),
                    self.wdata.eq(writer.data),
                    self.wstrb.eq(writer.strobe),
                    self.wlast.eq(writer.last),
                    writer.ready.eq(self.wready),
                ]
        return m


def fetch_bytes(config: HardwareConfig) -> int:
    """Bytes of a beat of FETCH: one instruction at most."""
    return min(32, config.axi_bytes)
