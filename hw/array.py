"""The systolic array: rows × columns weight-stationary PEs, with the skew of their operands and sums.

Activations enter at the left, row r delayed by r additions; weights and sums move down, column c delayed by c cycles.
Loading is hidden: weights move down a PE in some cycles, and the `capture` token of their tile in one more, so that
weight row r, which comes r cycles after the token, meets it in PE row r. There the weight waits in the shadow register
for the `swap` token that runs ahead of the activations. Both tokens move right with the activations. (Kung, "Why
systolic architectures?", 1982, for the array.)

The `swap` of a row is `array_add_cycles` later than that of the row above, so tokens of the next tile must go down no
faster, or they would take the shadow of a weight that is still to be used: capture takes max(2, `array_add_cycles`) a
row. With int8 that is 2, and weights move down by one register of the PE; with bf16 it is 4, and between two PEs stand
two registers more.
"""

from amaranth import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import HardwareConfig
from .pe import FORMATS, Pe
from .pipeline import delay
from .verilog import shared


class Array(wiring.Component):
    """sums[c] = Σ_r activations[r] · weight[r][c], `config.array_cycles` after the activations; a row every cycle.

    Weight row 0 of a tile comes at t with `capture`, row r at t + r. `swap` comes one cycle ahead of the first
    activations that use the tile: at t + rows or later, and no later than the `capture` of the next tile.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        pe = FORMATS[config.pe]
        super().__init__({
            "activations": In(data.ArrayLayout(pe.operand, config.rows)),
            "swap": In(1),
            "weights": In(data.ArrayLayout(pe.operand, config.columns)),
            "capture": In(1),
            "sums": Out(data.ArrayLayout(pe.sum, config.columns)),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        pe, columns, row_cycles = self._config.pe, self._config.columns, self._config.array_add_cycles
        capture_cycles = max(2, row_cycles)
        rows = [PeRow(columns, pe) for _ in range(self._config.rows)]
        for r, row in enumerate(rows):
            m.submodules[f"row_{r}"] = shared(platform, row, f"heddle_pe_row_{pe}_{columns}")
            m.d.comb += [
                row.activation.eq(delay(m, self.activations[r], r * row_cycles, f"activation_{r}")),
                row.swap.eq(delay(m, self.swap, r * row_cycles, f"swap_{r}")),
                row.capture.eq(delay(m, self.capture, r * capture_cycles, f"capture_{r}")),
            ]
        for r, (above, below) in enumerate(zip(rows, rows[1:], strict=False)):
            weights = delay(m, above.weights_out, capture_cycles - 2, f"weights_{r}", reset_less=True)
            m.d.comb += [below.weights_in.eq(weights), below.sums_in.eq(above.sums_out)]
        for c in range(columns):
            m.d.comb += rows[0].weights_in[c].eq(delay(m, self.weights[c], c, f"weight_{c}"))
            m.d.comb += self.sums[c].eq(delay(m, rows[-1].sums_out[c], columns - 1 - c, f"sum_{c}"))
        return m


class PeRow(wiring.Component):
    """One row of PEs: activations and tokens enter at column 0, weights and sums at every column from above."""

    def __init__(self, columns: int, pe: str = "int8"):
        self._pe = pe
        self._columns = columns
        operands = data.ArrayLayout(FORMATS[pe].operand, columns)
        sums = data.ArrayLayout(FORMATS[pe].sum, columns)
        super().__init__({
            "activation": In(FORMATS[pe].operand),
            "swap": In(1),
            "capture": In(1),
            "weights_in": In(operands),
            "weights_out": Out(operands),
            "sums_in": In(sums),
            "sums_out": Out(sums),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        activation, swap, capture = self.activation, self.swap, self.capture
        for c in range(self._columns):
            pe = Pe(self._pe)
            m.submodules[f"pe_{c}"] = shared(platform, pe, f"heddle_pe_{self._pe}")
            m.d.comb += [
                pe.activation_in.eq(activation),
                pe.swap_in.eq(swap),
                pe.capture_in.eq(capture),
                pe.weight_in.eq(self.weights_in[c]),
                self.weights_out[c].eq(pe.weight_out),
                pe.sum_in.eq(self.sums_in[c]),
                self.sums_out[c].eq(pe.sum_out),
            ]
            activation, swap, capture = pe.activation_out, pe.swap_out, pe.capture_out
        return m
