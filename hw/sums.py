"""Sums of VECTOR's Reduce: of each row, or of each lane, in float32.

An adder gives a sum SUM_CYCLES (5) after its operands. Groups come just as far apart, so one adder serves for four
lanes, one after the other, and a running sum is there again when the next number to add to it is.
"""

from amaranth import Module, Mux, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from ..arch.config import SUM_CYCLES, SUM_LANES, HardwareConfig
from .float import ZERO, LateAdd, resized
from .pipeline import delay, register


class Sums(wiring.Component):
    """Takes groups of V numbers in the format of vector arithmetic, exactly SUM_CYCLES apart, with `valid`; in each of
    the cycles after, every number is one lane further down in `data`.

    o = the sum of a row as `numerics.running_row_sum`, with `o_valid`, `running_sum_cycles` after its `last` group. Or
    if they are to stay `apart`: `sums` are those of all that each lane has had since `first`, `lane_sum_cycles` after
    the group. `first` and `last` count only with `valid`.

    The additions of a group are those of the tree over lanes and that to the running sum: V, in the order in which
    they need each other. The adders take them in the first cycles in this order: of the first two lanes of every four
    and those V/2 above, then what is left of the tree, last the running sum.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        self._lanes = config.vector_lanes
        super().__init__({
            "valid": In(1),
            "first": In(1),
            "last": In(1),
            "apart": In(1),
            "data": In(ArrayLayout(unsigned(config.vector_bits), self._lanes)),
            "o_valid": Out(1),
            "o": Out(32),
            "sums": Out(ArrayLayout(unsigned(32), self._lanes)),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        lanes, count = self._lanes, self._config.sum_adders
        phase, next_phase = Signal(range(SUM_CYCLES)), Signal(range(SUM_CYCLES))
        first, held = Signal(), Signal()
        m.d.comb += [phase.eq(Mux(self.valid, 0, next_phase)), first.eq(Mux(self.valid, self.first, held))]
        m.d.sync += [next_phase.eq(Mux(phase == SUM_CYCLES - 1, 0, phase + 1)), held.eq(first)]
        begins = self._config.running_sum_cycles - SUM_CYCLES  # with the sum over lanes of a group
        fresh = delay(m, self.valid & self.first, begins, "fresh")
        m.d.comb += self.o_valid.eq(delay(m, self.valid & self.last & ~self.apart, begins + SUM_CYCLES, "ends"))

        adders = [LateAdd() for _ in range(count)]
        found = [self._history(m, add.o, f"sum_{number}") for number, add in enumerate(adders)]
        *tree, (last, (x, total)) = self._operations(m, found).items()
        operations = dict([*tree, (last, (x, Mux(fresh, ZERO, total)))])
        for number, add in enumerate(adders):
            m.submodules[f"adder_{number}"] = add
            with m.If(self.apart):
                m.d.comb += [add.a.eq(self._lane(m, SUM_LANES * number)), add.b.eq(Mux(first, ZERO, add.o))]
            with m.Else(), m.Switch(phase):
                for (cycle, of), (a, b) in operations.items():
                    if of == number:
                        with m.Case(cycle):
                            m.d.comb += [add.a.eq(a), add.b.eq(b)]
        m.d.comb += self.o.eq(total)
        for lane, total in enumerate(self.sums):
            number, cycle = divmod(lane, SUM_LANES)
            m.d.comb += total.eq(found[number][min(lanes, SUM_LANES) - 1 - cycle])
        return m

    def _history(self, m: Module, total: Value, name: str) -> list[Value]:
        """A sum as it is, and as it was one, two … cycles ago."""
        history = [total]
        while len(history) < min(self._lanes, SUM_LANES):
            history.append(register(m, history[-1], f"{name}_{len(history)}"))
        return history

    def _lane(self, m: Module, place: int) -> Value:
        return resized(m, self.data[place], 32)

    def _operations(self, m: Module, found: list[list[Value]]) -> dict[tuple[int, int], tuple[Value, Value]]:
        """(cycle, adder) → what is added up there, the running sum last. Level by level each takes the sums of two that
        stand half a level apart on the level before, from the adder that had them SUM_CYCLES earlier or later."""
        lanes, count = self._lanes, len(found)
        taken: dict[tuple[int, int], tuple[Value, Value]] = {}
        level: list[tuple[int, int]] = []
        cycles = max(1, lanes // 2 // count)  # with each of which the lanes move down
        for pair in range(lanes // 2):
            number, cycle = divmod(pair, cycles)
            place = number * cycles
            taken[cycle, number] = self._lane(m, place), self._lane(m, place + lanes // 2)
            level.append((cycle, number))

        def earlier(at: tuple[int, int], source: tuple[int, int]) -> Value:
            return found[source[1]][at[0] - source[0]]

        while len(level) > 1:
            half = len(level) // 2
            pairs = list(zip(level[:half], level[half:], strict=True))
            level = [divmod(len(taken) + place, count) for place in range(half)]
            taken |= {at: (earlier(at, one), earlier(at, other))
                      for at, (one, other) in zip(level, pairs, strict=True)}  # fmt: skip
        last = divmod(len(taken), count)
        taken[last] = earlier(last, level[0]) if level else self._lane(m, 0), found[last[1]][0]
        return taken
