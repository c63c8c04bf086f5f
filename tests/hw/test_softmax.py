"""SOFTMAX against the oracle (every bit of every memory), against PyTorch, and in the cycles that
docs/architecture.md gives."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from amaranth.sim import Simulator
from heddle.arch import numerics
from heddle.arch.isa import Masking, Result, Source
from heddle.hw.mask import MASK_CYCLES, Mask
from heddle.hw.units.softmax import Softmax as SoftmaxUnit

from ..machines import BF16, NANO, ODD, ODD_BF16, TF32, VALUES, VALUES_TF32
from .softmax_bench import additive_mask, check, operands, softmax, visible
from .unit_bench import Memories, run_unit

FLOAT32 = replace(VALUES, rows=8, vector_lanes=4)
both_shapes = pytest.mark.parametrize("config", [NANO, ODD], ids=["nano", "3x5"])


def test_one_score_by_hand():
    memories = Memories(NANO)
    work = softmax(NANO, 1, 1)
    blind = replace(work, address=80, scales_address=210, causal=1, offset=-1)
    memories.put_pairs(work.param_address, np.array([0.125]), np.array([0.5]))
    record, same = run_unit(SoftmaxUnit(NANO), memories, [work, blind])
    # p = 2⁰ = 1, l = 1, q = 0.5: the code is 127 and stands for 0.5/127; the rest of the word is 0.
    assert memories.act[work.address].tolist() == [127, 0, 0, 0]
    scale = numerics.from_bits(memories.row[work.scales_address])[0]
    assert scale == np.float32(0.5) * np.float32(1 / 127)
    # A group, 12 cycles to t, the maximum 3, that of blocks before, a register and the table; 7 to p, the sum 6, its
    # reciprocal, two other products and the scale 15, ROW; two groups, 10 to q, 6 to the code.
    assert record.retire - record.start == (1 + 12 + 3 + 3) + (1 + 12 + 7 + 6 + 15 + 1) + (2 + 12 + 10 + 6)
    # A row that sees nothing: codes of zero, a scale that makes no harm of them, the same time.
    assert memories.act[blind.address].tolist() == [0, 0, 0, 0]
    assert 0 < numerics.from_bits(memories.row[blind.scales_address])[0] < 1e-17
    assert same.retire - same.start == record.retire - record.start


@both_shapes
def test_panels_of_all_shapes(config):
    shapes = [(1, 1), (1, 2), (2, 1), (3, 5), (1, 13), (4, 4), (5, 12), (2, 17), (9, 3)]
    program = [softmax(config, rows, columns, gap=i % 3) for i, (rows, columns) in enumerate(shapes)]
    check(Memories(config), program)


@both_shapes
def test_masks(config):
    masks = [
        {"causal": 1},
        {"causal": 1, "offset": 4},
        {"causal": 1, "offset": -2},  # the first rows see nothing
        {"causal": 1, "window": 1},  # a single column each
        {"causal": 1, "window": 3, "offset": 2},
        {"window": 2, "offset": 1},  # the future, too
        {"window": 2, "offset": 40},  # nothing at all
        {"causal": 1, "offset": -(1 << 16)},
        {"causal": 1, "offset": (1 << 16) - 1},
        {"window": (1 << 15) - 1, "offset": -(1 << 16)},
    ]
    program = [softmax(config, 5, 7, mask=Masking(i % 3), **mask) for i, mask in enumerate(masks)]
    check(Memories(config), program, gap=3)


@pytest.mark.parametrize("config", [NANO, ODD, FLOAT32, TF32], ids=["nano", "3x5", "8x4 float32 4 lanes", "tf32"])
def test_additive_masks(config):
    memories = Memories(config)
    work = softmax(config, 4, 6, gap=1, mask=Masking.ADDITIVE)
    operand = np.random.default_rng(1).normal(0, 4, (4, 6)).astype(np.float32)
    operand[0, 0], operand[0, 1:5] = 300, -np.inf
    operand[1] = -np.inf  # seen, and yet without weight: codes of zero
    operand[2, 3] = np.inf
    operand[3, 0] = np.nan
    memories.put("value", work.operand_address, work.operand_stride, memories.stored(operand))
    others = [replace(work, mask=Masking.NONE), softmax(config, 3, 9, mask=Masking.ADDITIVE, causal=1, offset=2)]
    check(memories, [work] + [replace(other, address=120) for other in others])
    assert memories.act[work.address, 0] == 127
    assert not memories.act[work.address + work.stride].any()


@both_shapes
def test_extreme_numbers(config):
    memories = Memories(config)
    memories.acc[::2] = np.array([-(2**31), 2**31 - 1, 0, 1, -1])[: config.columns]
    memories.row[5:9, 0] = numerics.to_bits([1e30, -1e-30, np.inf, 0])
    odd_scales = np.array([1e-42, -3.0, np.inf, np.nan, -0.0, 1e38, 0.0, 1e-20], np.float32)
    memories.put_pairs(11, np.full(8, 2.0**-20), odd_scales)
    memories.put_pairs(21, odd_scales, np.full(8, -2.0))
    memories.put_pairs(31, np.full(8, 2.0**-8), np.array([0, 0, 0, 2.0**-70, 0, 0, 0, 0]))
    memories.put_pairs(41, np.full(8, 2.0**-20), np.full(8, -2.0))  # the greatest q is negative
    check(memories, [softmax(config, 4, 8, param_address=place) for place in (11, 21, 31, 41)])


@both_shapes
def test_finite_scores_give_finite_numbers(config):
    for seed in range(4):
        memories = Memories(config)
        memories.make_hard(seed)
        work = softmax(config, 4, 8, mask=Masking.ADDITIVE)
        check(memories, [work])
        assert np.isfinite(numerics.from_bits(memories.row.reshape(-1))).all()


@both_shapes
def test_nothing_beyond_the_last_column_is_used(config):
    memories = Memories(config)
    work = softmax(config, 3, config.columns + 1, mask=Masking.ADDITIVE)
    memories.acc[:] = 2**30
    memories.value[:] = np.iinfo(memories.value.dtype).max  # NaNs
    memories.put("acc", work.source_address, work.source_stride, np.arange(3 * work.columns).reshape(3, -1))
    zeros = np.zeros((3, work.columns), np.float32)
    memories.put("value", work.operand_address, work.operand_stride, memories.stored(zeros))
    memories.put_pairs(work.param_address, np.full(work.columns, 0.5), np.ones(work.columns))
    check(memories, [work])
    codes = memories.panel("act", work.address, work.stride, 3, config.columns)
    assert codes.any()


@both_shapes
def test_a_full_panel_of_rows(config):
    check(Memories(config), [softmax(config, config.panel_rows, 2, causal=1), softmax(config, 2, 3)])


all_kinds = pytest.mark.parametrize(
    "config", [NANO, ODD, FLOAT32, TF32, BF16], ids=["nano", "3x5", "8x4 float32 4 lanes", "tf32", "nano bf16"]
)


@all_kinds
def test_from_values_and_to_values(config):
    forms = [(source, mask, result) for source in Source for mask in Masking for result in Result]
    forms = [each for each in forms if each[:2] != (Source.VALUE, Masking.ADDITIVE)]
    program = [
        softmax(config, 1 + i % 4, 1 + 5 * i % 13, gap=i % 2, causal=i % 2, offset=3, source=source, mask=mask,
                result=result, address=70 if result is Result.CODES else 900)
        for i, (source, mask, result) in enumerate(forms)
    ]  # fmt: skip
    check(Memories(config), program)
    check(Memories(config, seed=1), program[::-1], gap=3)


@both_shapes
def test_in_place(config):
    check(Memories(config), [softmax(config, 3, 7, source=Source.VALUE, result=Result.VALUES, address=37, stride=stride)
                             for stride in [softmax(config, 3, 7).source_stride]])  # fmt: skip


@both_shapes
def test_lengths_of_all_kinds(config):
    memories, lanes = Memories(config), config.vector_lanes
    lengths = [0, 1, lanes, lanes + 1, 9, 10, -1, -(1 << 31), 65535, 65536, (1 << 31) - 1]
    work = softmax(config, len(lengths), 9, mask=Masking.LENGTHS, operand_address=7)
    memories.index.reshape(-1)[7 : 7 + len(lengths)] = lengths
    check(memories, [work, replace(work, result=Result.VALUES, address=900), replace(work, causal=1, window=2)])
    codes = memories.panel("value", 900, work.stride, len(lengths), 9) != 0
    assert codes.sum(1).tolist() == [min(max(length, 0), 9) for length in lengths]


@pytest.mark.parametrize("seed", range(3))
@all_kinds
def test_values_that_are_finite_stay_so(config, seed):
    memories = Memories(config)
    memories.make_hard(seed)
    work = softmax(config, 5, 6, source=Source.VALUE, result=Result.VALUES, address=900)
    check(memories, [work, replace(work, mask=Masking.LENGTHS, operand_address=3)])
    assert np.isfinite(memories.values(900, work.stride, 5, 6)).all()


@pytest.mark.parametrize("config, tolerance", [(FLOAT32, 4e-4), (TF32, 2.0**-7)], ids=["float32", "tf32 bf16"])
def test_probabilities_of_values_are_those_of_torch(config, tolerance):
    """To within 2^x and 1/x by table (2⁻¹³ and 2⁻¹², see tests/arch/test_numerics.py), or the rounding to bf16."""
    memories, rows, columns = Memories(config, seed=3), 4, 21
    x = np.random.default_rng(5).normal(0, 3, (rows, columns)).astype(np.float32)
    memories.put("value", 37, -(-columns // config.columns), memories.stored(x))
    memories.put_pairs(11, np.full(columns, np.log2(np.e)), np.ones(columns))
    lengths = np.array([21, 3, 20, 1], np.int32)
    memories.index.reshape(-1)[5:9] = lengths
    work = softmax(config, rows, columns, source=Source.VALUE, mask=Masking.LENGTHS, operand_address=5,
                   result=Result.VALUES, address=900)  # fmt: skip
    x = memories.values(37, work.source_stride, rows, columns)
    run_unit(SoftmaxUnit(config), memories, [work])
    hidden = torch.arange(columns) >= torch.tensor(lengths)[:, None]
    golden = torch.softmax(torch.tensor(x, dtype=torch.float64).masked_fill(hidden, -torch.inf), -1)
    found = torch.tensor(memories.values(900, work.stride, rows, columns), dtype=torch.float64)
    assert ((found - golden).abs() <= tolerance * golden).all()


@pytest.mark.parametrize("config", [BF16, ODD_BF16], ids=["nano", "3x5"])
def test_bf16_codes(config):
    memories = Memories(config)
    row = memories.acc[37]  # the first score
    row[0], row[1] = numerics.to_bits([1e-42, np.inf])
    memories.acc[38, 0] = numerics.to_bits(np.float32(np.nan))
    shapes = [(1, 1), (5, 13), (9, 3), (4, 8)]
    check(memories, [softmax(config, *shape, causal=i % 2, offset=3) for i, shape in enumerate(shapes)])


@both_shapes
def test_weights_are_those_of_torch(config):
    """codes · scale = softmax(t·ln 2)·vs to within half a code step (a row's largest/254) and 0.1 % for the tables."""
    memories = Memories(config, seed=3)
    rows, columns = 6, 23
    work = softmax(config, rows, columns, causal=1, offset=17, window=20, mask=Masking.ADDITIVE)
    acc, key_scale, value_scale, row = operands(memories, work)
    operand = additive_mask(memories, work)
    run_unit(SoftmaxUnit(config), memories, [work])
    t = torch.tensor(acc.astype(np.float64) * key_scale * row[:, None] + operand)
    t[~torch.tensor(visible(work))] = -torch.inf
    weights = torch.softmax(t * np.log(2), -1) * torch.tensor(value_scale)
    codes = memories.act[memories.addresses(work.address, work.stride, rows, -(-columns // config.rows))]
    codes = codes.reshape(rows, -1)[:, :columns]
    scales = numerics.from_bits(memories.row[work.scales_address : work.scales_address + rows].copy())
    error = torch.tensor(codes * scales.astype(np.float64)) - weights
    greatest = weights.max(-1, keepdim=True).values
    assert (error.abs() <= greatest * (0.5 / 127 + 1e-3)).all()
    assert (torch.tensor(codes.astype(int)).max(-1).values == 127).all()


@pytest.mark.parametrize("from_value", [False, True], ids=["sums", "values"])
@pytest.mark.parametrize("config, tolerance", [(FLOAT32, 4e-4), (VALUES_TF32, 2.0**-9)], ids=["float32", "tf32"])
def test_large_scores_differ_by_what_they_differ(config, tolerance, from_value):
    """Scores up to 10³⁷ and the next ones that float32 knows: probabilities are those of torch.softmax in float64, to
    within 2^x and 1/x by table, and with tf32 its roundings."""
    columns, memories = 21, Memories(config)
    near = np.array([9e5, -1.5e6, 2.0**24, -(2.0**31), 1e6, -1e30, 1e37], np.float32)[:, None]
    # From a score to the next it is 2⁻⁴, 5·2⁻³, 2·2 and 2⁸; two rows of equal ones; 2⁹⁹.
    units = np.array([1, 5, 2, 1, 0, 0, 1])[:, None] * (np.arange(columns) % 7)
    wanted, rows = numerics.from_bits(numerics.to_bits(near) + units.astype(np.uint32)), len(near)
    memories.put_pairs(11, np.ones(columns), np.ones(columns))
    if from_value:
        memories.put("value", 37, -(-columns // config.columns), memories.stored(wanted))
    else:  # significands, and the unit of their last place as the factor of their row
        unit = 2.0 ** (np.frexp(near.astype(np.float64))[1] - 24)
        memories.put("acc", 37, -(-columns // config.columns), (wanted / unit).astype(np.int32))
        memories.row[5 : 5 + rows, 0] = numerics.to_bits(unit[:, 0].astype(np.float32))
    source = Source.VALUE if from_value else Source.ACC
    work = softmax(config, rows, columns, source=source, result=Result.VALUES, address=900)
    check(memories, [work])
    golden = torch.softmax(torch.tensor(wanted.astype(np.float64)) * np.log(2), -1)
    assert (golden[4:6] == 1 / columns).all() and (golden[[3, 6]] > 0.3).sum() == 6
    found = torch.tensor(memories.values(900, work.stride, rows, columns), dtype=torch.float64)
    assert ((found - golden).abs() <= tolerance * golden + 2.0**-120).all()


@both_shapes
def test_mask_of_any_parameters(config):
    """The mask alone, at the ends of every field and of every group."""
    random, lanes = np.random.default_rng(5), config.vector_lanes
    cases = []
    for _ in range(400):
        columns, together = int(random.choice([1, 2, 5, 300, 65535])), int(random.integers(2))
        limited = int(random.integers(2))
        length = int(random.choice([-(1 << 31), -1, 0, 1, 5, 299, 65536, (1 << 31) - 1]))
        offset = int(random.choice([-65536, -300, -2, 0, 1, 299, 65534, 65535]))
        window = int(random.choice([0, 1, 2, 300, 65535]))
        causal, row = int(random.integers(2)), int(random.choice([0, 1, 7, 4095]))
        place = offset + (0 if together else row)
        edge = int(random.choice([0, columns, place, place - window, length]))
        group = min(max(edge // lanes + int(random.integers(-1, 2)), 0), 1 << 16)
        cases.append((columns, causal, together, offset, window, row, group, limited, length))
    mask = Mask(config)

    async def bench(ctx):
        ports = (mask.columns, mask.causal, mask.together, mask.offset, mask.window, mask.row, mask.group, mask.limited)
        for *case, length in cases:
            for port, value in zip(ports, case, strict=True):
                ctx.set(port, value)
            await ctx.tick()
            ctx.set(mask.length, length)
            ctx.set(mask.group, 0)
            await ctx.tick()
            ctx.set(mask.length, 0)
            await ctx.tick().repeat(MASK_CYCLES - 2)
            columns, causal, together, offset, window, row, group, limited = case
            place = offset + (0 if together else row)
            for lane in range(lanes):
                n = group * lanes + lane
                seen = n < columns and (not causal or n <= place)
                seen = seen and (not window or n > place - window) and (not limited or n < length)
                assert ctx.get(mask.seen[lane]) == seen, case

    simulator = Simulator(mask)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
