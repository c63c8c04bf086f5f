"""What stands before one unit: its instruction queue, the rule of when the head starts, and the record of what runs.

    arrival  ─ word, index ────────────────────► RAM ─ next ─► head ─┐
    dispatch ─ wait, void, what becomes of it ─► queue ──────────────┴─ Replace ─► unit

A RAM answers in the next cycle, and late in it. So a word is written there as it arrives, and read before it is wanted:
the RAM always gives the word behind the head, which is in a register. What decides on the cycle of the start comes from
registers and a small queue.
"""

from amaranth import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import FETCH_BUFFER, INDEX_BITS, INSTRUCTION_BITS, HardwareConfig, Unit
from ..arch.encoding import encoding
from ..arch.isa import INSTRUCTIONS, Instruction
from .instructions import UNIT_MASK_BITS, fields_of
from .queue import Queue
from .ram import Ram
from .scalars import REPLACEMENTS, Replace

CYCLE_BITS = 40


def unit_signature() -> wiring.Signature:
    """The control ports of a unit, as seen by what starts it.

    `instruction` holds still from when it is the next one (but not before the second cycle after a start) until
    `start`, the cycle in which the unit takes it; `ready` says that it could, and never in the cycle after a start if
    another instruction may run beside that one; `retire` is up in the cycle of the retirement.
    """
    return wiring.Signature({
        "start": Out(1),
        "instruction": Out(INSTRUCTION_BITS),
        "ready": In(1),
        "retire": In(1),
    })  # fmt: skip


