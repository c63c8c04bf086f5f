"""Two units at one port of one bank are told, and no others are."""

from __future__ import annotations

from amaranth import Cat, Signal, Value

from ...arch.config import PRESETS, Memory, Unit
from ...hw.memories import BankedMemory
from .engine import Design
from .registry import proof


@proof("banks", "nano")
@proof("banks, base", "base", slow=True)
def banks(name: str) -> Design:
    """VALUE with three readers and two writers, each of any address in any cycle."""
    d = Design(free_memories=True)
    config, memory = PRESETS[name], Memory.VALUE
    bits = config.word_bits(memory)
    readers, writers = (Unit.VECTOR, Unit.STORE, Unit.NORM), (Unit.LOAD, Unit.VECTOR)
    component = d.place(BankedMemory(config, memory, dict.fromkeys(readers, bits), dict.fromkeys(writers, bits)))
    low = (config.bank_words(memory) - 1).bit_length()

    def meets(one: Unit, other: Unit, kind: str) -> Value:
        a, b = (getattr(component, f"{kind}_{unit.name.lower()}") for unit in (one, other))
        return a.en & b.en & (a.address[low:] == b.address[low:])

    involved = Signal(8)
    for unit in Unit:
        met = [meets(unit, other, kind) for kind, users in (("read", readers), ("write", writers))
               if unit in users for other in users if other is not unit]  # fmt: skip
        if unit < 8:
            d.m.d.comb += involved[unit].eq(Cat(met).any() if met else 0)
    came = d.register(1, "came", 1)
    then = d.register(8, "involved_then", involved)
    d.properties |= {
        "two units at one port of one bank are told a cycle later, and only they": ~came | (
            component.conflict_units == then
        ),
        "whether there are any is told": ~came | (component.conflict == then.any()),
    }
    d.covers |= {"three readers at one bank": then == sum(1 << unit for unit in readers)}
    return d
