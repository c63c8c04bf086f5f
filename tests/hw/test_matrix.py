"""MATRIX against PyTorch's integer product, with bf16 PEs the oracle; in the cycles that docs/architecture.md gives."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from amaranth.sim import Simulator
from heddle.arch import numerics
from heddle.arch.config import MEMORY_CYCLES, HardwareConfig
from heddle.arch.encoding import encode
from heddle.arch.isa import Matmul
from heddle.hw.units.matrix import Matrix

from ..machines import ARRAY_5X3, NANO, ODD

SHAPES = {
    "nano": NANO,
    "3x5": ODD,
    "5x3": ARRAY_5X3,
    "3x3": replace(ODD, columns=3),
    "7x4": replace(ODD, rows=7, columns=4),
}
BF16 = {name: replace(SHAPES[name], pe="bf16") for name in ("nano", "3x5", "7x4")}


def duration(config: HardwareConfig, work: Matmul) -> int:
    """D of a Matmul, as docs/architecture.md gives it."""
    tiles, period = work.k_tiles * work.n_tiles, max(work.rows, config.tile_turnaround_cycles)
    return config.rows + 1 + (tiles - 1) * period + work.rows + config.matrix_drain_cycles


def start_to_start(config: HardwareConfig, before: Matmul, work: Matmul) -> int:
    """From the start of a Matmul to the first cycle in which `work` may start, as docs/architecture.md gives it."""
    occupied = before.k_tiles * before.n_tiles * max(before.rows, config.tile_turnaround_cycles)
    return occupied + (3 + (1 if config.pe == "int8" else 4)) * work.accumulate


class Memories:
    """ACT, WEIGHT and ACC as arrays of (words, elements), with what the unit did to them cycle by cycle."""

    def __init__(self, config: HardwareConfig, seed: int):
        random = np.random.default_rng(seed)
        self.config = config
        self.act = random.integers(-128, 128, (config.act_words, config.rows), dtype=np.int8)
        self.weight = random.integers(-128, 128, (config.weight_words, config.columns), dtype=np.int8)
        self.acc = random.integers(-(2**31), 2**31, (config.acc_words, config.columns), dtype=np.int32)
        if config.pe == "bf16":  # as bits
            self.act, self.weight = (
                (numerics.to_bits(numerics.to_bf16(random.normal(0, 1, words.shape))) >> 16).astype(np.uint16)
                for words in (self.act, self.weight)
            )
            self.acc = numerics.to_bits(random.normal(0, 1, self.acc.shape)).copy()
        self.reads: list[tuple[int, str, int]] = []  # cycle, memory, address
        self.writes: list[tuple[int, int]] = []  # cycle, address
        self.coming: list[list] = [[] for _ in range(MEMORY_CYCLES - 1)]  # what was read and is not there yet

    def run(self, programs: list[Matmul], gap: int | None = None, late: Sequence[int] = ()) -> list[SimpleNamespace]:
        """Execute `programs` on the RTL, each started `gap` cycles after the retire of the one before, or without it
        `late` cycles after the unit is ready for it. `ready` is when that was."""
        unit, records, cycle = Matrix(self.config), [], 0
        words = [int.from_bytes(encode(program), "little") for program in programs]
        limit = 10 + sum(2 * duration(self.config, each) + (gap or 0) for each in programs) + sum(late)

        async def processor(ctx):
            nonlocal cycle
            for cycle in range(1, limit):
                number, retired = len(records), [each for each in records if hasattr(each, "retire")]
                ctx.set(unit.start, 0)
                if number < len(programs):
                    ctx.set(unit.instruction, words[number])
                    ready = ctx.get(unit.ready)
                    if ready and first_ready[number] is None:
                        first_ready[number] = cycle
                    if gap is not None:
                        starts = len(retired) == number and (not number or cycle == retired[-1].retire + gap)
                        assert ready or not starts
                    else:
                        starts = ready and cycle >= first_ready[number] + (late[number] if late else 0)
                    if starts:
                        ctx.set(unit.start, 1)
                        records.append(SimpleNamespace(start=cycle, ready=first_ready[number]))
                if ctx.get(unit.retire):
                    records[len(retired)].retire = cycle
                accesses = self._accesses(ctx, unit, cycle)
                await ctx.tick()
                self._answer(ctx, unit, *accesses)
                if len(retired) == len(programs):
                    return
            raise AssertionError("the unit does not retire")

        first_ready: list[int | None] = [None] * len(programs)
        simulator = Simulator(unit)
        simulator.add_clock(1e-9)
        simulator.add_testbench(processor)
        simulator.run()
        return records

    def _accesses(self, ctx, unit, cycle: int):
        reads = []
        for name, port in (("act", unit.act_read), ("weight", unit.weight_read), ("acc", unit.acc_read)):
            if ctx.get(port.en):
                address = ctx.get(port.address)
                self.reads.append((cycle, name, address))
                reads.append((port, int.from_bytes(getattr(self, name)[address].tobytes(), "little")))
        self.coming.append(reads)
        write = None
        if ctx.get(unit.acc_write.en):
            assert ctx.get(unit.acc_write.mask) == (1 << self.config.columns) - 1
            address, value = ctx.get(unit.acc_write.address), ctx.get(unit.acc_write.data)
            self.writes.append((cycle, address))
            write = address, np.frombuffer(value.to_bytes(4 * self.config.columns, "little"), self.acc.dtype)
        return self.coming.pop(0), write

    def _answer(self, ctx, unit, reads, write) -> None:
        for port, value in reads:
            ctx.set(port.data, value)
        if write:
            self.acc[write[0]] = write[1]

    def expected(self, work: Matmul) -> np.ndarray:
        """ACC after `work`, from the instruction's equation: by PyTorch, and floats by the oracle."""
        return self._expected_integers(work) if self.config.pe == "int8" else self._expected_floats(work)

    def _expected_floats(self, work: Matmul) -> np.ndarray:
        rows, acc = self.config.rows, self.acc.copy()
        act, weight = (numerics.from_bits(words.astype(np.uint32) << 16) for words in (self.act, self.weight))
        index = work.act_address + work.act_stride * np.arange(work.rows)[:, None] + np.arange(work.k_tiles)
        for n in range(work.n_tiles):
            stationary = weight[work.weight_address + n * work.weight_stride :][: work.k_tiles * rows]
            words = work.acc_address + work.acc_stride * np.arange(work.rows) + n
            before = numerics.from_bits(acc[words]) if work.accumulate else None
            sums = numerics.matmul_bf16(act[index].reshape(work.rows, -1), stationary, rows, before)
            acc[words] = numerics.to_bits(sums)
        return acc

    def _expected_integers(self, work: Matmul) -> np.ndarray:
        rows, acc = self.config.rows, torch.from_numpy(self.acc.astype(np.int64))
        for n in range(work.n_tiles):
            act = np.stack([self.act[work.act_address + m * work.act_stride:][:work.k_tiles].reshape(-1)
                            for m in range(work.rows)])  # fmt: skip
            weight = self.weight[work.weight_address + n * work.weight_stride :][: work.k_tiles * rows]
            product = torch.from_numpy(act.astype(np.int64)) @ torch.from_numpy(weight.astype(np.int64))
            for m in range(work.rows):
                word = work.acc_address + m * work.acc_stride + n
                acc[word] = product[m] + (acc[word] if work.accumulate else 0)
        return acc.numpy().astype(np.int32)  # wraps around