class Lane(wiring.Component):
    """Queue and bookkeeping of one `unit`.

    An instruction `arrives` as `word` with its place in the program. From DISPATCH_CYCLES later on, in a cycle in which
    `full` is low, it is `put`, in the same order, with what it waits for and what becomes of its fields. It may start
    from the next cycle on: when `run`, when the unit is ready, and when `tokens` says that what the head waits for
    (`wait`) is there. All units but LOAD and MATRIX start when the previous instruction has retired; these say
    themselves when. An instruction put with `void` never reaches the unit: it starts when nothing runs, and retires in
    the next cycle. At most FETCH_BUFFER have arrived and are not put.

    `starts`: the head starts in this cycle, `retires`: one retires. `index` and `started_at` are those of the oldest
    instruction that runs, and with `retires` of the one that retires, whose tokens go to `signal` in that cycle. While
    none runs, `index` stays that of the last one. `head_index` is that of the head of the queue, if there is one;
    `newest` that of the instruction that started last, from the cycle after its start on.
    `busy`: one runs, from its start to its retirement; `has_begun`: from the cycle after its start.
    `starved`: none runs, and one could start but for its tokens. `idle`: none runs, none is queued.
    """

    def __init__(self, config: HardwareConfig, unit: Unit):
        self._config = config
        self._unit = unit
        super().__init__({
            "clear": In(1),
            "run": In(1),
            "cycle": In(CYCLE_BITS),
            "arrives": In(1),
            "word": In(INSTRUCTION_BITS),
            "word_index": In(INDEX_BITS),
            "put": In(1),
            "waits": In(UNIT_MASK_BITS),
            "void": In(1),
            "replacements": In(REPLACEMENTS),
            "full": Out(1),
            "wait": Out(UNIT_MASK_BITS),
            "tokens": In(1),
            "signal": Out(UNIT_MASK_BITS),
            "unit": Out(unit_signature()),
            "starts": Out(1),
            "retires": Out(1),
            "index": Out(INDEX_BITS),
            "newest": Out(INDEX_BITS),
            "head_index": Out(INDEX_BITS),
            "started_at": Out(CYCLE_BITS),
            "busy": Out(1),
            "has_begun": Out(1),
            "starved": Out(1),
            "idle": Out(1),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        head, index, waiting = self._queue(m)
        running_depth = _power_of_two_at_least(_most_at_once(self._config, self._unit))
        m.submodules.running = running = Queue(UNIT_MASK_BITS + INDEX_BITS + CYCLE_BITS, running_depth)

        header = fields_of(Instruction, self.unit.instruction)
        startable, void_runs, void = Signal(), Signal(), Signal()
        # What decides on a start stands in registers. After one they follow a cycle late: none starts in that cycle.
        with m.If(self.put & (waiting.level == 0)):
            m.d.sync += [self.wait.eq(self.waits), void.eq(self.void)]
        with m.Else():
            m.d.sync += [self.wait.eq(head.wait), void.eq(head.void)]
        overlaps = ~void & ~void_runs if running_depth > 1 else 0
        m.d.comb += [
            startable.eq((waiting.level != 0) & self.unit.ready & (overlaps | (running.level == 0)) & self.run),
            self.starts.eq(startable & self.tokens),
            self.retires.eq(self.unit.retire | void_runs),
            self.unit.start.eq(self.starts & ~void),
            running.clear.eq(self.clear),
            running.put.eq(self.starts),
            running.i.eq(Cat(header.signal, index, self.cycle)),
            running.take.eq(self.retires),
        ]
        m.d.sync += void_runs.eq(self.starts & void)
        signal, oldest = running.o[:UNIT_MASK_BITS], running.o[UNIT_MASK_BITS:][:INDEX_BITS]
        with m.If(self.retires):
            m.d.comb += self.signal.eq(signal)
        if running_depth == 1:  # then what runs started last, and it stays in its register when it has retired
            m.d.comb += [self.index.eq(oldest), self.newest.eq(oldest)]
        else:
            last = Signal(INDEX_BITS)
            m.d.sync += last.eq(Mux(self.clear, 0, self.index))
            m.d.comb += self.index.eq(Mux(running.level != 0, oldest, last))
            with m.If(self.starts):
                m.d.sync += self.newest.eq(index)
        m.d.comb += [
            self.started_at.eq(running.o[UNIT_MASK_BITS + INDEX_BITS :]),
            self.head_index.eq(index),
            self.full.eq(waiting.level == self._config.queue_depth),
            self.has_begun.eq(running.level != 0),
            self.busy.eq(self.has_begun | self.starts),
            self.starved.eq(startable & ~self.tokens & (running.level == 0)),
            self.idle.eq((running.level == 0) & (waiting.level == 0)),
        ]
        return m

    def _queue(self, m: Module) -> tuple[data.View, Value, Queue]:
        """Keeps instructions until they start, and shows the head to the unit; returns what stands beside its word, its
        place in the program, and the queue of all that stands beside words."""
        m.submodules.replace = replace = Replace(self._unit)
        bits = used_bits(self._unit)
        beside = data.StructLayout({
            "wait": unsigned(UNIT_MASK_BITS),
            "void": unsigned(1),
            "replacements": replace.layout,
        })  # fmt: skip
        m.submodules.waiting = waiting = Queue(beside.size, self._config.queue_depth)
        put, head = Signal(beside, name="put_beside"), Signal(beside, name="head_beside")
        m.d.comb += [
            waiting.clear.eq(self.clear),
            waiting.put.eq(self.put),
            waiting.i.eq(put),
            waiting.take.eq(self.starts),
            head.eq(waiting.o),
            put.wait.eq(self.waits),
            put.void.eq(self.void),
            put.replacements.eq(replace.packed(self.replacements)),
        ]
        depth = _power_of_two_at_least(FETCH_BUFFER + self._config.queue_depth)
        m.submodules.words = words = Ram(bits + INDEX_BITS, depth, block=True)
        following, last, started = Signal(range(depth)), Signal(range(depth)), Signal()
        word = Signal(bits + INDEX_BITS)  # of the head, if there is one
        # A word becomes the head as it is put into an empty queue, or in the cycle after the start of the one before.
        taken = Mux(waiting.level == 0, self.put, started)
        m.d.sync += [started.eq(self.starts), last.eq(last + self.arrives), following.eq(following + taken)]
        with m.If(self.clear):
            m.d.sync += [following.eq(0), last.eq(0)]
        with m.If(started | (waiting.level == 0)):
            m.d.sync += word.eq(words.read_data)
        m.d.comb += [
            words.write_mask.eq(self.arrives),
            words.write_address.eq(last),
            words.write_data.eq(Cat(self.word[:bits], self.word_index)),
            words.read_en.eq(1),
            words.read_address.eq(following),
            replace.i.eq(word[:bits]),
            replace.replacements.eq(head.replacements),
            self.unit.instruction.eq(replace.o),
        ]
        return head, word[bits:], waiting


def used_bits(unit: Unit) -> int:
    """Bits of an instruction word that any instruction of `unit` has a field in: the rest need not be queued."""
    fields = [field for each in INSTRUCTIONS if each.unit is unit for field in encoding(each).values()]
    return max(position + field.bits for position, field in fields)


def _most_at_once(config: HardwareConfig, unit: Unit) -> int:
    """Instructions of a unit that may have started and not retired."""
    if unit is Unit.LOAD:
        # Those that have made all their requests run on until their data are there: at least one burst for each in
        # flight, one that retires, one that still makes requests.
        return config.load_outstanding + 2
    if unit is Unit.MATRIX:
        # One retires at most rows + 1 + matrix_drain_cycles after the next may start, and further ones start no sooner
        # than a tile's turnaround after each other.
        return 2 + (config.rows + config.matrix_drain_cycles) // config.tile_turnaround_cycles
    return 1


def _power_of_two_at_least(value: int) -> int:
    return 1 << (value - 1).bit_length()
