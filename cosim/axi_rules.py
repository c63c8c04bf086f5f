"""Watches an AXI4 port and tells which rules were broken: those of the standard, and those the manual adds.

It sees both sides, so that a slave that misbehaves is not taken for a master that does.
"""

from enum import IntEnum

from amaranth import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import HardwareConfig
from ..hw.axi import ADDRESS_BITS, BOUNDARY_BYTES, FETCH_ID, ID_BITS, INCR, KV_ID, LOAD_ID, STORE_ID, axi4_signature
from ..hw.queue import Queue

CHANNELS = ("aw", "w", "b", "ar", "r")
IN_FLIGHT = 64  # bursts of one identifier: more than any unit has
IDENTIFIERS = 1 << ID_BITS


class Rule(IntEnum):
    """Bits of `broken`."""

    AW_DROPPED = 0  # VALID fell before READY came
    W_DROPPED = 1
    B_DROPPED = 2
    AR_DROPPED = 3
    R_DROPPED = 4
    AW_CHANGED = 5  # the payload changed before READY came
    W_CHANGED = 6
    B_CHANGED = 7
    AR_CHANGED = 8
    R_CHANGED = 9
    NOT_INCREMENTING = 10
    TOO_WIDE = 11  # a beat wider than the bus, or a write that is narrower
    MISALIGNED = 12  # an address that is not a multiple of a beat
    ACROSS_4_KIB = 13
    BEYOND_REGION = 14
    UNKNOWN_IDENTIFIER = 15
    LAST_MISPLACED = 16  # WLAST before, or not at, the last beat of the burst
    DATA_UNASKED = 17  # a write beat whose request has not been shown
    NO_STROBE = 18  # a write beat of no bytes
    TWO_REQUESTS = 19  # on both address channels in one cycle
    RESPONSE_REFUSED = 20  # RREADY or BREADY low: the machine takes every response at once
    READ_UNASKED = 21  # by the slave: a beat of no burst, RLAST misplaced, a response to no write
    READ_LAST_MISPLACED = 22
    RESPONSE_UNASKED = 23


