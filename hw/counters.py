"""Performance counters: what a run did and how long units worked or waited. All are of 32 bits and wrap.

    events ─► a short counter for each ────────────┐
                                                   + ─ register ─► value
    turn ────► RAM, a word for each ──── register ─┘ │
                ▲────────────────────────────────────┘

Each has a word in a RAM, and a few bits of its own, which count until its turn comes to be added to that word.
"""

from functools import reduce
from operator import or_

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.registers import Register
from .instructions import UNIT_MASK_BITS, UNITS
from .pipeline import delay
from .ram import Ram

REGISTERS = (  # that show counters
    Register.INSTRUCTIONS, Register.READ_BEATS, Register.WRITE_BEATS, Register.BUSY, Register.WAITING,
)  # fmt: skip
BITS = 32
NUMBER = range(32)
FIRST_TURN = 8  # no counter has a number below, and word 0 stays zero
VALUE_CYCLES = 3
MOST_WAIT = 63  # cycles from a turn of a counter to its next one, at most: of six, reads leave three


def number_of(register: int) -> int:
    """The number of the counter that a register shows: the place of the register."""
    return register // 4 % len(NUMBER)


class Counters(wiring.Component):
    """Counts events since `clear`, in the cycles in which `run` is up. Bit u of a mask is unit u.

    `instructions` counts the bits of `retired`; BUSY the cycles of `busy` (from start to retire, both counted), WAITING
    those of `starved` (nothing runs, and the next could start but for its tokens).

    `asks` for the counter `number` is up every sixth cycle at most, and `will_ask` in the two cycles before it.
    VALUE_CYCLES later `value` is what the counter held in the cycle before.
    """

    def __init__(self):
        super().__init__({
            "clear": In(1),
            "run": In(1),
            "retired": In(UNIT_MASK_BITS),
            "busy": In(UNIT_MASK_BITS),
            "starved": In(UNIT_MASK_BITS),
            "read_beat": In(1),
            "write_beat": In(1),
            "will_ask": In(1),
            "asks": In(1),
            "number": In(NUMBER),
            "value": Out(BITS),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.ram = ram = Ram(BITS, len(NUMBER), block=True)
        turn, first_round = Signal(NUMBER, init=FIRST_TURN), Signal(init=1)  # … of turns since the clear
        takes_turn, adds = Signal(), Signal()  # the word of a counter is read, and added to two cycles later
        chosen, place = Signal(NUMBER), Signal(NUMBER)  # the word that is read, that was two cycles ago
        is_fresh = Signal()  # it counts as zero
        word, total = Signal(BITS), Signal(BITS)
        m.d.comb += [
            takes_turn.eq(~self.will_ask & ~self.asks & ~self.clear),
            chosen.eq(Mux(self.asks, self.number, turn)),
            is_fresh.eq((first_round & (chosen >= turn)) | self.clear),
            ram.read_en.eq(1),
            ram.read_address.eq(Mux(is_fresh, 0, chosen)),
            adds.eq(delay(m, takes_turn, 2)),
            ram.write_mask.eq(adds),
            ram.write_address.eq(place),
            ram.write_data.eq(total),
        ]
        next_place = delay(m, chosen, 1)
        m.d.sync += [place.eq(next_place), word.eq(ram.read_data), self.value.eq(total)]
        with m.If(self.clear):
            m.d.sync += [word.eq(0), turn.eq(FIRST_TURN), first_round.eq(1)]
        with m.Elif(takes_turn):
            m.d.sync += turn.eq(turn + 1)
            with m.If(turn == NUMBER[-1]):
                m.d.sync += [turn.eq(FIRST_TURN), first_round.eq(0)]
        recent = []
        for number, event in self._events().items():
            is_chosen = Signal(name=f"chosen_{number}")
            m.d.sync += is_chosen.eq(next_place == number)
            recent.append(Mux(is_chosen, self._recent(m, number, event, adds & is_chosen), 0))
        m.d.comb += total.eq(word + reduce(or_, recent))
        return m

    def _events(self) -> dict[int, Value]:
        """Number of a counter → how much it counts in this cycle."""
        events: dict[int, Value] = {
            number_of(Register.INSTRUCTIONS): sum(self.retired[1:], self.retired[0])[: len(UNITS).bit_length()],
            number_of(Register.READ_BEATS): self.read_beat,
            number_of(Register.WRITE_BEATS): self.write_beat,
        }
        for unit in UNITS:
            events[number_of(Register.BUSY + 4 * unit)] = self.busy[unit]
            events[number_of(Register.WAITING + 4 * unit)] = self.starved[unit]
        return events

    def _recent(self, m: Module, number: int, event: Value, is_added: Value) -> Signal:
        """What counter `number` has counted since it was added to its word."""
        recent = Signal(range(MOST_WAIT * ((1 << len(event)) - 1) + 1), name=f"recent_{number}")
        counted = Mux(self.run, event, 0)
        with m.If(self.clear):
            m.d.sync += recent.eq(0)
        with m.Elif(is_added):
            m.d.sync += recent.eq(counted)
        with m.Else():
            m.d.sync += recent.eq(recent + counted)
        return recent