def check(config: HardwareConfig, work: Matmul, seed: int = 0) -> Memories:
    """Run one instruction; values, duration and places of all accesses must be right."""
    work.check(config)
    memories = Memories(config, seed)
    expected = memories.expected(work)
    [record] = memories.run([work])
    np.testing.assert_array_equal(memories.acc, expected)
    assert record.retire - record.start == duration(config, work)
    return memories


def panel(config: HardwareConfig, m: int, k: int, n: int, **changes) -> Matmul:
    """A Matmul of m rows and k × n tiles at addresses and strides with gaps."""
    return Matmul(rows=m, k_tiles=k, n_tiles=n, act_address=7, act_stride=k + 2, weight_address=11,
                  weight_stride=k * config.rows + 3, acc_address=5, acc_stride=n + 1, **changes)  # fmt: skip


def test_one_tile_by_hand():
    config, work = NANO, Matmul(rows=2, act_stride=1, acc_stride=1)
    memories = Memories(config, 0)
    memories.act[:2] = [[1, 2, 3, 4], [-1, 0, 0, 1]]
    memories.weight[:4] = [[1, 0, 0, 5], [0, 1, 0, 6], [0, 0, 1, 7], [0, 0, 0, 8]]
    memories.run([work])
    assert memories.acc[:2].tolist() == [[1, 2, 3, 5 + 12 + 21 + 32], [-1, 0, 0, -5 + 8]]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("m,k,n", [(1, 1, 1), (1, 3, 2), (2, 2, 3), (3, 1, 1), (4, 2, 2), (5, 3, 1), (9, 2, 2)])
