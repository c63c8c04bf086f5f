"""The DRAM of docs/architecture.md as an AXI4 slave: the memory of every RTL bench, exact to the cycle.

It is written from the page alone and shares no code with sim/dram.py. Bursts are served strictly in the order of their
address handshakes, reads and writes alike, from one queue of commands:

    AR, AW ─► commands ─► one beat each `cycles_per_beat`, the first when it is due ─► R or W, B

A burst is due `latency` after its handshake, or, in a banked memory, when cosim/dram_timing.py says.
"""

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from ..arch.config import HardwareConfig
from ..hw.axi import ADDRESS_BITS, ID_BITS, INCR, axi4_signature
from .dram_timing import BEAT_BITS, CYCLE_BITS, LATENCY_BITS, DramTiming
from .storage import Storage

QUEUE_DEPTH = 256  # more bursts than FETCH, STORE, KV and LOAD can have in flight


class Dram(wiring.Component):
    """AXI4 slave, `config.axi_bytes` wide, of `size_bytes` bytes, a power of two, from `base` on; addresses wrap there.

    A burst whose address handshake is in cycle t moves its first beat in max(t + `latency`, free), then one every
    `cycles_per_beat`; `free` becomes the first beat's cycle + beats × `cycles_per_beat`. Where `config.dram` is banked,
    the first beat follows the section "Banked DRAM" instead. Beats may be narrower than the bus (ARSIZE); bursts are
    incrementing. A write response comes in the cycle after the last beat. `latency` (1 to 4095) and `cycles_per_beat`
    (1 to 255) must not change while bursts are in flight. Cycles count from reset, 0 being the first; after one with
    `waits`, from 1. `violation` rises, and stays, when the master breaks a rule of AXI or of the page: a burst that is
    not INCR, crosses 4 KiB, is wider than the bus or beyond the first `used_bytes` bytes; a last write beat not marked
    so; write data or a readiness that comes later than the beat's turn.
    """

    def __init__(self, config: HardwareConfig, size_bytes: int):
        self._axi_bytes = config.axi_bytes
        self._dram = config.dram
        self.storage = Storage(config.axi_bytes, size_bytes)
        super().__init__({
            "axi": In(axi4_signature(config)),
            "latency": In(LATENCY_BITS),
            "cycles_per_beat": In(BEAT_BITS),
            "waits": In(1),
            "base": In(ADDRESS_BITS),
            "used_bytes": In(ADDRESS_BITS, init=(1 << ADDRESS_BITS) - 1),
            "violation": Out(1),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        axi = self.axi
        m.submodules.storage = storage = self.storage
        command_layout = data.StructLayout({
            "write": 1, "id": ID_BITS, "address": ADDRESS_BITS, "size": 3, "last": 8, "due": CYCLE_BITS,
        })  # fmt: skip
        m.submodules.commands = commands = SyncFIFO(width=command_layout.size, depth=QUEUE_DEPTH)

        # One handshake per cycle; a master that offers two breaks the page's rule, and its write goes first.
        cycle, due = Signal(CYCLE_BITS), Signal(CYCLE_BITS)
        m.d.sync += cycle.eq(Mux(self.waits, 1, cycle + 1))
        arriving = Signal(command_layout)
        m.d.comb += [
            axi.awready.eq(commands.w_rdy),
            axi.arready.eq(commands.w_rdy & ~axi.awvalid),
            arriving.write.eq(axi.awvalid),
            arriving.id.eq(Mux(axi.awvalid, axi.awid, axi.arid)),
            arriving.address.eq(Mux(axi.awvalid, axi.awaddr, axi.araddr)),
            arriving.size.eq(Mux(axi.awvalid, axi.awsize, axi.arsize)),
            arriving.last.eq(Mux(axi.awvalid, axi.awlen, axi.arlen)),
            arriving.due.eq(due),
            commands.w_data.eq(arriving),
            commands.w_en.eq(axi.awvalid | axi.arvalid),
        ]
        if self._dram.banked:
            m.submodules.timing = timing = DramTiming(self._dram)
            m.d.comb += [
                timing.cycle.eq(cycle),
                timing.latency.eq(self.latency),
                timing.cycles_per_beat.eq(self.cycles_per_beat),
                timing.taken.eq(commands.w_en & commands.w_rdy),
                timing.write.eq(arriving.write),
                timing.address.eq(arriving.address),
                timing.last.eq(arriving.last),
                timing.size.eq(arriving.size),
                due.eq(timing.due),
            ]
        else:
            m.d.comb += due.eq(cycle + self.latency)

        command = Signal(command_layout)
        beat = Signal(8)  # of the command at the head
        gap = Signal(BEAT_BITS)  # cycles until the next beat may move
        turn, moves, last_beat = Signal(), Signal(), Signal()
        m.d.comb += [
            command.eq(commands.r_data),
            turn.eq(commands.r_rdy & (cycle >= command.due) & (gap == 0)),
            last_beat.eq(beat == command.last),
            axi.rvalid.eq(turn & ~command.write),
            axi.wready.eq(turn & command.write & (~axi.bvalid | axi.bready)),
            moves.eq((axi.rvalid & axi.rready) | (axi.wvalid & axi.wready)),
            commands.r_en.eq(moves & last_beat),
        ]
        with m.If(moves):
            m.d.sync += [beat.eq(Mux(last_beat, 0, beat + 1)), gap.eq(self.cycles_per_beat - 1)]
        with m.Elif(gap != 0):
            m.d.sync += gap.eq(gap - 1)

        byte_address = Signal(ADDRESS_BITS)  # from `base` on
        word_address = byte_address >> (self._axi_bytes - 1).bit_length()
        m.d.comb += [
            byte_address.eq(command.address - self.base + (beat << command.size)),
            storage.read_address.eq(word_address),
            storage.write_address.eq(word_address),
            storage.write_data.eq(axi.wdata),
            storage.write_mask.eq(Mux(axi.wvalid & axi.wready, axi.wstrb, 0)),
            axi.rdata.eq(storage.read_data),
            axi.rid.eq(command.id),
            axi.rlast.eq(last_beat),
        ]
        with m.If(axi.bvalid & axi.bready):
            m.d.sync += axi.bvalid.eq(0)
        with m.If(axi.wvalid & axi.wready & last_beat):
            m.d.sync += [axi.bvalid.eq(1), axi.bid.eq(command.id)]

        with m.If(commands.w_en & commands.w_rdy & self._is_illegal(arriving)):
            m.d.sync += self.violation.eq(1)
        with m.If((turn & ~moves) | (moves & command.write & (axi.wlast != last_beat))):
            m.d.sync += self.violation.eq(1)
        return m

    def _is_illegal(self, command) -> Value:
        """Whether a burst breaks the rules of its address channel."""
        bus_size = (self._axi_bytes - 1).bit_length()
        burst = Mux(command.write, self.axi.awburst, self.axi.arburst)
        end = command.address[:12] + (command.last << command.size)
        last_byte = command.address + ((command.last + 1) << command.size) - 1
        beyond = (command.address < self.base) | (last_byte >= self.base + self.used_bytes)
        two = self.axi.awvalid & self.axi.arvalid
        return (burst != INCR) | (command.size > bus_size) | (end >= 4096) | beyond | two
