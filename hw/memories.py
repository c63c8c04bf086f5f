"""On-chip memories: `banks` one-read one-write RAMs behind the ports of the units that use them.

Bank b holds words [b × bank_words, (b + 1) × bank_words), so the high bits of an address select the bank. Units reach
different banks in the same cycle without knowing of each other; that two of them never reach the same port of one
bank is the program's business, and is checked here at every access.
"""

from collections.abc import Sequence

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import HardwareConfig, Memory, Unit
from ..arch.isa import ADDRESS
from .ram import Ram


def mask_bits(config: HardwareConfig, memory: Memory) -> int:
    """Bits of a write mask: one for each element, for PARAM one for each 32-bit half of a (scale, offset) pair."""
    return config.word_bits(memory) // _write_granularity(config, memory)


def read_signature(config: HardwareConfig, memory: Memory) -> wiring.Signature:
    """A read port of `memory` as seen by the unit: `data` is valid one cycle after `en` and `address`."""
    return wiring.Signature({
        "en": Out(1),
        "address": Out(ADDRESS),
        "data": In(config.word_bits(memory)),
    })  # fmt: skip


def write_signature(config: HardwareConfig, memory: Memory) -> wiring.Signature:
    """A write port of `memory` as seen by the unit: the parts of `data` that `mask` selects are written with `en`,
    and seen by reads from the next cycle on."""
    return wiring.Signature({
        "en": Out(1),
        "address": Out(ADDRESS),
        "mask": Out(mask_bits(config, memory)),
        "data": Out(config.word_bits(memory)),
    })  # fmt: skip


class BankedMemory(wiring.Component):
    """All banks of one memory, with a port `read_<unit>` for each reader and `write_<unit>` for each writer.

    `conflict` is up in the cycle after two units used the same port of the same bank, with `conflict_units` telling
    which units took part (bit u is unit u); what the accesses in conflict read or wrote is then undefined. Address bits
    beyond the memory are ignored. Words start as zeros.
    """

    def __init__(
        self, config: HardwareConfig, memory: Memory, readers: Sequence[Unit] = (), writers: Sequence[Unit] = ()
    ):
        self._config = config
        self._memory = memory
        self._readers = tuple(readers)
        self._writers = tuple(writers)
        reads = {f"read_{unit.name.lower()}": In(read_signature(config, memory)) for unit in self._readers}
        writes = {f"write_{unit.name.lower()}": In(write_signature(config, memory)) for unit in self._writers}
        super().__init__({**reads, **writes, "conflict": Out(1), "conflict_units": Out(8)})

    def elaborate(self, platform) -> Module:
        m = Module()
        banks = self._config.banks(self._memory)
        readers = {unit: getattr(self, f"read_{unit.name.lower()}") for unit in self._readers}
        writers = {unit: getattr(self, f"write_{unit.name.lower()}") for unit in self._writers}
        conflicts: dict[Unit, list[Value]] = {unit: [] for unit in Unit}
        bank_data = []
        for bank in range(banks):
            m.submodules[f"bank_{bank}"] = ram = self._ram()
            bank_data.append(ram.read_data)
            reads = {unit: self._selects(m, port, bank, f"{unit.name.lower()}_reads_{bank}")
                     for unit, port in readers.items()}  # fmt: skip
            writes = {unit: self._selects(m, port, bank, f"{unit.name.lower()}_writes_{bank}")
                      for unit, port in writers.items()}  # fmt: skip
            m.d.comb += [
                ram.read_en.eq(_any(reads.values())),
                ram.read_address.eq(_choose(reads, {unit: port.address for unit, port in readers.items()})),
                ram.write_address.eq(_choose(writes, {unit: port.address for unit, port in writers.items()})),
                ram.write_mask.eq(_choose(writes, {unit: port.mask for unit, port in writers.items()})),
                ram.write_data.eq(_choose(writes, {unit: port.data for unit, port in writers.items()})),
            ]
            for requests in (reads, writes):
                for unit, request in requests.items():
                    others = _any(other for name, other in requests.items() if name is not unit)
                    conflicts[unit].append(request & others)
        for unit, port in readers.items():
            # The bank select travels with the read, one cycle behind the address.
            selected = Signal(range(banks), name=f"{unit.name.lower()}_bank")
            m.d.sync += selected.eq(self._bank_of(port.address))
            with m.Switch(selected):
                for bank, data in enumerate(bank_data):
                    with m.Case(bank):
                        m.d.comb += port.data.eq(data)
        involved = Cat(_any(conflicts[Unit(bit)]) if bit in conflicts else Const(0, 1) for bit in range(8))
        m.d.sync += [self.conflict_units.eq(involved), self.conflict.eq(involved.any())]
        return m

    def _ram(self) -> Ram:
        return Ram(self._config.word_bits(self._memory), self._config.bank_words(self._memory),
                   _write_granularity(self._config, self._memory))  # fmt: skip

    def _bank_of(self, address: Value) -> Value:
        low = (self._config.bank_words(self._memory) - 1).bit_length()
        high = (self._config.words(self._memory) - 1).bit_length()
        return Value.cast(address[low:high])

    def _selects(self, m: Module, port, bank: int, name: str) -> Signal:
        """Whether the access at `port` goes to `bank`."""
        selects = Signal(name=name)
        m.d.comb += selects.eq(port.en & (self._bank_of(port.address) == bank))
        return selects


def _write_granularity(config: HardwareConfig, memory: Memory) -> int:
    return 32 if memory is Memory.PARAM else config.element_bits(memory)


def _any(values) -> Value:
    return Cat(values).any()


def _choose(requests: dict[Unit, Signal], values: dict[Unit, Value]) -> Value:
    """The value of the unit that requests, or 0: an and-or multiplexer, for at most one requests."""
    chosen: Value = Const(0)
    for unit, request in requests.items():
        chosen = chosen | Mux(request, values[unit], 0)
    return chosen