@pytest.mark.parametrize("accumulate", [0, 1])
def test_values_and_duration(shape, m, k, n, accumulate):
    check(SHAPES[shape], panel(SHAPES[shape], m, k, n, accumulate=accumulate), seed=m + k + n)


@pytest.mark.parametrize("seed", range(12))
def test_random_panels(seed):
    random = np.random.default_rng(seed)
    config = SHAPES[list(SHAPES)[seed % len(SHAPES)]]
    m, k, n = (int(random.integers(1, high)) for high in (20, 6, 4))
    work = Matmul(
        rows=m, k_tiles=k, n_tiles=n, accumulate=int(random.integers(2)),
        act_address=int(random.integers(100)), act_stride=int(random.integers(0, 30)),
        weight_address=int(random.integers(100)), weight_stride=int(random.integers(0, 100)),
        acc_address=int(random.integers(100)), acc_stride=int(random.integers(n, 30)),
    )  # fmt: skip
    check(config, work, seed)


@pytest.mark.parametrize("shape", ["nano", "3x5"])
def test_extremes_wrap_around(shape):
    config = SHAPES[shape]
    for activation, weight in ((-128, -128), (-128, 127), (127, 127)):
        memories = Memories(config, 0)
        memories.act[:], memories.weight[:] = activation, weight
        memories.acc[:] = np.where(np.arange(config.columns) % 2, 2**31 - 1, -(2**31))
        work = panel(config, 3, 4, 2, accumulate=1)
        expected = memories.expected(work)
        memories.run([work])
        np.testing.assert_array_equal(memories.acc, expected)


@pytest.mark.parametrize("shape,m", [("nano", 1), ("nano", 4), ("nano", 7), ("3x5", 1), ("3x5", 5)])
def test_reads_come_in_the_cycles_of_the_specification(shape, m):
    config = SHAPES[shape]
    memories = Memories(config, 0)
    work = panel(config, m, 2, 2)
    [record] = memories.run([work])
    s, rows, period = record.start, config.rows, max(m, config.tile_turnaround_cycles)
    first_row = [s + rows + 2 + j * period for j in range(4)]
    first_weight = [cycle - rows - 1 for cycle in first_row]
    cycles = {name: [c for c, memory, _ in memories.reads if memory == name] for name in ("act", "weight", "acc")}
    assert cycles["act"] == [first + i for first in first_row for i in range(m)]
    assert cycles["weight"] == [first + i for first in first_weight for i in range(rows)]
    # Tiles with k = 0 replace, so that only the others read what is there.
    drain = config.matrix_drain_cycles
    later = [first for j, first in enumerate(first_row) if j % 2]
    assert cycles["acc"] == [first + i + drain - MEMORY_CYCLES - 2 for first in later for i in range(m)]
    assert [c for c, _ in memories.writes] == [first + i + drain for first in first_row for i in range(m)]
    assert memories.writes[-1][0] == record.retire


@pytest.mark.parametrize("gap", [1, 2, 5])
def test_instructions_follow_each_other(gap):
    config = ODD
    programs = [panel(config, 1, 1, 1), panel(config, 6, 2, 2), panel(config, 1, 2, 1, accumulate=1),
                panel(config, 3, 1, 2, accumulate=1)]  # fmt: skip
    memories = Memories(config, 3)
    after = Memories(config, 3)
    for work in programs:
        after.acc = after.expected(work)
    records = memories.run(programs, gap)
    np.testing.assert_array_equal(memories.acc, after.acc)
    assert [r.retire - r.start for r in records] == [duration(config, work) for work in programs]
    assert [b.start - a.retire for a, b in zip(records, records[1:], strict=False)] == [gap] * 3


def check_back_to_back(config: HardwareConfig, programs: list[Matmul], late: Sequence[int] = ()) -> list:
    """As soon as the unit is ready, or later: values, durations, and when it is."""
    memories, after = Memories(config, 3), Memories(config, 3)
    for work in programs:
        after.acc = after.expected(work)
    records = memories.run(programs, late=late)
    np.testing.assert_array_equal(memories.acc, after.acc)
    assert [r.retire - r.start for r in records] == [duration(config, work) for work in programs]
    for before, record, *pair in zip(records, records[1:], programs, programs[1:], strict=False):
        assert record.ready == before.start + start_to_start(config, *pair)
    assert len({r.retire for r in records}) == len(records)
    return records


