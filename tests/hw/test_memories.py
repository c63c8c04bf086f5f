"""Banked memories: words go where their address says, parts by mask, and two units in one bank port are noticed."""

import random
from collections import deque
from dataclasses import replace

import numpy as np
import pytest
from amaranth.sim import Simulator
from heddle.arch.config import PRESETS, Memory, Unit
from heddle.hw.memories import BankedMemory, mask_bits

CONFIG = replace(PRESETS["nano"], rows=3, columns=5, vector_lanes=1, act_words=64, weight_words=64, acc_words=64,
                 value_words=64, param_words=64, row_words=64, index_words=64)  # fmt: skip
READERS = {
    Memory.ACT: [Unit.MATRIX, Unit.STORE],
    Memory.PARAM: [Unit.VECTOR, Unit.SOFTMAX, Unit.NORM, Unit.STORE],
    Memory.ACC: [Unit.MATRIX, Unit.VECTOR, Unit.SOFTMAX],
    Memory.ROW: [Unit.VECTOR, Unit.SOFTMAX],
    Memory.INDEX: [Unit.LOAD],
}
WRITERS = {
    Memory.ACT: [Unit.LOAD, Unit.VECTOR, Unit.SOFTMAX],
    Memory.PARAM: [Unit.LOAD, Unit.VECTOR],
    Memory.ACC: [Unit.MATRIX],
    Memory.ROW: [Unit.VECTOR, Unit.SOFTMAX],
    Memory.INDEX: [Unit.LOAD],
}


class Bench:
    """A memory with ports driven from a list: per cycle, {port name: (address[, mask, data])}."""

    def __init__(self, memory: Memory):
        bits = CONFIG.word_bits(memory)
        self.memory = BankedMemory(
            CONFIG, memory, dict.fromkeys(READERS[memory], bits), dict.fromkeys(WRITERS[memory], bits)
        )
        self.read_cycles = CONFIG.read_cycles(memory)
        self.units = {f"read_{u.name.lower()}" for u in READERS[memory]}

    def run(self, cycles: list[dict[str, tuple]]) -> list[dict]:
        """For each cycle (and one more): the units in conflict, and what the reads of the cycle before gave, whenever
        that is."""
        seen: list[dict] = []

        async def bench(ctx):
            before, wait = {}, self.read_cycles - 1
            for cycle, accesses in enumerate([*cycles, *[{}] * self.read_cycles]):
                for name in before.keys() | accesses.keys():
                    port = getattr(self.memory, name)
                    ctx.set(port.en, name in accesses)
                    for member, value in zip(("address", "mask", "data"), accesses.get(name, ()), strict=False):
                        ctx.set(getattr(port, member), value)
                units = ctx.get(self.memory.conflict_units)
                assert ctx.get(self.memory.conflict) == (units != 0)
                seen.append({"units": units})
                for name in cycles[cycle - 1 - wait] if cycle > wait else ():
                    if name in self.units:
                        seen[cycle - wait][name] = ctx.get(getattr(self.memory, name).data)
                before = accesses
                await ctx.tick()

        simulator = Simulator(self.memory)
        simulator.add_clock(1e-9)
        simulator.add_testbench(bench)
        simulator.run()
        return seen[: len(cycles) + 1]


def test_write_is_seen_by_the_next_read_and_not_by_the_same_cycle():
    word = 0x112233
    seen = Bench(Memory.ACT).run([
        {"write_load": (17, 7, word), "read_store": (17,)}, {"read_store": (17,)}, {"read_matrix": (17,)},
    ])  # fmt: skip
    assert [each.get("read_store") for each in seen] == [None, 0, word, None]
    assert seen[3]["read_matrix"] == word


def test_mask_selects_elements():
    seen = Bench(Memory.ACT).run([
        {"write_load": (3, 0b111, 0xAABBCC)}, {"write_load": (3, 0b010, 0x112233)}, {"read_store": (3,)},
    ])  # fmt: skip
    assert seen[3]["read_store"] == 0xAA22CC


