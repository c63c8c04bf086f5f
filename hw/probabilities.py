"""The lanes of SOFTMAX: from masked scores to un-normalised probabilities, to codes.

    t ─ 2^(t − greatest) ─ p ─ × value scale ─ q ─ × multiplier ─┬─ round ─ codes
                                                                 └─ values

A pipeline that never stalls; each row number joins its group where it is needed, so no score waits in a buffer.
"""

from amaranth import Module, Mux, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import MULTIPLY_CYCLES, POWER_CYCLES, HardwareConfig
from .float import Multiply
from .pipeline import delay
from .power import Power, Reference
from .quantise import CodeLanes

Q_CYCLES = POWER_CYCLES + MULTIPLY_CYCLES  # from a score to q


class Probabilities(wiring.Component):
    """p = 2^(t − greatest), q = p · value_scale, codes = int8(q · multiplier), or bf16(q) for bf16 PEs, and values =
    q · multiplier in the format of VALUE.

    `t` and `hidden` of a group, scores of arch/scores.py, come in one cycle, a group every cycle if need be, the
    `greatest` of its row REFERENCE_CYCLES before. `p` is valid POWER_CYCLES later and takes its `value_scale` then; `q`
    is valid Q_CYCLES later and takes the `multiplier` of its row then; `codes` and `values` are valid `quantise_cycles`
    − 1 after `q`. Floats but scores have the format of vector arithmetic. Lanes that are `hidden` have a q and a code
    of 0 whatever the scales.

    If `of_row`, lane 0 makes `p` of `known` in place of its t.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        bits = config.vector_bits
        floats = data.ArrayLayout(unsigned(bits), config.vector_lanes)
        super().__init__({
            "t": In(data.ArrayLayout(unsigned(32), config.vector_lanes)),
            "hidden": In(config.vector_lanes),
            "greatest": In(32),
            "of_row": In(1),
            "known": In(32),
            "value_scale": In(floats),
            "multiplier": In(bits),
            "p": Out(floats),
            "q": Out(floats),
            "codes": Out(config.code_bits * config.vector_lanes),
            "values": Out(config.value_bits * config.vector_lanes),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self._config
        m.submodules.code_lanes = code_lanes = CodeLanes(config, products=True)
        m.submodules.reference = reference = Reference()
        m.d.comb += reference.greatest.eq(self.greatest)
        hidden = delay(m, self.hidden, Q_CYCLES, name="q_hidden", reset_less=True)
        for lane in range(config.vector_lanes):
            m.submodules[f"power_{lane}"] = power = Power(config)
            m.submodules[f"times_{lane}"] = times = Multiply(config.precision)
            m.d.comb += [
                power.t.eq(Mux(self.of_row, self.known, self.t[lane]) if lane == 0 else self.t[lane]),
                *(getattr(power, name).eq(getattr(reference, name)) for name in ("minus", "top", "shift", "unknown")),
                self.p[lane].eq(power.o),
                times.a.eq(power.o),
                times.b.eq(self.value_scale[lane]),
                # Beyond `columns` the value scale may be anything, and 0 · infinity is no zero.
                self.q[lane].eq(Mux(hidden[lane], 0, times.o)),
            ]
        # A zero gets code 0 whatever the multiplier is.
        m.d.comb += [
            code_lanes.value.eq(self.q),
            code_lanes.multiplier.eq(self.multiplier),
            self.codes.eq(code_lanes.o),
            self.values.eq(code_lanes.product),
        ]
        return m
