"""The gate between a unit and the DRAM port: no burst passes that does not lie in the region of DRAM that it may use.

Instructions, page and row numbers, registers and CSRs are data, which a wrong host or model may get wrong; what they
may do is limited here. The gate itself has no state, so that a proof needs no more than one cycle; with the register
that stands behind it in LOAD, STORE and KV it needs two.
"""

from amaranth import Module, Signal, Value, ValueLike, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .axi import ADDRESS_BITS, BOUNDARY_BYTES, request_signature

# Of a place in the region, in bytes: of the cache, a sum of five terms below 2^40. (32 bits from the start of the cache
# to a sequence's first page, 16 + 24 to a page, 15 + 8 + 17 to a block, 8 + 24 to a head, 8 + 17 to a word.)
OFFSET_BITS = 43


class RegionGate(wiring.Component):
    """Combinational. A burst of `beats` beats at byte `offset` of the region is `wanted`, on a page that was `found`.

    Beats are of `beat_bytes`. The burst passes (`valid`, `address`) if it has 1 to `most_beats` beats, and all of it is
    in the `size_bytes` bytes from `base` on and within one 4 KiB block, as AXI demands; else it is `refused`. The bits
    of `offset` below a beat and of `base` below 4 KiB are ignored.
    """

    def __init__(self, beat_bytes: int, most_beats: int):
        self._beat_bytes = beat_bytes
        self._most_beats = most_beats
        super().__init__({
            "wanted": In(1),
            "found": In(1, init=1),
            "offset": In(OFFSET_BITS),
            "beats": In(range(257)),
            "base": In(ADDRESS_BITS),
            "size_bytes": In(ADDRESS_BITS),
            "valid": Out(1),
            "address": Out(ADDRESS_BITS),
            "refused": Out(1),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        low, block = (self._beat_bytes - 1).bit_length(), (BOUNDARY_BYTES - 1).bit_length()
        beat = self.offset[low:]
        address = Signal(OFFSET_BITS + 1)
        beats_bits = len(self.beats)
        left = Signal(signed(max(len(beat), ADDRESS_BITS - low) + 1))
        whole, inside, reachable, unbroken = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            address.eq((self.base[block:] << block) + (beat << low)),
            whole.eq((self.beats != 0) & (self.beats < self._most_beats + 1)),
            # What is left behind the beginning does not hang on `beats`, which come late.
            left.eq(self.size_bytes[low:] - beat),
            inside.eq((left >= 0) & (left[beats_bits:-1].any() | (left[:beats_bits] >= self.beats))),
            reachable.eq(address[ADDRESS_BITS:] == 0),
            unbroken.eq(self.offset[low:block] + self.beats <= 1 << (block - low)),
            self.valid.eq(self.wanted & self.found & whole & inside & reachable & unbroken),
            self.refused.eq(self.wanted & ~self.valid),
            self.address.eq(address),
        ]
        return m


class BurstGate(wiring.Component):
    """A gate for one burst after the other, with a register between its verdict and the DRAM port.

    A burst that is `offered` is `taken` in the first cycle in which the register is free, or becomes free. From the
    next cycle on it is there (`holds`): either `refused`, for one cycle, or the `request` while there is `room`. `base`
    and `size_bytes` do not change while one is there.
    """

    def __init__(self, beat_bytes: int, most_beats: int):
        self._beat_bytes = beat_bytes
        self._most_beats = most_beats
        super().__init__({
            "offered": In(1),
            "found": In(1, init=1),
            "offset": In(OFFSET_BITS),
            "beats": In(range(257)),
            "taken": Out(1),
            "base": In(ADDRESS_BITS),
            "size_bytes": In(ADDRESS_BITS),
            "room": In(1, init=1),
            "request": Out(request_signature()),
            "holds": Out(1),
            "refused": Out(1),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.gate = gate = RegionGate(self._beat_bytes, self._most_beats)
        passes = Signal()
        m.d.comb += [
            *(getattr(gate, name).eq(getattr(self, name))
              for name in ("found", "offset", "beats", "base", "size_bytes")),
            gate.wanted.eq(1),
            self.taken.eq(self.offered & (~self.holds | self.request.granted)),
            self.request.valid.eq(self.holds & passes & self.room),
            self.refused.eq(self.holds & ~passes),
        ]  # fmt: skip
        with m.If(self.taken):
            m.d.sync += [
                self.holds.eq(1),
                passes.eq(gate.valid),
                self.request.address.eq(gate.address),
                self.request.beats.eq(gate.beats),
            ]
        with m.Elif(self.request.granted | self.refused):
            m.d.sync += self.holds.eq(0)
        return m


def guard_request(
    m: Module, unit: wiring.Component, gate: RegionGate, offset: Value, beats: Value, room: ValueLike = 1
) -> None:
    """Make what passes `gate`, and nothing else, the request of `unit`, as soon as there is `room` for it. The unit's
    `base` and `size_bytes` are the region."""
    m.d.comb += [
        gate.offset.eq(offset),
        gate.beats.eq(beats),
        gate.base.eq(unit.base),
        gate.size_bytes.eq(unit.size_bytes),
        unit.request.valid.eq(gate.valid & room),
        unit.request.address.eq(gate.address),
        unit.request.beats.eq(gate.beats),
    ]