def test_mask_of_param_selects_halves_of_a_pair():
    assert mask_bits(CONFIG, Memory.PARAM) == 2 * CONFIG.columns
    everything, data = (1 << 10) - 1, int.from_bytes(bytes(range(40)), "little")
    seen = Bench(Memory.PARAM).run([
        {"write_load": (0, everything, data)}, {"write_vector": (0, 0b1000, 0)}, {"read_norm": (0,)},
    ])  # fmt: skip
    expected = bytes(0 if 12 <= i < 16 else i for i in range(40))
    assert seen[3]["read_norm"] == int.from_bytes(expected, "little")


@pytest.mark.parametrize("memory", READERS)
def test_random_accesses_without_conflicts(memory):
    """All ports at once in different banks, against a plain array."""
    numbers = np.random.default_rng(memory)
    banks, words, bits = CONFIG.banks(memory), CONFIG.bank_words(memory), CONFIG.word_bits(memory)
    part = bits // mask_bits(CONFIG, memory)
    model, cycles, expected = [0] * CONFIG.words(memory), [], []
    for _ in range(300):
        accesses, read, updates = {}, {}, {}
        for unit, bank in zip(READERS[memory], numbers.permutation(banks), strict=False):
            address = int(bank * words + numbers.integers(min(4, words)))
            if numbers.random() < 0.7:
                accesses[f"read_{unit.name.lower()}"] = (address,)
                read[f"read_{unit.name.lower()}"] = model[address]
        for unit, bank in zip(WRITERS[memory], numbers.permutation(banks), strict=False):
            address = int(bank * words + numbers.integers(min(4, words)))
            mask = int(numbers.integers(1 << bits // part))
            data = int.from_bytes(numbers.bytes(-(-bits // 8)), "little")
            if numbers.random() < 0.7:
                accesses[f"write_{unit.name.lower()}"] = (address, mask, data)
                keep = sum(((1 << part) - 1) << i * part for i in range(bits // part) if not mask >> i & 1)
                updates[address] = (model[address] & keep) | (data & ~keep)
        for address, value in updates.items():
            model[address] = value
        cycles.append(accesses)
        expected.append(read)
    for seen, read in zip(Bench(memory).run(cycles)[1:], expected, strict=True):
        assert seen == {"units": 0, **read}


def test_every_word_has_its_own_place():
    cycles = [{"write_matrix": (a, 31, 1000 + a)} for a in range(64)] + [{"read_softmax": (a,)} for a in range(64)]
    seen = Bench(Memory.ACC).run(cycles)
    assert [each["read_softmax"] for each in seen[65:]] == [1000 + a for a in range(64)]


BANK = 16  # words in a bank of 64 words


@pytest.mark.parametrize("accesses,units", [
    ({"read_matrix": (0,), "read_vector": (1,)}, {Unit.MATRIX, Unit.VECTOR}),
    ({"read_matrix": (BANK,), "read_vector": (BANK - 1,), "read_softmax": (2 * BANK - 1,)},
     {Unit.MATRIX, Unit.SOFTMAX}),
    ({"read_matrix": (5,), "read_vector": (5,), "read_softmax": (5,)}, {Unit.MATRIX, Unit.VECTOR, Unit.SOFTMAX}),
    ({"read_matrix": (0,), "read_vector": (BANK,), "read_softmax": (2 * BANK,)}, set()),
    ({"read_vector": (0,), "write_matrix": (0, 31, 0)}, set()),  # one reads, one writes
    ({"read_matrix": (0,), "write_matrix": (0, 31, 0)}, set()),
])  # fmt: skip
def test_conflicts_of_acc(accesses, units):
    seen = Bench(Memory.ACC).run([{}, accesses, {}])
    assert [each["units"] for each in seen] == [0, 0, sum(1 << unit for unit in units), 0]


def test_writers_in_one_bank_are_in_conflict_even_with_disjoint_masks():
    seen = Bench(Memory.ROW).run([{"write_vector": (1, 1, 0), "write_softmax": (2, 0, 0)}])
    assert seen[1]["units"] == 1 << Unit.VECTOR | 1 << Unit.SOFTMAX


# -- ports of a part of a word -----------------------------------------------------------------------------------------

FOUR = replace(CONFIG, name="four", rows=4, columns=4)
PARTS = [
    # memory, machine, bits of each reader, of each writer, words of the RAM that a word is kept in
    (Memory.PARAM, FOUR, {Unit.VECTOR: 128, Unit.KV: 64, Unit.STORE: 32}, {Unit.LOAD: 32, Unit.VECTOR: 32}, 2),
    (Memory.PARAM, FOUR, {Unit.VECTOR: 64, Unit.STORE: 32}, {Unit.LOAD: 64}, 4),
    (Memory.PARAM, CONFIG, {Unit.VECTOR: 64, Unit.STORE: 32}, {Unit.LOAD: 32, Unit.KV: 64}, 1),
    (Memory.VALUE, FOUR, {Unit.VECTOR: 32, Unit.STORE: 32}, {Unit.NORM: 32}, 2),
    (Memory.VALUE, CONFIG, {Unit.VECTOR: 16, Unit.STORE: 32}, {Unit.NORM: 16, Unit.LOAD: 32}, 1),
    (Memory.ACC, FOUR, {Unit.MATRIX: 128, Unit.VECTOR: 64}, {Unit.MATRIX: 128}, 1),
    (Memory.ACT, CONFIG, {Unit.MATRIX: 24, Unit.STORE: 32}, {Unit.VECTOR: 8, Unit.LOAD: 32}, 1),
]


@pytest.mark.parametrize("memory, config, readers, writers, folds", PARTS)
def test_ports_of_a_part_of_a_word(memory, config, readers, writers, folds):
    """Random accesses, each in a bank of its own, against a list of whole words."""
    chooser, banked = random.Random(f"{memory} {config.name} {readers}"), BankedMemory(config, memory, readers, writers)
    width, banks, words = config.word_bits(memory), config.banks(memory), config.bank_words(memory)
    grain = width // mask_bits(config, memory)
    assert banked.folds == folds
    model = [0] * config.words(memory)

    async def bench(ctx):
        expected = deque([[]] * (config.read_cycles(memory) - 1))  # what is read, until it is there
        for _ in range(500):
            used, updates = chooser.sample(range(banks), banks), []
            now = []
            for kind, units in (("read", readers), ("write", writers)):
                for unit, bank in zip(units, used, strict=False):
                    port, bits = getattr(banked, f"{kind}_{unit.name.lower()}"), units[unit]
                    address, part = bank * words + chooser.randrange(2), chooser.randrange(-(-width // bits))
                    ctx.set(port.en, 1)
                    ctx.set(port.address, address)
                    piece = (1 << bits) - 1 << part * bits & (1 << width) - 1
                    if kind == "read":
                        ctx.set(port.part, part)
                        now.append((port.data, (model[address] & piece) >> part * bits))
                        continue
                    data = chooser.getrandbits(bits)
                    mask = sum(1 << bit for bit in range(width // grain)
                               if piece >> bit * grain & 1 and chooser.random() < 0.8)  # fmt: skip
                    ctx.set(port.mask, mask)
                    ctx.set(port.data, data)
                    chosen = sum((1 << grain) - 1 << bit * grain for bit in range(width // grain) if mask >> bit & 1)
                    updates.append((address, chosen, data << part * bits))
            for data, value in expected.popleft() if len(expected) == config.read_cycles(memory) else ():
                assert ctx.get(data) == value
            for address, chosen, data in updates:
                model[address] = (model[address] & ~chosen) | (data & chosen)
            expected.append(now)
            await ctx.tick()
        assert ctx.get(banked.conflict) == 0

    simulator = Simulator(banked)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
