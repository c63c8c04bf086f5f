"""hw/scalars.py against `Instruction.resolved` of arch/isa, bit for bit, whatever registers and fields hold."""

import random
from dataclasses import replace

import pytest
from amaranth import Array, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from heddle.arch.config import SCALAR_COUNT
from heddle.arch.encoding import decode, encode, encoding
from heddle.arch.isa import INSTRUCTIONS, Append, Guard, Instruction, Matmul, OnlineSoftmax, Part, Stream
from heddle.hw.decode import Decode
from heddle.hw.instructions import UNITS
from heddle.hw.scalars import ADJUSTED, Adjust, Replace, ScalarFile

from ..machines import NANO, ODD

WIDE = replace(NANO, name="wide", rows=256, columns=256)
LARGEST = (1 << 32) - 1
EDGES = [0, 1, 2, 4, 255, 256, 4095, 4096, 65_535, 65_536, 131_072, (1 << 20) - 1, 1 << 20, 1 << 31, LARGEST]


class Resolver(wiring.Component):
    """What becomes of the word `i` from its arrival to its queue."""

    def __init__(self, config):
        self._config = config
        super().__init__({"registers": In(32).array(SCALAR_COUNT), "i": In(256), "o": Out(256), "holds": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.decode = decode = Decode(self._config)
        m.submodules.adjust = adjust = Adjust(self._config)
        for unit in UNITS:
            m.submodules += (replacing := Replace(unit))
            m.d.comb += [replacing.i.eq(self.i), replacing.replacements.eq(replacing.packed(adjust.o))]
            with m.If(decode.o.units[unit]):
                m.d.comb += self.o.eq(replacing.o)
        with m.If(~decode.o.units.any()):
            m.d.comb += self.o.eq(self.i)
        m.d.comb += [
            decode.i.eq(self.i),
            *(scalar.eq(Array(self.registers)[number])
              for scalar, number in zip(decode.scalars, decode.numbers, strict=True)),
            adjust.adjustments.eq(decode.o.adjustments),
            self.holds.eq(adjust.holds),
        ]  # fmt: skip
        return m


def answers(config, cases: list[tuple[list[int], Instruction]]) -> list[tuple[bytes, int]]:
    """(word, holds) for each (registers, instruction)."""
    block, seen = Resolver(config), []

    async def bench(ctx):
        held = [0] * SCALAR_COUNT
        for registers, instruction in cases:
            for number, value in enumerate(registers):
                if value != held[number]:
                    ctx.set(block.registers[number], value)
            held = registers
            ctx.set(block.i, int.from_bytes(encode(instruction), "little"))
            seen.append((ctx.get(block.o).to_bytes(32, "little"), ctx.get(block.holds)))

    simulator = Simulator(block)
    simulator.add_testbench(bench)
    simulator.run()
    return seen


def without_registers(work: Instruction) -> Instruction:
    """The same but for the numbers of registers, which no unit looks at."""
    return replace(work, **{name: 0 for name in encoding(type(work)) if name.endswith("register")})


def resolved(config, registers: dict[int, int], instruction: Instruction) -> Instruction:
    """What the block makes of one instruction."""
    ((word, _),) = answers(config, [([registers.get(n, 0) for n in range(SCALAR_COUNT)], instruction)])
    return without_registers(decode(word))


def random_instruction(kind: type[Instruction], chooser: random.Random) -> Instruction:
    """Any bits in every field, often small or at the ends of its range."""
    values = {}
    for name, (_, field) in encoding(kind).items():
        low, high = (-(1 << field.bits - 1), (1 << field.bits - 1) - 1) if field.signed else (0, (1 << field.bits) - 1)
        low = max(low, field.least) if field.least else low
        number = chooser.choice(
            [low, high, max(low, 0), min(high, 1), chooser.randint(low, high), min(high, chooser.randint(1, 9))]
        )
        values[name] = chooser.choice(list(field.kind)) if field.kind and field.kind is not float else number
        if name.endswith("register") and chooser.random() < 0.7:
            values[name] = chooser.randrange(1, SCALAR_COUNT)
    return kind(**values)


def test_every_instruction_that_names_a_register_is_known():
    named = {each for each in INSTRUCTIONS if any(name.endswith("register") for name in encoding(each))}
    assert named == {Guard, *ADJUSTED}


def test_registers_keep_parts_of_words():
    registers, chooser, held = ScalarFile(2), random.Random(5), [0] * SCALAR_COUNT

    async def bench(ctx):
        for _ in range(300):
            number, mask, data = chooser.randrange(SCALAR_COUNT), chooser.getrandbits(4), chooser.getrandbits(32)
            for port, value in ((registers.number, number), (registers.mask, mask), (registers.data, data)):
                ctx.set(port, value)
            looked_up = [chooser.randrange(SCALAR_COUNT) for _ in range(2)]
            for port, value in zip(registers.numbers, looked_up, strict=True):
                ctx.set(port, value)
            assert [ctx.get(value) for value in registers.values] == [held[each] for each in looked_up]
            keep = sum(255 << 8 * byte for byte in range(4) if not mask >> byte & 1)
            held[number] = (held[number] & keep) | (data & ~keep)
            await ctx.tick()

    simulator = Simulator(registers)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_tiles_by_registers():
    work = Matmul(n_tiles=9, k_tiles=7, n_register=3, n_offset=2, k_register=31)
    after = replace(work, n_register=0, k_register=0)
    assert resolved(NANO, {3: 6, 31: 5}, work) == replace(after, n_tiles=4, k_tiles=5)
    assert resolved(NANO, {3: 2, 31: 0}, work) == replace(after, n_tiles=1, k_tiles=1)  # at least one
    assert resolved(NANO, {3: 1, 31: 8}, work) == replace(after, n_tiles=1, k_tiles=7)  # never more than it says
    assert resolved(NANO, {3: LARGEST, 31: 1 << 31}, work) == after  # registers are unsigned


def test_columns_by_a_register():
    work = OnlineSoftmax(rows=3, columns=40, offset=-10, register=1, causal=1)
    assert resolved(NANO, {1: 17}, work) == replace(work, register=0, offset=7, columns=10)
    assert resolved(NANO, {1: 17}, replace(work, together=1)) == replace(
        work, register=0, together=1, offset=7, columns=8
    )
    assert resolved(NANO, {1: 0}, work) == replace(work, register=0, offset=-10, columns=1)
    assert resolved(NANO, {1: LARGEST}, work) == replace(work, register=0, offset=65_535, columns=40)


def test_places_in_the_cache_by_registers():
    append = Append(part=Part.VALUES, block=5, slot=1, block_register=1, slot_register=2)
    after = replace(append, block_register=0, slot_register=0)
    assert resolved(NANO, {1: 10, 2: 2}, append) == replace(after, block=15, slot=3)
    assert resolved(NANO, {1: LARGEST, 2: LARGEST}, append) == replace(after, block=(1 << 20) - 1, slot=3)
    assert resolved(WIDE, {1: 1 << 20, 2: 253}, append) == replace(after, block=(1 << 20) - 1, slot=254)
    stream = Stream(blocks=6, first=3, first_register=1, count_register=2, count_offset=1)
    after = replace(stream, first_register=0, count_register=0)
    assert resolved(NANO, {1: 4, 2: 5}, stream) == replace(after, first=7, blocks=4)
    assert resolved(NANO, {1: LARGEST, 2: 0}, stream) == replace(after, first=(1 << 20) - 1, blocks=1)


def test_register_0_leaves_everything_as_it_stands():
    works = [Matmul(n_tiles=9, n_offset=3), OnlineSoftmax(rows=2, columns=9), Append(slot=2), Stream(blocks=3)]
    assert [decode(word) for word, _ in answers(ODD, [([0] * SCALAR_COUNT, work) for work in works])] == works


def test_a_guard_holds_above_its_threshold():
    cases = [(0, 0), (1, 0), (5, 5), (6, 5), (LARGEST, (1 << 20) - 1), (1 << 31, 0), ((1 << 20) - 1, (1 << 20) - 1)]
    guards = [([value] * SCALAR_COUNT, Guard(register=9, threshold=threshold)) for value, threshold in cases]
    assert [holds for _, holds in answers(NANO, guards)] == [value > threshold for value, threshold in cases]


@pytest.mark.parametrize("config", [NANO, ODD, WIDE], ids=lambda config: config.name)
def test_any_instruction_is_resolved_as_arch_says(config):
    chooser, cases = random.Random(config.name), []
    for _ in range(40):
        registers = [0, *(chooser.choice([*EDGES, chooser.getrandbits(32), chooser.randrange(300)])
                          for _ in range(SCALAR_COUNT - 1))]  # fmt: skip
        cases += [(registers, random_instruction(kind, chooser)) for kind in INSTRUCTIONS for _ in range(5)]
    for (registers, work), (word, holds) in zip(cases, answers(config, cases), strict=True):
        expected = without_registers(work.resolved(registers, config))
        assert without_registers(decode(word)) == expected, work
        if isinstance(work, Guard):
            assert holds == (registers[work.register] > work.threshold)
