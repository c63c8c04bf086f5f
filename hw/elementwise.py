"""The datapath of VECTOR: from the operands of a group, as they come from memory, to its V values.

    acc ─ float32 ─┐
    value ─────────┴─ × scale ─ × row ─ + offset ─ activation ─ + or × operand ─ o

A pipeline that never stalls; steps that are not wanted pass the value on, so the latency is always the same.
"""

from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import ACTIVATION_CYCLES, ADD_CYCLES, MULTIPLY_CYCLES, HardwareConfig
from ..arch.isa import Activation, Combine
from .activation import ActivationLane, setting_of
from .delay_line import DelayLine
from .drain import Drain
from .float import ONE, Add, Multiply
from .pipeline import delay
from .verilog import shared

MINUS_ZERO = 0x8000_0000  # what a sum is given to leave the other operand as it is: −0 + −0 is −0


class Elementwise(wiring.Component):
    """o = activation(x · scale · row + offset) (+ or ·) operand, x = value if `from_value` else float32(acc).

    The operands of a group come in one cycle; `o` is valid `vector_map_cycles` − 1 later. The lower group of inputs
    says which steps are wanted (see `isa.VectorInstruction`), and holds still while groups are under way. Operands are
    bits as the memories hold them, subnormals and any NaN included; `o` is float32.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        floats = data.ArrayLayout(unsigned(32), config.vector_lanes)
        stored = data.ArrayLayout(unsigned(config.value_bits), config.vector_lanes)
        super().__init__({
            "acc": In(floats),
            "value": In(stored),
            "scale": In(floats),
            "offset": In(floats),
            "row": In(32),
            "operand": In(stored),
            "o": Out(floats),
            "from_value": In(1),
            "scaled": In(1),
            "row_scaled": In(1),
            "activation": In(Activation),
            "combine": In(Combine),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self._config
        m.submodules.drain = drain = Drain(config)
        m.d.comb += [
            drain.acc.eq(self.acc),
            drain.from_value.eq(self.from_value),
            drain.row.eq(Mux(self.row_scaled, self.row, ONE)),
        ]
        offset = delay(m, self.offset.as_value(), config.drain_front_cycles, name="offset", reset_less=True)
        operand_cycles = config.drain_front_cycles + ADD_CYCLES + ACTIVATION_CYCLES
        m.submodules.operands = operands = DelayLine(len(self.operand.as_value()), operand_cycles)
        m.d.comb += operands.i.eq(self.operand)
        setting = setting_of(m, self.activation)
        widen = 32 - config.value_bits  # a bf16 is the upper half of a float32
        for lane in range(config.vector_lanes):
            m.submodules[f"plus_offset_{lane}"] = plus_offset = Add()
            function = ActivationLane()
            m.submodules[f"activation_{lane}"] = shared(platform, function, "heddle_activation")
            m.submodules[f"plus_operand_{lane}"] = plus = Add()
            m.submodules[f"times_operand_{lane}"] = times = Multiply()
            lane_operand = Signal(32, name=f"operand_of_{lane}")
            product = delay(m, times.o, ADD_CYCLES - MULTIPLY_CYCLES, name=f"product_{lane}", reset_less=True)
            m.d.comb += [
                drain.value[lane].eq(self.value[lane] << widen),
                drain.scale[lane].eq(Mux(self.scaled, self.scale[lane], ONE)),
                plus_offset.a.eq(drain.o[lane]),
                plus_offset.b.eq(Mux(self.scaled, offset.word_select(lane, 32), MINUS_ZERO)),
                function.a.eq(plus_offset.o),
                function.setting.eq(setting),
                lane_operand.eq(operands.o.word_select(lane, config.value_bits) << widen),
                plus.a.eq(function.o),
                plus.b.eq(Mux(self.combine == Combine.ADD, lane_operand, MINUS_ZERO)),
                times.a.eq(function.o),
                times.b.eq(lane_operand),
                self.o[lane].eq(Mux(self.combine == Combine.MULTIPLY, product, plus.o)),
            ]
        return m
