"""The lanes of SOFTMAX: from masked scores to un-normalised probabilities, to codes.

    t ─ − greatest ─ exp2 ─ p ─ × value scale ─ q ─ × multiplier ─ round ─ codes

A pipeline that never stalls; each row number joins its group where it is needed, so no score waits in a buffer.
"""

from amaranth import Module, Mux, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import ADD_CYCLES, MULTIPLY_CYCLES, TABLE_CYCLES, HardwareConfig
from .float import ZERO, Add, Exp2, Multiply, negate
from .pipeline import delay
from .quantise import CodeLanes

P_CYCLES = ADD_CYCLES + TABLE_CYCLES  # from a score to p
Q_CYCLES = P_CYCLES + MULTIPLY_CYCLES  # from a score to q


class Probabilities(wiring.Component):
    """p = exp2(t − greatest), q = p · value_scale, codes = int8(q · multiplier), or bf16(q) for bf16 PEs.

    `t`, `seen` and `greatest` of a group come in one cycle, a group every cycle if need be. `p` is valid P_CYCLES
    later and takes its `value_scale` then; `q` is valid Q_CYCLES later and takes the `multiplier` of its row then;
    `codes` are valid `quantise_cycles` − 1 after `q`. Numbers are the bits of float32.

    Lanes that are not `seen` come with t = −inf. Their p is 0 since `greatest` is not −inf (where it is NaN, so is the
    sum of the row, whatever they add), their q and codes are 0 whatever the scales.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        floats = data.ArrayLayout(unsigned(32), config.vector_lanes)
        super().__init__({
            "t": In(floats),
            "seen": In(config.vector_lanes),
            "greatest": In(32),
            "value_scale": In(floats),
            "multiplier": In(32),
            "p": Out(floats),
            "q": Out(floats),
            "codes": Out(config.code_bits * config.vector_lanes),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.code_lanes = code_lanes = CodeLanes(self._config)
        seen = delay(m, self.seen, Q_CYCLES, name="q_seen")
        for lane in range(self._config.vector_lanes):
            m.submodules[f"minus_{lane}"] = minus = Add()
            m.submodules[f"exp2_{lane}"] = exp2 = Exp2()
            m.submodules[f"times_{lane}"] = times = Multiply()
            m.d.comb += [
                minus.a.eq(self.t[lane]),
                minus.b.eq(negate(self.greatest)),
                exp2.a.eq(minus.o),
                self.p[lane].eq(exp2.o),
                times.a.eq(exp2.o),
                times.b.eq(self.value_scale[lane]),
                # Beyond `columns` the value scale may be anything, and 0 · infinity is no zero.
                self.q[lane].eq(Mux(seen[lane], times.o, ZERO)),
            ]
        # A zero gets code 0 whatever the multiplier is.
        m.d.comb += [
            code_lanes.value.eq(self.q),
            code_lanes.multiplier.eq(self.multiplier),
            self.codes.eq(code_lanes.o),
        ]
        return m
