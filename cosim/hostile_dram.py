"""A DRAM that is as nasty as AXI4 allows: it stalls, delays, reorders and errs, all by a seed. See `HostileDram`.

    AR ─► a queue for each identifier ─► any of them, beat by beat ─► R
    AW ─► queue ─┐
    W ──► queue ─┴► memory, late ─► a queue for each identifier ─► any of them ─► B
"""

from amaranth import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import HardwareConfig
from ..hw.axi import ADDRESS_BITS, ID_BITS, OKAY, axi4_signature
from ..hw.queue import Queue
from .axi_rules import CHANNELS, IN_FLIGHT
from .storage import Storage

IDENTIFIERS = 1 << ID_BITS
COMMAND = data.StructLayout({
    "address": ADDRESS_BITS, "size": 3, "last": 8, "id": ID_BITS, "errs": 1, "error_beat": 8,
})  # fmt: skip


class HostileDram(wiring.Component):
    """AXI4 slave of `size_bytes` bytes from `base` on, whose whims follow from `seed` and what is set with it.

    odds        for each of AW, W, B, AR, R: in how many of 256 draws it is willing; 0 is never
    spell       a mask: after a draw it stays willing, or not, for up to so many cycles more
    order       1: the address of a write is taken only once data are offered; 2: data only once their address is taken
    error_burst the burst, counted from 1 on, that gets `error_code` (0: none): a read in all its beats, with
                `error_whole`, or in one of them; its data are noise then. A write that errs leaves memory as it was.
    reseed       a pulse: takes the seed, and counts `bursts` from 0 on; nothing may be in flight

    Reads of different identifiers interleave beat by beat, and responses of different identifiers overtake each other.
    Memory is read in the cycle before a beat is offered, and written some time after its data have come.
    """

    def __init__(self, config: HardwareConfig, size_bytes: int):
        self._axi_bytes = config.axi_bytes
        self.storage = Storage(config.axi_bytes, size_bytes)
        super().__init__({
            "axi": In(axi4_signature(config)),
            "base": In(ADDRESS_BITS),
            "reseed": In(1),
            "seed": In(64),
            "odds": In(8).array(len(CHANNELS)),
            "spell": In(8),
            "order": In(2),
            "error_burst": In(16),
            "error_code": In(2),
            "error_whole": In(1),
            "bursts": Out(16),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.storage = self.storage
        axi = self.axi
        noise = Cat(self._random(m, "first", self.seed), self._random(m, "second", ~self.seed))
        willing = {
            channel: self._whim(m, channel, self.odds[n], noise.word_select(n, 8), noise.word_select(8 + n, 8))
            for n, channel in enumerate(CHANNELS)
        }
        late = noise[40:42].any()
        draw = noise[104:]
        with m.If(self.reseed):
            m.d.sync += self.bursts.eq(0)
        with m.Else():
            m.d.sync += self.bursts.eq(self.bursts + (axi.awvalid & axi.awready) + (axi.arvalid & axi.arready))
        errs = Signal()
        m.d.comb += errs.eq((self.bursts + 1 == self.error_burst) & (self.error_code != OKAY))
        self._read(m, willing, draw, errs, noise)
        self._write(m, willing, draw, errs, late)
        return m

    def _random(self, m: Module, name: str, seed: Value) -> Signal:
        """64 bits of noise, new in each cycle (xorshift: Marsaglia 2003)."""
        state, one, two = (Signal(64, name=f"{name}_{step}", init=1) for step in ("random", "one", "two"))
        m.d.comb += [one.eq(state ^ (state << 13)), two.eq(one ^ (one >> 7))]
        m.d.sync += state.eq(Mux(self.reseed, seed, two ^ (two << 17)))
        return state

    def _whim(self, m: Module, name: str, odds: Value, draw: Value, length: Value) -> Signal:
        """Whether a channel is willing."""
        willing, left = Signal(name=f"{name}_willing"), Signal(8, name=f"{name}_left")
        with m.If(left == 0):
            m.d.sync += [willing.eq(draw < odds), left.eq(length & self.spell)]
        with m.Else():
            m.d.sync += left.eq(left - 1)
        return willing

    def _command(self, m: Module, prefix: str, errs: Value, error_beat: Value) -> Value:
        """What is kept of a burst."""
        command = data.View(COMMAND, Signal(COMMAND.size, name=f"{prefix}_command"))
        address, size, length, identifier = (
            getattr(self.axi, prefix + name) for name in ("addr", "size", "len", "id")
        )
        m.d.comb += [
            command.address.eq(address),
            command.size.eq(size),
            command.last.eq(length),
            command.id.eq(identifier),
            command.errs.eq(errs),
            command.error_beat.eq(error_beat & length),
        ]
        return command.as_value()

    def _word(self, address: Value) -> Value:
        """The word of memory at an address."""
        return (address - self.base)[(self._axi_bytes - 1).bit_length() :]

    def _read(self, m: Module, willing: dict[str, Signal], draw: Value, errs: Value, noise: Value) -> None:
        axi, storage = self.axi, self.storage
        queues = _queues(m, "reads", COMMAND.size)
        chosen, some = _choose(m, "read", queues, draw[:2])
        command = self._command(m, "ar", errs, draw[8:16])
        head = data.View(COMMAND, Signal(COMMAND.size, name="read_head"))
        beats = Array(Signal(8, name=f"read_beat_{i}") for i in range(IDENTIFIERS))
        beat, address = Signal(8), Signal(ADDRESS_BITS)
        free, moves, last = Signal(), Signal(), Signal()
        m.d.comb += [
            axi.arready.eq(willing["ar"] & ~Cat(queue.level == IN_FLIGHT for queue in queues).any()),
            head.as_value().eq(Array(queue.o for queue in queues)[chosen]),
            beat.eq(beats[chosen]),
            address.eq(head.address + (beat << head.size)),
            storage.read_address.eq(self._word(address)),
            free.eq(~axi.rvalid | axi.rready),
            moves.eq(free & willing["r"] & some),
            last.eq(beat == head.last),
        ]
        for i, queue in enumerate(queues):
            m.d.comb += [
                queue.put.eq(axi.arvalid & axi.arready & (axi.arid == i)),
                queue.i.eq(command),
                queue.take.eq(moves & last & (chosen == i)),
            ]
        wrong = head.errs & (self.error_whole | (beat == head.error_beat))
        low = address[: (self._axi_bytes - 1).bit_length()]
        with m.If(free):
            m.d.sync += axi.rvalid.eq(moves)
        with m.If(moves):
            m.d.sync += [
                beats[chosen].eq(Mux(last, 0, beat + 1)),
                axi.rid.eq(chosen),
                axi.rlast.eq(last),
                axi.rresp.eq(Mux(wrong, self.error_code, OKAY)),
            ]
            for byte in range(self._axi_bytes):  # only the lanes of the beat have meaning
                meant = ((low ^ byte) >> head.size == 0) & ~wrong
                content = storage.read_data.word_select(byte, 8)
                m.d.sync += axi.rdata.word_select(byte, 8).eq(Mux(meant, content, noise.word_select(byte % 16, 8)))

    def _write(self, m: Module, willing: dict[str, Signal], draw: Value, errs: Value, late: Value) -> None:
        axi, storage = self.axi, self.storage
        m.submodules.addresses = addresses = Queue(COMMAND.size, IN_FLIGHT)
        m.submodules.beats = beats = Queue(len(Cat(axi.wdata, axi.wstrb)), IN_FLIGHT)
        command = data.View(COMMAND, addresses.o)
        content, strobe = beats.o[: len(axi.wdata)], beats.o[len(axi.wdata) :]
        owed = Signal(range(IN_FLIGHT + 1))  # bursts whose address is taken and whose data are not
        m.d.sync += owed.eq(owed + addresses.put - (beats.put & axi.wlast))
        beat, moves, last = Signal(8), Signal(), Signal()
        may_take = (addresses.level < IN_FLIGHT - 1) & ((self.order != 1) | axi.wvalid | (beats.level != 0))
        m.d.comb += [
            axi.awready.eq(willing["aw"] & may_take),
            addresses.put.eq(axi.awvalid & axi.awready),
            addresses.i.eq(self._command(m, "aw", errs, draw[8:16])),
            axi.wready.eq(willing["w"] & ((self.order != 2) | (owed != 0)) & (beats.level != IN_FLIGHT)),
            beats.put.eq(axi.wvalid & axi.wready),
            beats.i.eq(Cat(axi.wdata, axi.wstrb)),
            moves.eq((addresses.level != 0) & (beats.level != 0) & late),
            last.eq(beat == command.last),
            beats.take.eq(moves),
            addresses.take.eq(moves & last),
            storage.write_address.eq(self._word(command.address + (beat << command.size))),
            storage.write_data.eq(content),
            storage.write_mask.eq(Mux(moves & ~command.errs, strobe, 0)),
        ]
        with m.If(moves):
            m.d.sync += beat.eq(Mux(last, 0, beat + 1))

        responses = _queues(m, "responses", 1)
        chosen, some = _choose(m, "response", responses, draw[2:4])
        free, answers = Signal(), Signal()
        m.d.comb += [free.eq(~axi.bvalid | axi.bready), answers.eq(free & willing["b"] & some)]
        for i, queue in enumerate(responses):
            m.d.comb += [
                queue.put.eq(addresses.take & (command.id == i)),
                queue.i.eq(command.errs),
                queue.take.eq(answers & (chosen == i)),
            ]
        with m.If(free):
            m.d.sync += axi.bvalid.eq(answers)
        with m.If(answers):
            wrong = Array(queue.o for queue in responses)[chosen]
            m.d.sync += [axi.bid.eq(chosen), axi.bresp.eq(Mux(wrong, self.error_code, OKAY))]


def _queues(m: Module, name: str, width: int) -> list[Queue]:
    """A queue for each identifier."""
    queues = [Queue(width, IN_FLIGHT) for _ in range(IDENTIFIERS)]
    for i, queue in enumerate(queues):
        m.submodules[f"{name}_{i}"] = queue
    return queues


def _choose(m: Module, name: str, queues: list[Queue], draw: Value) -> tuple[Signal, Signal]:
    """An identifier whose queue holds something, and whether there is any: the first from number `draw` on."""
    chosen, some = Signal(ID_BITS, name=f"{name}_chosen"), Signal(name=f"{name}_some")
    holds = Array(queue.level != 0 for queue in queues)
    m.d.comb += some.eq(Cat(queue.level != 0 for queue in queues).any())
    for step in reversed(range(IDENTIFIERS)):
        number = (draw + step)[:ID_BITS]
        with m.If(holds[number]):
            m.d.comb += chosen.eq(number)
    return chosen, some
