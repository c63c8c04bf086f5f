"""What VECTOR begins with: values, or sums of the array, which are integers. Codes of more than one digit leave a panel
of sums for each place, the highest first.

    acc ─ + ─┬─ float ─┬─ x
          ▲  │         │
          └──┘ ·256    │
    value ─ rounded ───┘

The panels of a group come in cycles on end, so one adder a lane serves for all.
"""

from amaranth import Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import SOURCE_CYCLES, SUM_BITS, HardwareConfig
from .float import ConvertSum, entered, resized
from .pipeline import delay


class Planes(wiring.Component):
    """o = value if `from_value` else acc, or acc·256 + acc' of two cycles on end, or (acc·256 + acc')·256 + acc'' of
    three, SOURCE_CYCLES after the last: `first` is up with the first.

    `from_value` holds still while groups are under way. `value` is as VALUE holds it, `acc` the bits of what the array
    makes, with bf16 PEs a float32, of which there is one only. `o` has the format of vector arithmetic.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        lanes = config.vector_lanes
        super().__init__({
            "acc": In(data.ArrayLayout(unsigned(32), lanes)),
            "value": In(data.ArrayLayout(unsigned(config.value_bits), lanes)),
            "from_value": In(1),
            "first": In(1),
            "o": Out(data.ArrayLayout(unsigned(config.vector_bits), lanes)),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self._config
        for lane, (acc, value, o) in enumerate(zip(self.acc, self.value, self.o, strict=True)):
            value = resized(m, value, 32)
            if config.pe == "bf16":
                m.d.comb += o.eq(self._later(m, Mux(self.from_value, value, acc), lane))
            else:
                m.d.comb += o.eq(Mux(self.from_value, self._later(m, value, lane), self._converted(m, acc, lane)))
        return m

    def _later(self, m: Module, x: Value, lane: int) -> Value:
        name = f"value_{lane}"
        return delay(m, entered(m, x, self._config, name), SOURCE_CYCLES - 1, name, reset_less=True)

    def _converted(self, m: Module, acc: Value, lane: int) -> Value:
        total = Signal(signed(SUM_BITS), name=f"total_{lane}", reset_less=True)
        m.d.sync += total.eq(acc.as_signed() + (Mux(self.first, 0, total) << 8))
        m.submodules[f"convert_{lane}"] = convert = ConvertSum(self._config.precision)
        m.d.comb += convert.a.eq(total)
        return convert.o