EVERY = {"nano": NANO, "3x5": ODD, "5x3": SHAPES["5x3"], "3x17": replace(ODD, columns=17), "bf16 3x5": BF16["3x5"]}


@pytest.mark.parametrize("shape", EVERY)
@pytest.mark.parametrize("accumulate", [0, 1])
def test_the_next_instruction_starts_while_sums_drain(shape, accumulate):
    """Each adds to the very words that the one before still sums up, or replaces them."""
    config = EVERY[shape]
    sizes = [(1, 1, 1), (6, 2, 2), (1, 2, 1), (1, 1, 1), (1, 1, 1), (9, 1, 1)]
    programs = [panel(config, *size, accumulate=accumulate) for size in sizes]
    records = check_back_to_back(config, programs)
    overlaps = [after.start <= before.retire for before, after in zip(records, records[1:], strict=False)]
    assert all(overlaps)


@pytest.mark.parametrize("shape", EVERY)
def test_the_first_row_adds_to_what_the_last_row_before_it_writes(shape):
    config = EVERY[shape]
    for rows in (1, config.tile_turnaround_cycles, config.tile_turnaround_cycles + 2):
        one = Matmul(rows=rows, act_stride=1, acc_address=40, acc_stride=1, weight_address=3)
        other = replace(one, acc_address=40 + rows - 1, act_address=20, accumulate=1)
        backwards = replace(one, acc_address=40 - rows + 1, act_address=30, accumulate=1)
        check_back_to_back(config, [one, other, backwards, other])


