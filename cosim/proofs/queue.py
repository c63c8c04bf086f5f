"""Words leave a queue in the order in which they came, each once."""

from __future__ import annotations

from amaranth import Module, Mux, Signal

from ...hw.queue import Queue
from .engine import Design
from .registry import proof

WIDTH = 3


@proof("queue of 8", 8)
@proof("queue of 4", 4)
@proof("queue of 2", 2)
@proof("queue of 1", 1)
def queue(depth: int) -> Design:
    """One word is followed from the cycle in which it is put, whichever that is, until it is taken."""
    d = Design()
    component = Queue(WIDTH, depth)
    inside = component.elaborate(None)
    address, found = Signal(range(max(depth, 2))), Signal(WIDTH)
    if depth > 1:  # one more look into the words
        words = inside.submodules.words
        port, first = words.read_port(domain="comb"), words.read_ports[0].addr
        inside.d.comb += [port.addr.eq((first + address)[: len(first)]), found.eq(port.data)]
        full, empty = words.write_ports[0].addr == first, component.level == 0
        d.properties["places and level agree"] = (
            component.level[: len(first)] == (words.write_ports[0].addr - first)[: len(first)]
        )
        d.covers["it is full, and its places went round"] = full & ~empty & (first != 0)
    else:
        inside.d.comb += found.eq(component.o)
        d.covers["it is full"] = component.level == 1
    d.place(component, fragment=inside)
    d.assume(~(component.put & (component.level == depth)), ~(component.take & (component.level == 0)))
    _follow(d.m, d, component, address, found)
    count = Signal.like(component.level)
    d.m.d.sync += count.eq(Mux(component.clear, 0, count + component.put - component.take))
    d.properties["the level is what was put and not taken"] = component.level == count
    d.properties["never more words than there is room for"] = component.level <= depth
    return d


def _follow(m: Module, d: Design, component: Queue, address: Signal, found: Signal) -> None:
    chosen = d.any(1, "chosen")
    held, word, before = Signal(), Signal(WIDTH), Signal.like(component.level)
    m.d.comb += address.eq(before)
    with m.If(held & component.take):
        m.d.sync += [held.eq(before != 0), before.eq(before - 1)]
    with m.If(chosen & component.put & ~held):
        m.d.sync += [held.eq(1), word.eq(component.i), before.eq(component.level - component.take)]
    with m.If(component.clear):
        m.d.sync += held.eq(0)
    d.properties["a word stays until it is taken"] = ~held | (before < component.level)
    d.properties["a word stays what it is"] = ~held | (found == word)
    d.properties["the head is the word that came first"] = ~held | (before != 0) | (component.o == word)
    waited = d.register(1, "waited", held & (before != 0))
    d.covers["a word comes to the head"] = held & (before == 0) & (waited | (len(component.level) == 1))
