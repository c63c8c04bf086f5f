"""The systolic array: rows × columns weight-stationary PEs, with the skew of their operands and sums.

Activations enter at the left, row r delayed by r cycles; weights and sums move down, column c delayed by c. Loading is
hidden: weight row r moves down one PE a cycle, and the `capture` token of its tile at half that speed, so that the two
meet in PE row r. There the weight waits in the shadow register for the `swap` token that runs ahead of the activations.
Both tokens move right with the activations. (Kung, "Why systolic architectures?", 1982, for the array.)
"""

from amaranth import Module, Value
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
        rows, columns = self._config.rows, self._config.columns
        grid = [[Pe(self._config.pe) for _ in range(columns)] for _ in range(rows)]
        for r in range(rows):
            for c in range(columns):
                m.submodules[f"pe_{r}_{c}"] = shared(platform, grid[r][c], f"heddle_pe_{self._config.pe}")
            self._feed_from_left(m, grid[r], r)
        for c in range(columns):
            self._feed_from_above(m, [row[c] for row in grid], c)
            m.d.comb += self.sums[c].eq(delay(m, grid[-1][c].sum_out, columns - 1 - c, f"sum_{c}"))
        return m

    def _feed_from_left(self, m: Module, row: list[Pe], r: int) -> None:
        activation: Value = delay(m, self.activations[r], r, f"activation_{r}")
        swap = delay(m, self.swap, r, f"swap_{r}")
        capture = delay(m, self.capture, 2 * r, f"capture_{r}")
        for pe in row:
            m.d.comb += [pe.activation_in.eq(activation), pe.swap_in.eq(swap), pe.capture_in.eq(capture)]
            activation, swap, capture = pe.activation_out, pe.swap_out, pe.capture_out

    def _feed_from_above(self, m: Module, column: list[Pe], c: int) -> None:
        weight: Value = delay(m, self.weights[c], c, f"weight_{c}")
        total: Value | int = 0
        for pe in column:
            m.d.comb += [pe.weight_in.eq(weight), pe.sum_in.eq(total)]
            weight, total = pe.weight_out, pe.sum_out