@pytest.mark.parametrize("shape", EVERY)
def test_many_small_instructions_are_under_way_at_once(shape):
    config = EVERY[shape]
    programs = [Matmul(act_address=i, weight_address=2 * i, acc_address=i % 3) for i in range(12)]
    records = check_back_to_back(config, programs)
    most = max(sum(each.start < cycle <= each.retire for each in records) for cycle in range(records[-1].retire))
    period = config.tile_turnaround_cycles
    assert most == -(-duration(config, programs[0]) // period)


@pytest.mark.parametrize("seed", range(10))
def test_random_instructions_at_random_distances(seed):
    random = np.random.default_rng(seed)
    config = EVERY[list(EVERY)[seed % len(EVERY)]]
    programs = []
    for _ in range(6):
        m, k, n = (int(random.integers(1, high)) for high in (9, 4, 3))
        programs.append(Matmul(
            rows=m, k_tiles=k, n_tiles=n, accumulate=int(random.integers(2)),
            act_address=int(random.integers(30)), act_stride=int(random.integers(0, 9)),
            weight_address=int(random.integers(30)), weight_stride=int(random.integers(0, 30)),
            acc_address=int(random.integers(12)), acc_stride=int(random.integers(n, 8)),
        ))  # fmt: skip
    check_back_to_back(config, programs, random.integers(0, 2 + seed * 3, len(programs)).tolist())


def test_long_panels():
    config = replace(ODD, columns=3, act_words=16384, acc_words=8192)
    check(config, Matmul(rows=4099, k_tiles=2, n_tiles=1, act_stride=3, acc_stride=1))
    check(config, Matmul(rows=1, k_tiles=600, n_tiles=2, act_stride=1, weight_stride=1000, acc_stride=1))


def test_one_bf16_tile_by_hand():
    config, work = BF16["3x5"], Matmul(rows=2, act_stride=1, acc_stride=1)
    memories = Memories(config, 0)
    code = lambda x: numerics.to_bits(np.array(x, np.float32)) >> 16  # noqa: E731
    memories.act[:2] = code([[1, 2, 3], [-1, 0, 0.5]])
    memories.weight[:3] = code([[1, 0, 0, 5, 0.25], [0, 1, 0, 6, 0.5], [0, 0, 1, 7, -0.0]])
    [record] = memories.run([work])
    assert numerics.from_bits(memories.acc[:2]).tolist() == [[1, 2, 3, 38, 1.25], [-1, 0, 0.5, -1.5, -0.25]]
    # Three weight rows and the step to the first of two rows, 2 to the data, 1 + 3 + 3·4 + 4 to the sums, 4 to add.
    assert record.retire - record.start == 3 + 1 + 2 + 2 + 20 + 4


@pytest.mark.parametrize("shape", BF16)
@pytest.mark.parametrize("m,k,n", [(1, 1, 1), (1, 3, 2), (2, 2, 3), (7, 2, 2), (9, 3, 1)])
@pytest.mark.parametrize("accumulate", [0, 1])
def test_bf16_values_and_duration(shape, m, k, n, accumulate):
    check(BF16[shape], panel(BF16[shape], m, k, n, accumulate=accumulate), seed=m + k + n)


@pytest.mark.parametrize("shape,m", [("nano", 1), ("nano", 9), ("3x5", 1), ("7x4", 2)])
def test_bf16_tiles_follow_in_the_turnaround(shape, m):
    """One row or few: a tile starts when the sums of the last are written, 4 + 4 cycles later."""
    config = BF16[shape]
    memories = check(config, panel(config, m, 3, 2))
    first = [cycle for cycle, name, _ in memories.reads if name == "act"][::m]
    assert {b - a for a, b in zip(first, first[1:], strict=False)} == {max(m, 8)}


@pytest.mark.parametrize("shape", ["nano", "3x5"])
@pytest.mark.parametrize("accumulate", [0, 1])
def test_bf16_extremes(shape, accumulate):
    """Zeros of both signs, subnormals, numbers whose sums are flushed, the greatest, infinities and NaNs."""
    config = BF16[shape]
    memories, random = Memories(config, 0), np.random.default_rng(accumulate)
    codes = [0, 0x8000, 0x0001, 0x807F, 0x0080, 0x80A0, 0x00C0, 0x3F80, 0xBF80, 0x7F7F, 0xFF7F, 0x7F80, 0xFF80, 0xFFC1]
    sums = [0, 0x8000_0000, 0x0000_0001, 0x8040_0000, 0x0080_0000, 0x80C0_0000, 0x7F7F_FFFF, 0xFF80_0000, 0x7FC0_0000]
    # Infinities and NaNs are rare, so that most sums are numbers.
    weights = np.array([4] * 11 + [0.1] * 3) / 44.3
    memories.act[:] = random.choice(codes, memories.act.shape, p=weights)
    memories.weight[:] = random.choice(codes, memories.weight.shape, p=weights)
    memories.weight[100:200] = random.choice([0x3F80, 0xBF80, 0], (100, config.columns))
    memories.acc[:] = random.choice(sums, memories.acc.shape)
    programs = [panel(config, 20, 1, 3, accumulate=accumulate),
                replace(panel(config, 20, 3, 2, accumulate=accumulate), weight_address=110,
                        acc_address=200)]  # fmt: skip
    after = Memories(config, 0)
    after.act, after.weight, after.acc = memories.act, memories.weight, memories.acc.copy()
    for work in programs:
        after.acc = after.expected(work)
    memories.run(programs)
    np.testing.assert_array_equal(memories.acc, after.acc)
    assert len(np.unique(after.acc[5:65])) > 6


@pytest.mark.parametrize("gap", [1, 3])
def test_bf16_instructions_follow_each_other(gap):
    config = BF16["3x5"]
    programs = [panel(config, 1, 1, 1), panel(config, 6, 2, 2), panel(config, 1, 2, 1, accumulate=1),
                panel(config, 9, 1, 2, accumulate=1)]  # fmt: skip
    memories, after = Memories(config, 3), Memories(config, 3)
    for work in programs:
        after.acc = after.expected(work)
    records = memories.run(programs, gap)
    np.testing.assert_array_equal(memories.acc, after.acc)
    assert [r.retire - r.start for r in records] == [duration(config, work) for work in programs]


def test_bf16_products_are_close_to_those_of_torch():
    config = BF16["nano"]
    memories, work = Memories(config, 5), panel(config, 5, 6, 1)
    memories.run([work])
    act = np.stack([memories.act[7 + 8 * m :][:6].reshape(-1) for m in range(5)])
    weight = memories.weight[11:][: 6 * config.rows]
    a, b = (torch.from_numpy(numerics.from_bits(x.astype(np.uint32) << 16)) for x in (act, weight))
    found = numerics.from_bits(memories.acc[5 + 2 * np.arange(5)])
    np.testing.assert_allclose(found, (a.double() @ b.double()).numpy(), atol=1e-5)
