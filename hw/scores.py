"""The front of SOFTMAX: from accumulators to masked scores.

acc ─ float32 ─┬─ × key scale ─ × row ─ + operand ─ mask register ─ t
        value ─┘                                    │
(row, group), length ─ mask ────────────────────────┘

Scores of an online softmax, which knows no additive mask, go around that addition.
"""

from amaranth import Module, Mux, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import ADD_CYCLES, MEMORY_CYCLES, HardwareConfig
from .delay_line import DelayLine
from .drain import Drain
from .float import MINUS_INFINITY, MINUS_ZERO, ONE, Add
from .mask import MASK_CYCLES, MASK_INPUTS, Mask
from .online import detour
from .pipeline import delay


def score_cycles(config: HardwareConfig, online: bool = False) -> int:
    """From the read address of a group to its masked scores: memory, front, additive mask, mask register."""
    return MEMORY_CYCLES + config.drain_front_cycles + (0 if online else ADD_CYCLES) + 1


class Scores(wiring.Component):
    """t = (float32(acc)·key_scale)·row_scale (+ operand, if `additive`), −inf in lanes that are not `seen`. If
    `from_value`, `operand` takes the place of float32(acc), and the factor of rows is 1.

    `row` and `group` come in the cycle of the read addresses, the operands and `length` MEMORY_CYCLES later, `t` and
    `seen` `score_cycles` later, a group every cycle if need be. The mask (see `Mask`), `from_value`, `additive` and
    `online` (without operand, ADD_CYCLES sooner) hold still while groups are under way. Numbers are the bits of
    float32.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        floats = data.ArrayLayout(unsigned(32), config.vector_lanes)
        super().__init__({
            **MASK_INPUTS,
            "from_value": In(1),
            "additive": In(1),
            "online": In(1),
            "acc": In(floats),
            "key_scale": In(floats),
            "row_scale": In(32),
            "operand": In(floats),
            "t": Out(floats),
            "seen": Out(config.vector_lanes),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self._config
        m.submodules.mask = mask = Mask(config)
        m.submodules.drain = drain = Drain(config)
        m.submodules.operands = operands = DelayLine(32 * config.vector_lanes, config.drain_front_cycles)
        seen = detour(m, mask.seen, ADD_CYCLES, skip=self.online, name="seen_early")
        seen = delay(m, seen, score_cycles(config, online=True) - 1 - MASK_CYCLES, name="seen")
        m.d.sync += self.seen.eq(seen)
        m.d.comb += [
            *(getattr(mask, name).eq(getattr(self, name)) for name in MASK_INPUTS),
            drain.acc.eq(self.acc),
            drain.scale.eq(self.key_scale),
            drain.value.eq(self.operand),
            drain.from_value.eq(self.from_value),
            drain.row.eq(Mux(self.from_value, ONE, self.row_scale)),
            operands.i.eq(self.operand),
        ]
        for lane in range(config.vector_lanes):
            m.submodules[f"plus_{lane}"] = plus = Add()
            m.d.comb += [
                plus.a.eq(drain.o[lane]),
                plus.b.eq(Mux(self.additive, operands.o.word_select(lane, 32), MINUS_ZERO)),
            ]
            score = Mux(self.online, drain.o[lane], plus.o)
            m.d.sync += self.t[lane].eq(Mux(seen[lane], score, MINUS_INFINITY))
        return m