class AxiRules(wiring.Component):
    """`broken` has a bit for each Rule, from the cycle after it was broken on until `forget`.

    All signals of the port are inputs. Bursts must lie in the `size_bytes` bytes from `base` on. `quiet`: nothing is in
    flight.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        self._members = axi4_signature(config).members
        super().__init__({
            "axi": Out(wiring.Signature({name: In(member.shape) for name, member in self._members.items()})),
            "base": In(ADDRESS_BITS),
            "size_bytes": In(ADDRESS_BITS),
            "forget": In(1),
            "broken": Out(len(Rule)),
            "quiet": Out(1),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        breaks = Signal(len(Rule))
        with m.If(self.forget):
            m.d.sync += self.broken.eq(0)
        with m.Else():
            m.d.sync += self.broken.eq(self.broken | breaks)
        axi = self.axi
        rules: dict[Rule, Value] = {}
        for number, channel in enumerate(CHANNELS):
            dropped, changed = self._unsteady(m, channel)
            rules |= {Rule(number): dropped, Rule(len(CHANNELS) + number): changed}
        rules |= self._bursts(m)
        writing, write_rules = self._writes(m)
        reading, read_rules = self._reads(m)
        rules |= write_rules | read_rules
        rules[Rule.TWO_REQUESTS] = axi.awvalid & axi.arvalid
        rules[Rule.RESPONSE_REFUSED] = (axi.rvalid & ~axi.rready) | (axi.bvalid & ~axi.bready)
        m.d.comb += [self.quiet.eq(~writing & ~reading), *(breaks[rule].eq(value) for rule, value in rules.items())]
        return m

    def _moves(self, channel: str) -> Value:
        return getattr(self.axi, f"{channel}valid") & getattr(self.axi, f"{channel}ready")

    def _unsteady(self, m: Module, channel: str) -> tuple[Value, Value]:
        """Whether what was offered in the cycle before, and not accepted, is gone or another."""
        valid = getattr(self.axi, f"{channel}valid")
        names = [name for name in self._members if _channel_of(name) == channel]
        payload = Cat(getattr(self.axi, name) for name in names)
        waits, offered = Signal(name=f"{channel}_waits"), Signal(len(payload), name=f"{channel}_offered")
        m.d.sync += [waits.eq(valid & ~self._moves(channel)), offered.eq(payload)]
        return waits & ~valid, waits & valid & (offered != payload)

    def _bursts(self, m: Module) -> dict[Rule, Value]:
        """What the address channels say of their bursts."""
        found: dict[Rule, list[Value]] = {}
        bus = (self._config.axi_bytes - 1).bit_length()
        for prefix, identifiers in (("aw", (STORE_ID, KV_ID)), ("ar", (FETCH_ID, LOAD_ID, KV_ID))):
            valid, address, length, size, burst, identifier = (
                getattr(self.axi, prefix + name) for name in ("valid", "addr", "len", "size", "burst", "id")
            )
            last_byte, block = Signal(ADDRESS_BITS + 1, name=f"{prefix}_last"), (BOUNDARY_BYTES - 1).bit_length()
            m.d.comb += last_byte.eq(address + ((length + 1) << size) - 1)
            broken = {
                Rule.NOT_INCREMENTING: burst != INCR,
                Rule.TOO_WIDE: (size != bus) if prefix == "aw" else (size > bus),
                Rule.MISALIGNED: (address & ((1 << size) - 1)) != 0,
                Rule.ACROSS_4_KIB: address[block:] != last_byte[block:],
                Rule.BEYOND_REGION: (address < self.base) | (last_byte >= self.base + self.size_bytes),
                Rule.UNKNOWN_IDENTIFIER: ~Cat(identifier == each for each in identifiers).any(),
            }
            for rule, value in broken.items():
                found.setdefault(rule, []).append(valid & value)
        return {rule: Cat(values).any() for rule, values in found.items()}

    def _writes(self, m: Module) -> tuple[Value, dict[Rule, Value]]:
        """Follows writes from the first cycle of their request to their response; whether any is under way."""
        axi = self.axi
        m.submodules.asked = asked = Queue(8 + ID_BITS, IN_FLIGHT)
        shown_before, beat = Signal(), Signal(8)
        length, identifier = asked.o[:8], asked.o[8:]
        moves, ends = Signal(), Signal()
        m.d.sync += shown_before.eq(axi.awvalid & ~axi.awready)
        m.d.comb += [
            asked.put.eq(axi.awvalid & ~shown_before),
            asked.i.eq(Cat(axi.awlen, axi.awid)),
            moves.eq(self._moves("w") & (asked.level != 0)),
            ends.eq(moves & (beat == length)),
            asked.take.eq(ends),
        ]
        with m.If(moves):
            m.d.sync += beat.eq(Mux(ends, 0, beat + 1))
        accepted = self._counts(m, "accepted", self._moves("aw"), axi.awid)
        given = self._counts(m, "given", ends, identifier)
        answerable = (accepted[axi.bid] != 0) & (given[axi.bid] != 0)
        offered = axi.wvalid
        return (asked.level != 0) | Cat(accepted).any() | Cat(given).any(), {
            Rule.LAST_MISPLACED: offered & (asked.level != 0) & (axi.wlast != (beat == length)),
            Rule.DATA_UNASKED: offered & (asked.level == 0),
            Rule.NO_STROBE: offered & (axi.wstrb == 0),
            Rule.RESPONSE_UNASKED: axi.bvalid & ~answerable,
        }

    def _counts(self, m: Module, name: str, more: Value, identifier: Value) -> Array:
        """For each identifier, how often `more` was up for it and a response has not come."""
        counts = Array(Signal(range(IN_FLIGHT + 1), name=f"{name}_{i}") for i in range(IDENTIFIERS))
        for i, count in enumerate(counts):
            m.d.sync += count.eq(count + (more & (identifier == i)) - (self._moves("b") & (self.axi.bid == i)))
        return counts

    def _reads(self, m: Module) -> tuple[Value, dict[Rule, Value]]:
        """Follows the reads of each identifier; whether any is under way."""
        axi = self.axi
        levels, lengths, beats = [], Array(), Array(Signal(8, name=f"beat_{i}") for i in range(IDENTIFIERS))
        for i in range(IDENTIFIERS):
            m.submodules[f"reads_{i}"] = reads = Queue(8, IN_FLIGHT)
            mine = self._moves("r") & (axi.rid == i) & (reads.level != 0)
            m.d.comb += [
                reads.put.eq(self._moves("ar") & (axi.arid == i)),
                reads.i.eq(axi.arlen),
                reads.take.eq(mine & (beats[i] == reads.o)),
            ]
            with m.If(mine):
                m.d.sync += beats[i].eq(Mux(reads.take, 0, beats[i] + 1))
            levels.append(reads.level)
            lengths.append(reads.o)
        asked = Array(levels)[axi.rid] != 0
        last = beats[axi.rid] == lengths[axi.rid]
        return Cat(levels).any(), {
            Rule.READ_UNASKED: axi.rvalid & ~asked,
            Rule.READ_LAST_MISPLACED: axi.rvalid & asked & (axi.rlast != last),
        }


def _channel_of(name: str) -> str:
    """The channel whose payload a signal belongs to; of VALID and READY, none."""
    channel = next(each for each in ("aw", "ar", "w", "b", "r") if name.startswith(each))
    return "" if name in (f"{channel}valid", f"{channel}ready") else channel


def names_of(broken: int) -> list[str]:
    """The names of the rules whose bits are set."""
    return [rule.name.lower().replace("_", " ") for rule in Rule if broken >> rule & 1]
