"""FETCH: reads the program from DRAM in groups of 8 instructions and offers them, in order, to dispatch."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import (
    DISPATCH_CYCLES,
    FETCH_BUFFER,
    FETCH_GROUP,
    INSTRUCTION_BITS,
    INSTRUCTION_BYTES,
    HardwareConfig,
)
from .axi import ADDRESS_BITS, fetch_bytes, request_signature
from .bursts import PLACE_BITS
from .decode import DECODED, Decode
from .instructions import UNITS
from .pipeline import delay, register
from .queue import Queue
from .region import RegionGate, guard_request
from .scalars import LOOKUPS, NUMBER, SCALAR_BITS

GROUP_BYTES = FETCH_GROUP * INSTRUCTION_BYTES


class Fetch(wiring.Component):
    """Makes burst requests while there is room for a whole group, assembles beats into instructions, decodes them, and
    buffers what that tells.

    `start` (a pulse, only while `idle`) begins with the first of `groups` groups at `program`; the request is up from
    the next cycle. An instruction whose last beat comes at t is `word` then, with `arrives`, for `word_units`. From
    t + DISPATCH_CYCLES on, `o_decoded` is what `Decode` says of it, if it is the next. `scalars` are the registers of
    `numbers`, in the cycle of the last beat. `o_bad` tells that a beat of it came with an error (`bad`): that counts
    if it comes to be dispatched, not before. While `run` is low no new request is made; `idle` tells that none is
    pending or in flight. `exhausted`: all groups have been read, and all their instructions taken.

    `program` counts from `base` on, in a region of `size_bytes`. A group that is not in it is not asked for, nor any
    after it; `beyond`: that is so, and all instructions before it have been taken.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__({
            "start": In(1),
            "run": In(1),
            "program": In(ADDRESS_BITS),  # a multiple of GROUP_BYTES; the bits below are ignored
            "groups": In(32),
            "base": In(ADDRESS_BITS),
            "size_bytes": In(ADDRESS_BITS),
            "beyond": Out(1),
            "request": Out(request_signature()),
            "beat": In(1),  # a read beat for FETCH is on the bus, with
            "data": In(config.axi_bytes * 8),
            "bad": In(1),
            "numbers": Out(NUMBER).array(LOOKUPS),
            "scalars": In(SCALAR_BITS).array(LOOKUPS),
            "arrives": Out(1),
            "word": Out(INSTRUCTION_BITS),
            "word_units": Out(len(UNITS)),
            "o_valid": Out(1),
            "o_decoded": Out(DECODED),
            "o_bad": Out(1),
            "o_take": In(1),
            "idle": Out(1),
            "exhausted": Out(1),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.buffer = buffer = Queue(DECODED.size + 1, FETCH_BUFFER)
        address = Signal(PLACE_BITS)
        groups_left = Signal(32)
        claimed = Signal(range(FETCH_BUFFER + 1))  # instructions requested and not yet dispatched
        waiting = Signal()  # the request was up and was not granted: it may not be taken back
        wanted = self.run & groups_left.any() & (claimed <= FETCH_BUFFER - FETCH_GROUP)
        granted = self.request.granted
        beats = GROUP_BYTES // fetch_bytes(self._config)
        m.submodules.gate = gate = RegionGate(fetch_bytes(self._config), beats)
        guard_request(m, self, gate, address, Const(beats))
        refused = Signal()  # a group was: there are no more
        m.d.comb += [gate.wanted.eq(wanted | waiting), self.beyond.eq(refused & (claimed == 0))]
        m.d.sync += [
            waiting.eq(self.request.valid & ~granted),
            claimed.eq(claimed + Mux(granted, FETCH_GROUP, 0) - self.o_take),
        ]
        with m.If(granted):
            m.d.sync += [address.eq(address + GROUP_BYTES), groups_left.eq(groups_left - 1)]
        with m.If(gate.refused):
            m.d.sync += [refused.eq(1), groups_left.eq(0)]

        group_done = self._assemble(m, buffer)
        in_flight = Signal(range(FETCH_BUFFER // FETCH_GROUP + 1))
        m.d.sync += in_flight.eq(in_flight + granted - group_done)
        m.d.comb += [
            buffer.take.eq(self.o_take),
            buffer.clear.eq(self.start),
            self.o_valid.eq(buffer.level != 0),
            Cat(self.o_decoded, self.o_bad).eq(buffer.o),
            self.exhausted.eq(~groups_left.any() & (claimed == 0)),
            self.idle.eq(~self.request.valid & (in_flight == 0)),
        ]
        with m.If(self.start):
            low = (GROUP_BYTES - 1).bit_length()
            m.d.sync += [
                address.eq(self.program[low:] << low),
                groups_left.eq(self.groups),
                claimed.eq(0),
                refused.eq(0),
            ]
        return m

    def _assemble(self, m: Module, buffer: Queue) -> Signal:
        """Makes instructions of beats, and puts what there is to know of each into `buffer`; returns the signal that
        the last beat of a group is on the bus."""
        m.submodules.decode = decode = Decode(self._config)
        m.d.comb += [
            *(outer.eq(inner) for outer, inner in zip(self.numbers, decode.numbers, strict=True)),
            *(inner.eq(outer) for inner, outer in zip(decode.scalars, self.scalars, strict=True)),
        ]
        beats = GROUP_BYTES // fetch_bytes(self._config)
        number = Signal(range(beats))  # of the beat in its group; bursts start at a multiple of GROUP_BYTES
        m.d.sync += number.eq(number + self.beat)
        bad = Signal()  # the beat, or an earlier one of its instruction
        parts = INSTRUCTION_BITS // len(self.data)
        if parts > 1:
            earlier, bad_before = Signal(INSTRUCTION_BITS - len(self.data)), Signal()
            m.d.comb += [
                self.word.eq(Cat(earlier, self.data)),
                self.arrives.eq(self.beat & number[: (parts - 1).bit_length()].all()),
                bad.eq(bad_before | self.bad),
            ]
            with m.If(self.beat):
                m.d.sync += [earlier.eq(self.word[len(self.data) :]), bad_before.eq(bad & ~self.arrives)]
        else:
            # A narrow beat comes on the byte lanes of its address.
            lanes = len(self.data) // INSTRUCTION_BITS
            lane = number[: (lanes - 1).bit_length()]
            m.d.comb += [
                self.word.eq(self.data.word_select(lane, INSTRUCTION_BITS)),
                self.arrives.eq(self.beat),
                bad.eq(self.bad),
            ]
        m.d.comb += [
            decode.i.eq(self.word),
            self.word_units.eq(decode.o.units),
            buffer.i.eq(register(m, Cat(decode.o, bad), "decoded")),
            buffer.put.eq(delay(m, self.arrives, DISPATCH_CYCLES - 1, "decoded_valid")),
        ]
        done = Signal()
        m.d.comb += done.eq(self.beat & number.all())
        return done
