"""Tables: copies entries of functions by table from PARAM to the lanes of VECTOR, one a cycle.

    address ─► PARAM ─► a pair of the group ─► register ─► all lanes
    cycle 1           3                        4
"""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import INSTRUCTION_BITS, MEMORY_CYCLES, HardwareConfig, Memory
from ..arch.functions import WORD_BITS
from ..arch.isa import ADDRESS, Tables
from .functions import write_signature
from .instructions import fields_of
from .memories import lane_bits
from .panel import count_in
from .pipeline import delay, register


class TableWriter(wiring.Component):
    """Executes one Tables at a time.

    `start` comes with `instruction` in a cycle s. The address of entry i is there in s + 1 + i, with `reading`; its
    group of pairs must be `pairs` MEMORY_CYCLES later, and it is written in the cycle after that, the last one with
    `retire`.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__({
            "start": In(1),
            "instruction": In(INSTRUCTION_BITS),
            "reading": Out(1),
            "address": Out(ADDRESS),
            "part": Out(range(config.columns // config.vector_lanes)),
            "pairs": In(lane_bits(config, Memory.PARAM)),
            "write": Out(write_signature()),
            "retire": Out(1),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        config, lanes = self._config, self._config.vector_lanes
        fields = fields_of(Tables, self.instruction)
        left, place, lane = Signal.like(fields.entries), Signal.like(fields.place), Signal(range(lanes))
        last, next_part, next_word = Signal(), Signal(), Signal()
        m.d.comb += [
            last.eq(left == 1),
            next_part.eq(count_in(m, None, lane, lanes, clear=self.start, step=self.reading)),
            next_word.eq(count_in(m, None, self.part, config.columns // lanes, clear=self.start,
                                  step=self.reading & next_part)),
        ]  # fmt: skip
        with m.If(self.start):
            m.d.sync += [
                self.reading.eq(1),
                self.address.eq(fields.param_address),
                left.eq(fields.entries),
                place.eq(fields.place),
            ]
        with m.Elif(self.reading):
            m.d.sync += [
                self.reading.eq(~last),
                self.address.eq(self.address + (next_part & next_word)),
                left.eq(left - 1),
                place.eq(place + 1),
            ]
        cycles = MEMORY_CYCLES + 1
        pair = self.pairs.word_select(delay(m, lane, MEMORY_CYCLES, name="lane", reset_less=True),
                                      config.element_bits(Memory.PARAM))  # fmt: skip
        m.d.comb += [
            self.write.en.eq(delay(m, self.reading, cycles, name="writes")),
            self.write.place.eq(delay(m, place, cycles, name="place", reset_less=True)),
            self.write.data.eq(register(m, pair[:WORD_BITS], "entry")),
            self.retire.eq(delay(m, self.reading & last, cycles, name="last")),
        ]
        return m
