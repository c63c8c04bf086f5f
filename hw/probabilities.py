"""The lanes of SOFTMAX: from masked scores to un-normalised probabilities, to codes.

    t ─ − greatest ─ narrowed ─ exp2 ─ p ─ × value scale ─ q ─ × multiplier ─┬─ round ─ codes
                                                                             └─ values

A pipeline that never stalls; each row number joins its group where it is needed, so no score waits in a buffer.
"""

from amaranth import Module, Mux, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import MULTIPLY_CYCLES, HardwareConfig
from .fixed_function import Exp2
from .float import ZERO, Add, Multiply, narrowed, negate, upper
from .pipeline import delay
from .quantise import CodeLanes


def q_cycles(config: HardwareConfig) -> int:
    """From a score to q; `probability_cycles` are to p."""
    return config.probability_cycles + MULTIPLY_CYCLES


class Probabilities(wiring.Component):
    """p = exp2(t − greatest), q = p · value_scale, codes = int8(q · multiplier), or bf16(q) for bf16 PEs, and values =
    q · multiplier in the format of VALUE.

    `t`, `seen` and `greatest` of a group, float32, come in one cycle, a group every cycle if need be. `p` is valid
    `probability_cycles` later and takes its `value_scale` then; `q` is valid `q_cycles` later and takes the
    `multiplier` of its row then; `codes` and `values` are valid `quantise_cycles` − 1 after `q`. Numbers have the
    format of vector arithmetic if not said otherwise.

    Lanes that are not `seen` come with t = −inf. Their p is 0 since `greatest` is not −inf (where it is NaN, so is the
    sum of the row, whatever they add), their q and codes are 0 whatever the scales.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        bits = config.vector_bits
        floats = data.ArrayLayout(unsigned(bits), config.vector_lanes)
        super().__init__({
            "t": In(data.ArrayLayout(unsigned(32), config.vector_lanes)),
            "seen": In(config.vector_lanes),
            "greatest": In(32),
            "value_scale": In(floats),
            "multiplier": In(bits),
            "p": Out(floats),
            "q": Out(floats),
            "codes": Out(config.code_bits * config.vector_lanes),
            "values": Out(config.value_bits * config.vector_lanes),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        config, precision = self._config, self._config.precision
        m.submodules.code_lanes = code_lanes = CodeLanes(config, products=True)
        seen = delay(m, self.seen, q_cycles(config), name="q_seen")
        for lane in range(config.vector_lanes):
            m.submodules[f"minus_{lane}"] = minus = Add()
            m.submodules[f"exp2_{lane}"] = exp2 = Exp2(precision)
            m.submodules[f"times_{lane}"] = times = Multiply(precision)
            m.d.comb += [
                minus.a.eq(self.t[lane]),
                minus.b.eq(negate(self.greatest)),
                exp2.a.eq(narrowed(m, minus.o, config, f"difference_{lane}")),
                self.p[lane].eq(exp2.o),
                times.a.eq(exp2.o),
                times.b.eq(self.value_scale[lane]),
                # Beyond `columns` the value scale may be anything, and 0 · infinity is no zero.
                self.q[lane].eq(Mux(seen[lane], times.o, upper(ZERO, config.vector_bits))),
            ]
        # A zero gets code 0 whatever the multiplier is.
        m.d.comb += [
            code_lanes.value.eq(self.q),
            code_lanes.multiplier.eq(self.multiplier),
            self.codes.eq(code_lanes.o),
            self.values.eq(code_lanes.product),
        ]
        return m
