"""The event loop against a machine stepped clock by clock, written from docs/architecture.md in its own words."""

import random
from collections import defaultdict, deque
from dataclasses import replace

import pytest
from heddle.arch import isa
from heddle.arch.config import DISPATCH_CYCLES, PRESETS, DramConfig, Memory, Unit
from heddle.arch.isa import (
    Append,
    Axis,
    Codes,
    Combine,
    Guard,
    Halt,
    Load,
    Map,
    Masking,
    Matmul,
    Norm,
    NormKind,
    OnlineSoftmax,
    Part,
    Quantise,
    Reduce,
    Reduction,
    Results,
    Softmax,
    Source,
    Store,
    Stream,
)
from heddle.arch.kinds import sort_into_kinds
from heddle.compiler.synchronise import synchronise
from heddle.sim import units
from heddle.sim.dispatch import dispatched_kinds
from heddle.sim.engine import timing_of
from heddle.sim.machine import Machine
from heddle.sim.units import CYCLES

from ..machines import BF16, ODD

NANO = PRESETS["nano"]
SHORT = replace(ODD, queue_depth=2)
SMALL = PRESETS["small"]


class Stepped:
    """Registers that change once per clock: `self` holds registers, which a cycle reads, scheduling changes."""

    def __init__(self, config, instructions, dram, scalars=(0,) * 32):
        self.config, self.dram, self.scalars = config, dram, scalars
        self.groups = -(-len(instructions) // 8)
        self.addition = 1 if config.pe == "int8" else 4
        self.turnaround = max(config.rows, 4 + self.addition)
        self.instructions = [*instructions, *[Halt()] * (self.groups * 8 - len(instructions))]
        self.guarded, self.void = 0, set()  # instructions still to be made void, and those that are
        self.requested = self.dispatched = self.dram_free = 0
        self.arrived = {}  # instruction → cycle of its last beat
        self.queues = {unit: deque() for unit in Unit}
        self.executing = dict.fromkeys(Unit, 0)  # instructions under way
        self.tokens = defaultdict(int)
        self.later = defaultdict(list)  # cycle → changes of registers at its end
        self.halted = False
        # LOAD: bursts to request; cycles until the first of them has passed the gate, and then until the second has,
        # which counts from when the first has; bursts in flight
        self.load_bursts, self.load_setup, self.load_next, self.load_flight = deque(), 0, 0, 0
        # MATRIX: cycles until the rows of its tiles are through, and since then
        self.matrix_left, self.matrix_since = 0, 100
        self.void_runs = set()  # units in which a void instruction is under way
        # STORE: bursts to read, cycles left of the read under way, whole bursts to request, buffers in use
        self.store_unread, self.store_reading, self.store_ready, self.store_buffers = deque(), 0, deque(), 0
        # KV: the same
        self.kv_bursts, self.kv_setup, self.kv_next, self.kv_flight = deque(), 0, 0, 0
        self.trace = {}

    def run(self):
        for cycle in range(100_000):
            if self.halted and not any(self.queues.values()) and not any(self.executing.values()):
                return cycle
            if self.step(cycle):
                return cycle
            for change in self.later.pop(cycle, ()):
                change()
        raise AssertionError("deadlock")

    def at_end(self, cycle, change):
        self.later[cycle].append(change)

    def set(self, cycle, name, change):
        self.at_end(cycle, lambda: setattr(self, name, getattr(self, name) + change))

    def step(self, cycle):
        self.grant(cycle)
        self.matrix_left, self.matrix_since = max(self.matrix_left - 1, 0), self.matrix_since + (self.matrix_left == 0)
        for unit in Unit:
            self.start(unit, cycle)
        self.read_for_store(cycle)
        return self.dispatch(cycle)

    def dispatch(self, cycle):
        """True if a halt is dispatched into an idle machine: the run is over in this cycle."""
        index = self.dispatched
        here = self.arrived.get(index, cycle) + DISPATCH_CYCLES <= cycle
        if self.halted or index >= len(self.instructions) or not here:
            return False
        unit = self.instructions[index].unit
        if unit is None:
            self.set(cycle, "dispatched", 1)
            self.trace[index] = (cycle,)
            self.guarded = max(self.guarded - 1, 0)
            guard = self.instructions[index]
            if isinstance(guard, Guard):
                self.guarded = guard.count if self.scalars[guard.register] <= guard.threshold else 0
                return False
            self.at_end(cycle, lambda: setattr(self, "halted", True))
            return not any(self.queues.values()) and not any(self.executing.values())
        if len(self.queues[unit]) < self.config.queue_depth:
            self.instructions[index] = self.instructions[index].resolved(self.scalars, self.config)
            if self.guarded:
                self.void.add(index)
                self.guarded -= 1
            self.at_end(cycle, lambda: self.queues[unit].append(index))
            self.set(cycle, "dispatched", 1)
            self.trace[index] = (cycle,)
        return False

    def start(self, unit, cycle):
        if not self.queues[unit]:
            return
        index = self.queues[unit][0]
        instruction = self.instructions[index]
        alone = index in self.void or unit in self.void_runs or (isinstance(instruction, Load) and instruction.gather)
        if self.executing[unit] and (alone or not self.overlaps(unit, instruction)):
            return
        if not all(self.tokens[source, unit] for source in isa.units_in(instruction.wait)):
            return

        def begin():
            self.queues[unit].popleft()
            self.executing[unit] += 1
            for source in isa.units_in(instruction.wait):
                self.tokens[source, unit] -= 1
            if index in self.void:
                self.void_runs.add(unit)
                return
            if unit is Unit.MATRIX:
                tiles = instruction.k_tiles * instruction.n_tiles
                self.matrix_left, self.matrix_since = tiles * max(instruction.rows, self.turnaround), 0
            if instruction.dram:
                bursts = units.bursts(instruction, self.config)
                waiting = {Unit.LOAD: self.load_bursts, Unit.STORE: self.store_unread, Unit.KV: self.kv_bursts}[unit]
                waiting.extend((burst, index, place == len(bursts)) for place, burst in enumerate(bursts, 1))
            if unit is Unit.LOAD:
                self.load_setup, self.load_next = 9 if instruction.gather else 1, self.setup_of(self.load_bursts, 1)
            if unit is Unit.KV:  # Append: the item is read in s + 1; Stream: the page table in s + 1
                self.kv_setup, self.kv_next = 5, self.setup_of(self.kv_bursts, 1)

        self.at_end(cycle, begin)
        self.trace[index] += (cycle,)
        if index in self.void:
            self.retire(unit, index, cycle + 1)
            self.at_end(cycle + 1, lambda: self.void_runs.remove(unit))
        elif type(instruction) in CYCLES:
            self.retire(unit, index, cycle + units.cycles(instruction, self.config))

    def overlaps(self, unit, instruction):
        """Whether an instruction may start while one before it is under way."""
        if unit is Unit.MATRIX:  # a row of sums is written 2 cycles and those of an addition after it has been read
            return not self.matrix_left and self.matrix_since >= instruction.accumulate * (3 + self.addition)
        return unit is Unit.LOAD and not self.load_bursts

    def retire(self, unit, index, cycle):
        def end():
            self.executing[unit] -= 1
            for target in isa.units_in(self.instructions[index].signal):
                self.tokens[unit, target] += 1

        self.trace[index] += (cycle,)
        self.at_end(cycle, end)

    def read_for_store(self, cycle):
        """One beat per cycle into a buffer; a burst that is whole is requested two cycles after its last beat."""
        if not self.store_reading and self.store_unread and self.store_buffers < 2:
            self.store_buffers += 1
            self.store_reading = self.store_unread[0][0].beats
        if self.store_reading:
            self.store_reading -= 1
            if not self.store_reading:
                burst = self.store_unread.popleft()
                self.at_end(cycle + 2, lambda: self.store_ready.append(burst))

    def setup_of(self, bursts, place):
        """Cycles from the gate to the gate for what comes after: those of a lookup, where a piece begins."""
        if place >= len(bursts):
            return 0
        burst, index, _ = bursts[place]
        if isinstance(self.instructions[index], Append):
            return 5
        if isinstance(self.instructions[index], Stream):
            return 5 if burst.setup_cycles else 0
        return 9 if burst.setup_cycles else 0

    def grant(self, cycle):
        setup = self.load_setup
        if setup:
            self.load_setup -= 1
        else:
            self.load_next = max(self.load_next - 1, 0)
        kv_ready = self.kv_request(cycle)
        room = self.requested - self.dispatched <= 8 and self.requested < 8 * self.groups
        if cycle >= 1 and room:
            beat_bytes = min(32, self.config.axi_bytes)
            beats = self.serve(cycle, 256 // beat_bytes)
            for i in range(8):
                self.arrived[self.requested + i] = beats[(i + 1) * 32 // beat_bytes - 1]
            self.set(cycle, "requested", 8)
        elif self.store_ready:
            burst, index, final = self.store_ready[0]
            last = self.serve(cycle, burst.beats)[-1]
            self.at_end(cycle, self.store_ready.popleft)
            self.set(last, "store_buffers", -1)
            if final:
                self.retire(Unit.STORE, index, last + 2)
        elif kv_ready:
            self.grant_kv(cycle)
        elif self.load_bursts and not setup and self.load_flight < self.config.load_outstanding:
            burst, index, final = self.load_bursts[0]
            last = self.serve(cycle, burst.beats)[-1]
            self.set(cycle, "load_flight", 1)
            self.set(last, "load_flight", -1)
            if final:
                self.retire(Unit.LOAD, index, last + 1)

            def advance():
                self.load_bursts.popleft()
                self.load_setup, self.load_next = self.load_next, self.setup_of(self.load_bursts, 1)

            self.at_end(cycle, advance)

    def kv_request(self, cycle):
        """Whether KV has a request up in this cycle. Counts its setup: an Append needs a free place to read its item
        into, a Stream a burst that may be in flight at the time of the request."""
        if not self.kv_bursts:
            return False
        append = isinstance(self.instructions[self.kv_bursts[0][1]], Append)
        if self.kv_setup:
            if not append or self.kv_setup < 5 or self.kv_flight < 8:
                self.kv_setup -= 1
            return False
        if self.kv_next and (not append or self.kv_next < 5 or self.kv_flight + 1 < 8):
            self.kv_next -= 1
        return append or self.kv_flight < self.config.load_outstanding

    def grant_kv(self, cycle):
        burst, index, final = self.kv_bursts[0]
        instruction = self.instructions[index]
        append = isinstance(instruction, Append)
        last = self.serve(cycle, burst.beats)[-1]
        self.set(cycle, "kv_flight", 1)
        self.set(last, "kv_flight", -1)
        if final:
            keys = not append and instruction.part is Part.KEYS
            self.retire(Unit.KV, index, last + 2 if append else last + 1 + (self.config.columns + 1 if keys else 0))

        def advance():
            self.kv_bursts.popleft()
            self.kv_setup, self.kv_next = self.kv_next, self.setup_of(self.kv_bursts, 1)

        self.at_end(cycle, advance)

    def serve(self, grant, beats):
        first = max(grant + self.dram.latency_cycles, self.dram_free)
        self.dram_free = first + beats * self.dram.cycles_per_beat
        return range(first, self.dram_free, self.dram.cycles_per_beat)


def random_instruction(config, rng):
    """Something legal for `config`, small, anywhere."""
    rows, columns = rng.randint(1, 6), rng.randint(1, 3 * config.columns)
    words = -(-columns // config.columns)

    def address(memory, needed):
        return rng.randrange(config.words(memory) - needed)

    kind = rng.choice(["load", "load", "store", "matmul", "map", "quantise", "reduce", "softmax", "online", "norm",
                       "append", "stream", "guard"])  # fmt: skip
    if kind == "guard":
        return Guard(register=rng.randrange(4), threshold=rng.randrange(4), count=rng.randrange(5))
    if kind in ("append", "stream"):
        return kv_instruction(config, rng, kind)
    if kind in ("load", "store"):
        memory = rng.choice([Memory.ACT, Memory.WEIGHT, Memory.PARAM, Memory.VALUE])
        gather = kind == "load" and rng.random() < 0.3
        unit = config.burst_bytes if gather else config.axi_bytes
        common = dict(
            memory=memory, words=rng.randint(1, 9), segments=rng.randint(1, 4), stride=16, address=address(memory, 64),
            dram_address=unit * rng.randrange(1 << 8), dram_stride=unit * rng.randrange(1, 8),
        )  # fmt: skip
        return Load(**common, gather=gather) if kind == "load" else Store(**common)
    value = address(Memory.VALUE, 64)
    if kind == "matmul":
        return Matmul(rows=rows, k_tiles=rng.randint(1, 2), n_tiles=rng.randint(1, 2), act_stride=2, acc_stride=2,
                      act_address=address(Memory.ACT, 64), acc_address=address(Memory.ACC, 64),
                      weight_address=address(Memory.WEIGHT, 64), weight_stride=2 * config.rows,
                      accumulate=rng.randint(0, 1))  # fmt: skip
    if kind == "norm":
        return Norm(rows=rows, columns=columns, kind=rng.choice(list(NormKind)), source_address=value, address=value,
                    source_stride=words, stride=words, param_address=address(Memory.PARAM, 8))  # fmt: skip
    if kind == "online":
        return OnlineSoftmax(rows=rows, columns=columns, source_address=address(Memory.ACC, 64), source_stride=words,
                             address=address(Memory.ACT, 64), stride=8, state_address=16, scales_address=32,
                             row_address=48, first=rng.randint(0, 1), register=rng.randrange(4))  # fmt: skip
    if kind == "softmax":
        return Softmax(rows=rows, columns=columns, source_address=address(Memory.ACC, 64), source_stride=words,
                       address=address(Memory.ACT, 64), stride=8, scales_address=8,
                       mask=rng.choice([Masking.NONE, Masking.ADDITIVE]), operand_address=value,
                       operand_stride=words)  # fmt: skip
    common = dict(
        rows=rows, columns=columns, source=rng.choice(list(Source)), source_address=value, source_stride=words,
        combine=rng.choice(list(Combine)), operand_address=address(Memory.VALUE, 64), operand_stride=words,
    )  # fmt: skip
    if common["combine"] is Combine.ROTATE:
        common |= dict(columns=2 * config.columns, source=Source.VALUE, source_stride=2, operand_stride=4)
        words = 2
    elif common["source"] is Source.ACC:
        common["planes"] = rng.randrange(3)
    if kind == "reduce":
        given = rng.choice([
            dict(kind=Reduction.MAXIMUM, placed=1, index_address=rng.randrange(16)),
            dict(kind=Reduction.MINIMUM, count=rng.randint(1, columns), results=Results.VALUE, stride=4, address=1024),
            dict(kind=Reduction.SUM, results=Results.ROW, address=64),
            dict(kind=Reduction.SUM, axis=Axis.ROWS, results=Results.VALUE, address=1024),
        ])  # fmt: skip
        return Reduce(**common, **given)
    if kind == "map":
        return Map(**common, address=value, stride=words)
    return Quantise(**common, codes=rng.choice(list(Codes)), address=rng.randrange(256), stride=16)


def kv_instruction(config, rng, kind):
    unit = max(config.axi_bytes, 8)
    parts = [Part.VALUES, Part.PAIRS] if kind == "append" else list(Part)
    common = dict(
        part=rng.choice(parts), token_words=rng.randint(1, 3), address=rng.randrange(64), stride=64,
        dram_address=unit * rng.randrange(64), page_bytes=config.burst_bytes * rng.randrange(8),
        page_blocks=rng.randrange(3), pages=16,
    )  # fmt: skip
    if kind == "append":
        return Append(**common, tokens=rng.randint(1, 9), heads=rng.randint(1, 3), head_step=8, block=rng.randrange(4),
                      head_bytes=unit * rng.randrange(4), slot=rng.randrange(config.columns),
                      block_register=rng.randrange(4), slot_register=rng.randrange(4))  # fmt: skip
    return Stream(**common, blocks=rng.randint(1, 4), words=rng.randint(1, common["token_words"]),
                  first=rng.randrange(4), first_register=rng.randrange(4), count_register=rng.randrange(4),
                  count_offset=rng.randrange(3))  # fmt: skip


@pytest.mark.parametrize("config", [NANO, SHORT, SMALL, BF16], ids=lambda config: config.name)
@pytest.mark.parametrize("seed", range(16))
def test_every_cycle_agrees_with_a_machine_stepped_clock_by_clock(config, seed):
    rng = random.Random(seed)
    config = replace(config, queue_depth=rng.choice([2, 4, 8]), load_outstanding=rng.choice([1, 2, 4]))
    instructions = [random_instruction(config, rng) for _ in range(rng.choice([3, 7, 8, 30, 60]))]
    if seed % 2:  # otherwise nothing waits for anything: all units at once, which is timed although it is illegal
        instructions = synchronise(config, instructions)
    instructions = [*instructions, Halt()]
    dram = DramConfig(latency_cycles=rng.choice([1, 2, 7, 32, 100]), cycles_per_beat=rng.choice([1, 1, 2, 3]))
    scalars = [0, *[rng.randrange(6) for _ in range(31)]]
    stepped = Stepped(config, instructions, dram, scalars)
    cycles = stepped.run()
    timing = Machine(config, instructions, stepped.groups, dram, scalars).run()
    passages = zip(timing.dispatched, timing.start, timing.retire, strict=True)
    for index, (instruction, passage) in enumerate(zip(instructions, passages, strict=True)):
        expected = stepped.trace[index] if instruction.unit is not None else (stepped.trace[index][0], -1, -1)
        assert passage == expected, f"instruction {index}: {instruction}"
    assert timing.cycles == cycles
    work = dispatched_kinds(sort_into_kinds(instructions), scalars, config)
    assert timing_of(config, work, stepped.groups, dram) == timing, "the compiled loop"


def test_a_program_of_loads_and_stores_only_keeps_the_port_busy():
    rng = random.Random(99)
    instructions = []
    while len(instructions) < 100:
        each = random_instruction(NANO, rng)
        if isinstance(each, (Load, Store)):
            instructions.append(each)
    instructions = [*synchronise(NANO, instructions), Halt()]
    stepped = Stepped(NANO, instructions, NANO.dram)
    assert Machine(NANO, instructions, stepped.groups).run().cycles == stepped.run()
