"""On-chip memories: `banks` one-read one-write RAMs behind the ports of the units that use them.

Bank b holds words [b × bank_words, (b + 1) × bank_words), so the high bits of an address select the bank. Units reach
different banks in the same cycle without knowing of each other; that two of them never reach the same port of one
bank is the program's business, and is checked here at every access.
"""

from collections.abc import Mapping, Sequence

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import HardwareConfig, Memory, Unit
from .pipeline import delay
from .ram import Ram


def mask_bits(config: HardwareConfig, memory: Memory) -> int:
    """Bits of a write mask: one for each element, for PARAM one for each 32-bit half of a (scale, offset) pair."""
    return config.word_bits(memory) // _write_granularity(config, memory)


def read_signature(config: HardwareConfig, memory: Memory, bits: int | None = None) -> wiring.Signature:
    """A read port of `memory` as seen by the unit: `data` is valid `config.read_cycles` after `en` and `address`, and
    only then.

    A unit that uses a part of each word says how many `bits` (if not said, a word): `data` is number `part` of such
    parts, and zero beyond the word. To choose it together with its bank takes less than to throw the rest away after.
    """
    width = config.word_bits(memory)
    return wiring.Signature({
        "en": Out(1),
        "address": Out(address_bits(config, memory)),
        "part": Out(range(-(-width // (bits or width)))),
        "data": In(bits or width),
    })  # fmt: skip


def write_signature(config: HardwareConfig, memory: Memory, bits: int | None = None) -> wiring.Signature:
    """A write port of `memory` as seen by the unit: the parts of the word that `mask` selects are written with `en`,
    and seen by reads from the next cycle on.

    `data` are `bits` wide (if not said, a word), and stand in the word again and again. Where they are less than a
    word, `mask` selects within one of them.
    """
    return wiring.Signature({
        "en": Out(1),
        "address": Out(address_bits(config, memory)),
        "mask": Out(mask_bits(config, memory)),
        "data": Out(bits or config.word_bits(memory)),
    })  # fmt: skip


def address_bits(config: HardwareConfig, memory: Memory) -> int:
    """Bits of the address of a word: those of fields beyond them are ignored."""
    return (config.words(memory) - 1).bit_length()


def lane_bits(config: HardwareConfig, memory: Memory) -> int:
    """Bits of a group of V elements of a word."""
    return config.element_bits(memory) * config.vector_lanes


class BankedMemory(wiring.Component):
    """All banks of one memory, with a port `read_<unit>` for each reader and `write_<unit>` for each writer, of so many
    bits of data.

    `conflict` is up in the cycle after two units used the same port of the same bank, with `conflict_units` telling
    which units took part (bit u is unit u); what the accesses in conflict read or wrote is then undefined. Address bits
    beyond the memory are ignored. Words start as zeros. A word of which each access uses a part is kept in several
    words of a deeper RAM that is less wide. Where a read takes two cycles, behind each RAM stands a register, which
    block RAMs of an FPGA have: what chooses between banks, and the way to the unit, then have a cycle of their own.
    """

    def __init__(
        self, config: HardwareConfig, memory: Memory, readers: Mapping[Unit, int], writers: Mapping[Unit, int]
    ):  # fmt: skip
        self._config = config
        self._memory = memory
        self._read_cycles = config.read_cycles(memory)
        self._readers = tuple(readers)
        self._writers = tuple(writers)
        reads = {f"read_{unit.name.lower()}": In(read_signature(config, memory, bits))
                 for unit, bits in readers.items()}  # fmt: skip
        writes = {f"write_{unit.name.lower()}": In(write_signature(config, memory, bits))
                  for unit, bits in writers.items()}  # fmt: skip
        super().__init__({**reads, **writes, "conflict": Out(1), "conflict_units": Out(8)})

    def elaborate(self, platform) -> Module:
        m = Module()
        banks = self._config.banks(self._memory)
        readers = {unit: getattr(self, f"read_{unit.name.lower()}") for unit in self._readers}
        writers = {unit: getattr(self, f"write_{unit.name.lower()}") for unit in self._writers}
        folds = self.folds
        width = self._config.word_bits(self._memory) // folds
        conflicts: dict[Unit, list[Value]] = {unit: [] for unit in Unit}
        bank_data = []
        for bank in range(banks):
            m.submodules[f"bank_{bank}"] = ram = self._ram(width)
            bank_data.append(delay(m, ram.read_data, self._read_cycles - 1, f"bank_{bank}_data", reset_less=True))
            reads = {unit: self._selects(m, port, bank, f"{unit.name.lower()}_reads_{bank}")
                     for unit, port in readers.items()}  # fmt: skip
            writes = {unit: self._selects(m, port, bank, f"{unit.name.lower()}_writes_{bank}")
                      for unit, port in writers.items()}  # fmt: skip
            masks = {unit: Mux(writes[unit], _ored(port.mask, folds), 0) for unit, port in writers.items()}
            m.d.comb += [
                ram.read_en.eq(_any(reads.values())),
                ram.read_address.eq(_of_requester(reads, {
                    unit: Cat(_split_part(port, width)[1], port.address) for unit, port in readers.items()
                })),
                ram.write_address.eq(_of_requester(writes, {
                    unit: Cat(_fold_of_mask(port.mask, folds), port.address) for unit, port in writers.items()
                })),
                ram.write_mask.eq(_ored(Cat(masks.values()), len(masks))),
                ram.write_data.eq(_of_requester(writes, {
                    unit: port.data.replicate(-(-width // len(port.data)))[:width] for unit, port in writers.items()
                })),
            ]  # fmt: skip
            for requests in (reads, writes):
                for unit, request in requests.items():
                    others = _any(other for name, other in requests.items() if name is not unit)
                    conflicts[unit].append(request & others)
        for unit, port in readers.items():
            m.d.comb += port.data.eq(self._read(m, port, bank_data, unit.name.lower()))
        involved = Cat(_any(conflicts[Unit(bit)]) if bit in conflicts else Const(0, 1) for bit in range(8))
        m.d.sync += [self.conflict_units.eq(involved), self.conflict.eq(involved.any())]
        return m

    def _ram(self, width: int) -> Ram:
        depth = self._config.bank_words(self._memory) * self.folds
        return Ram(width, depth, _write_granularity(self._config, self._memory))

    @property
    def folds(self) -> int:
        """In how many words of its RAM a word is kept, one behind the other: as many as no access uses two of."""
        width = self._config.word_bits(self._memory)
        ports = [getattr(self, name) for name in self.signature.members if name.startswith(("read_", "write_"))]
        counts = [width // len(port.data) for port in ports]
        exact = all(count & (count - 1) == 0 and count * len(port.data) == width
                    for count, port in zip(counts, ports, strict=True))  # fmt: skip
        return min(counts) if exact else 1

    def _read(self, m: Module, port, bank_data: list[Value], name: str) -> Value:
        """What the last read gave: an and-or multiplexer, for half of what a tree of them takes."""
        bits = len(port.data)
        part, _ = _split_part(port, len(bank_data[0]))
        found: list[Value] = []
        for bank, word in enumerate(bank_data):
            for place in range(-(-len(word) // bits)):
                chosen = (self._bank_of(port.address) == bank) & (part == place)
                chosen = delay(m, chosen, self._read_cycles, f"{name}_{bank}_{place}", reset_less=True)
                found.append(Mux(chosen, word[place * bits : (place + 1) * bits], 0))
        return _disjunction(found)

    def _bank_of(self, address: Value) -> Value:
        low = (self._config.bank_words(self._memory) - 1).bit_length()
        high = address_bits(self._config, self._memory)
        return Value.cast(address[low:high])

    def _selects(self, m: Module, port, bank: int, name: str) -> Signal:
        """Whether the access at `port` goes to `bank`."""
        selects = Signal(name=name)
        m.d.comb += selects.eq(port.en & (self._bank_of(port.address) == bank))
        return selects


def _write_granularity(config: HardwareConfig, memory: Memory) -> int:
    return 32 if memory is Memory.PARAM else config.element_bits(memory)


def _split_part(port, width: int) -> tuple[Value, Value]:
    """The part that `port` reads: its place in a word of the RAM, and which of the words that is."""
    bits = (-(-width // len(port.data)) - 1).bit_length()
    return port.part[:bits], port.part[bits:]


def _fold_of_mask(mask: Value, folds: int) -> Value:
    """Which of `folds` equal pieces of `mask` is not zero, of which there is one at most."""
    size = len(mask) // folds
    used = [mask[fold * size : (fold + 1) * size].any() for fold in range(folds)]
    return Cat(
        _any(each for fold, each in enumerate(used) if fold >> bit & 1) for bit in range((folds - 1).bit_length())
    )


def _ored(mask: Value, pieces: int) -> Value:
    """The disjunction of the equal `pieces` of a mask."""
    size = len(mask) // pieces
    return _disjunction([mask[start : start + size] for start in range(0, len(mask), size)])


def _disjunction(values: Sequence[Value]) -> Value:
    """All of them, or-ed bit by bit: in pairs, for Amaranth takes no expression that is hundreds of levels deep."""
    if len(values) == 1:
        return values[0]
    middle = len(values) // 2
    return _disjunction(values[:middle]) | _disjunction(values[middle:])


def _any(values) -> Value:
    return Cat(values).any()


def _of_requester(requests: dict[Unit, Signal], values: dict[Unit, Value]) -> Value:
    """The value of the unit that requests; if none does, of any."""
    *others, last = values
    chosen = values[last]
    for unit in others:
        chosen = Mux(requests[unit], values[unit], chosen)
    return chosen
