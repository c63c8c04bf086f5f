"""The gate between KV and the DRAM port: no burst passes that does not lie in the region of the cache.

Page numbers, registers and CSRs are data, which a wrong host or model may get wrong; what they may do is limited here.
There is no state, so that a proof needs no more than one cycle.
"""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import HardwareConfig
from .axi import ADDRESS_BITS, BOUNDARY_BYTES

# Of a place in the region, in bytes: a sum of five terms below 2^40. (32 bits from the start of the cache to a
# sequence's first page, 16 + 24 to a page, 15 + 8 + 17 to a block, 8 + 24 to a head, 8 + 17 to a word.)
OFFSET_BITS = 43


class RegionGate(wiring.Component):
    """Combinational. A burst of `beats` beats at byte `offset` of the region is `wanted`, on a page that was `found`.

    It passes (`valid`, `address`) if all of it is in the `size_bytes` bytes from `base` on, and within one 4 KiB block,
    as AXI demands; else it is `refused`. The bits of `offset` below a beat and of `base` below 4 KiB are ignored.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__({
            "wanted": In(1),
            "found": In(1),
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
        low, block = (self._config.axi_bytes - 1).bit_length(), (BOUNDARY_BYTES - 1).bit_length()
        beat = self.offset[low:]
        address = Signal(OFFSET_BITS + 1)
        inside, reachable, unbroken = Signal(), Signal(), Signal()
        m.d.comb += [
            address.eq((self.base[block:] << block) + (beat << low)),
            inside.eq(beat + self.beats <= self.size_bytes[low:]),
            reachable.eq(address[ADDRESS_BITS:] == 0),
            unbroken.eq(self.offset[low:block] + self.beats <= 1 << (block - low)),
            self.valid.eq(self.wanted & self.found & inside & reachable & unbroken),
            self.refused.eq(self.wanted & ~self.valid),
            self.address.eq(address),
        ]
        return m
