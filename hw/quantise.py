"""Row quantisation: the scale and multiplier of a row from its largest magnitude, and codes from values."""

from amaranth import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import MULTIPLY_CYCLES, TABLE_CYCLES, HardwareConfig
from ..arch.numerics import CODE_LIMIT, MAXIMUM_FLOOR, RECIPROCAL_OF_127, to_bits
from .float import Multiply, Reciprocal, RoundInt8
from .pipeline import delay


class RowScale(wiring.Component):
    """scale = a·(1/127) and multiplier = 127·rcp(a), a = max(greatest, 2⁻⁶⁰), as `numerics.row_scale`.

    Takes a magnitude (not negative) with `valid` every cycle; the results come with `o_valid` `row_scale_cycles` − 1
    later, to be written to a table in that cycle. Numbers are the bits of float32.
    """

    def __init__(self):
        super().__init__({
            "valid": In(1),
            "greatest": In(32),
            "o_valid": Out(1),
            "scale": Out(32),
            "multiplier": Out(32),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        floor = int(to_bits(MAXIMUM_FLOOR))
        a = Signal(32)
        # Magnitudes compare like integers, a NaN as the greatest.
        m.d.sync += a.eq(Mux(self.greatest > floor, self.greatest, floor))
        m.submodules.rcp = rcp = Reciprocal()
        m.submodules.times_127 = times_127 = Multiply()
        m.submodules.over_127 = over_127 = Multiply()
        m.d.comb += [
            rcp.a.eq(a),
            times_127.a.eq(rcp.o),
            times_127.b.eq(int(to_bits(CODE_LIMIT))),
            over_127.a.eq(a),
            over_127.b.eq(int(to_bits(RECIPROCAL_OF_127))),
            self.multiplier.eq(times_127.o),
            self.scale.eq(delay(m, over_127.o, TABLE_CYCLES, name="scale", reset_less=True)),
            self.o_valid.eq(delay(m, self.valid, 1 + TABLE_CYCLES + MULTIPLY_CYCLES, name="valid")),
        ]
        return m


class CodeLanes(wiring.Component):
    """o[lane] = int8(value[lane] · multiplier), like `numerics.quantise`, `quantise_cycles` − 1 later, each cycle."""

    def __init__(self, config: HardwareConfig):
        self._lanes = config.vector_lanes
        super().__init__({
            "value": In(data.ArrayLayout(unsigned(32), config.vector_lanes)),
            "multiplier": In(32),
            "o": Out(data.ArrayLayout(signed(8), config.vector_lanes)),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        for lane in range(self._lanes):
            m.submodules[f"times_{lane}"] = times = Multiply()
            m.submodules[f"round_{lane}"] = rounded = RoundInt8()
            m.d.comb += [
                times.a.eq(self.value[lane]),
                times.b.eq(self.multiplier),
                rounded.a.eq(times.o),
                self.o[lane].eq(rounded.o),
            ]
        return m
