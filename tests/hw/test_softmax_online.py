"""SOFTMAX block by block: OnlineSoftmax against the oracle, PyTorch, and the cycles of docs/architecture.md."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from heddle.arch import numerics
from heddle.arch.config import PRESETS
from heddle.arch.isa import Masking
from heddle.hw.units.softmax import Softmax as SoftmaxUnit

from ..machines import BF16, NANO, ODD, ODD_BF16, TF32
from .softmax_bench import check, online_softmax, row_numbers, softmax
from .unit_bench import Memories, run_unit

SHAPES = {"nano": NANO, "3x5": ODD, "nano bf16": BF16, "3x5 bf16": ODD_BF16, "tf32": TF32}
all_shapes = pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
both_shapes = pytest.mark.parametrize("config", [NANO, ODD], ids=["nano", "3x5"])


def test_two_blocks_by_hand():
    """Scores 0 and 2, then 3, of the values 1, 1 and 0.5: weights 1, 4 and 8 of 13."""
    memories = Memories(NANO)
    first = online_softmax(NANO, 1, 2, first=1)
    second = online_softmax(NANO, 1, 1, source_address=60, param_address=12, address=80, scales_address=220)
    memories.acc[37, :2], memories.acc[60, 0] = [0, 2], 3
    memories.put_pairs(11, np.ones(2), np.ones(2))
    memories.put_pairs(12, np.ones(1), np.array([0.5]))
    memories.row[5] = numerics.to_bits(np.float32(1))
    records = run_unit(SoftmaxUnit(NANO), memories, [first, second])
    # p = ¼ and 1, l = 1¼; nothing was before. The codes stand for p, the scale for 1/127 · 1/l.
    assert memories.act[70].tolist() == [32, 127, 0, 0]
    scale, rescale = row_numbers(memories, 200, 2)
    near = 2.0**-11.5  # 1/x
    assert scale == pytest.approx(0.8 / 127, rel=near) and rescale == 0
    # Greatest 3: what was before counts half, l = 1 + ½·1¼.
    assert memories.act[80].tolist() == [127, 0, 0, 0]
    scale, rescale = row_numbers(memories, 220, 2)
    assert scale == pytest.approx(0.5 / 127 / 1.625, rel=near) and rescale == pytest.approx(0.625 / 1.625, rel=near)
    assert row_numbers(memories, 300, 2).tolist() == [3, pytest.approx(1.625, rel=2.0**-16)]
    # As a Softmax, + 2 for the row numbers; reading the state takes 3 and 2, what is kept of it 14.
    alone = (1 + 12 + 3 + 3) + (1 + 12 + 7 + 6 + 15 + 3) + (2 + 12 + 10 + 6)
    assert [record.retire - record.start for record in records] == [alone, alone + 19]


@all_shapes
def test_blocks_of_all_shapes_in_sequence(config):
    """The state goes through ROW from each block to the next; the rows stay the same."""
    for rows, columns in ((1, [1, 2, 7]), (2, [17, 3]), (5, [4, 12, 1]), (9, [2, 2])):
        memories = Memories(config, seed=rows)
        program = [online_softmax(config, rows, n, gap=i % 3, first=i == 0, scales_address=200 + 25 * (i % 2),
                                  source_address=37 + 50 * i) for i, n in enumerate(columns)]  # fmt: skip
        check(memories, program, gap=1 + rows % 3)


def test_blocks_on_eight_by_eight():
    config = PRESETS["small"]
    program = [online_softmax(config, 6, n, first=i == 0, param_address=11 + 5 * i, source_address=37 + 50 * i)
               for i, n in enumerate([24, 8, 13])]  # fmt: skip
    check(Memories(config), program)


@both_shapes
def test_masks(config):
    masks = [
        {"causal": 1},
        {"causal": 1, "offset": 4},
        {"causal": 1, "offset": -2},  # the first rows see nothing in this block
        {"causal": 1, "offset": -9},  # no row does
        {"causal": 1, "together": 1, "offset": 3},
        {"causal": 1, "together": 1, "offset": -1},
        {"causal": 1, "window": 1},  # a single column each
        {"causal": 1, "window": 3, "offset": 2},
        {"causal": 1, "window": 4, "offset": 8},  # the last rows have left the block behind
        {"together": 1, "window": 2, "offset": 5, "causal": 1},
        {"window": 2, "offset": 1},  # the future, too
        {"causal": 1, "offset": -(1 << 16)},
        {"together": 1, "causal": 1, "offset": (1 << 16) - 1},
        {"window": (1 << 16) - 1, "offset": -(1 << 16)},
    ]
    program = [online_softmax(config, 5, 7, first=i % 4 == 0, **mask) for i, mask in enumerate(masks)]
    check(Memories(config), program, gap=3)


@all_shapes
def test_rows_that_see_nothing_keep_what_they_had(config):
    memories = Memories(config)
    blind = online_softmax(config, 3, 6, causal=1, offset=-3)
    memories.row[300:306, 0] = numerics.to_bits([2, -7, 0.5, 1, 4, 3])
    check(memories, [blind, replace(blind, first=1, state_address=320, address=90, scales_address=220)])
    assert row_numbers(memories, 300, 6).tolist() == [2, -7, 0.5, 1, 4, 3]
    np.testing.assert_allclose(row_numbers(memories, 203, 3), 1, rtol=1e-4)
    # With nothing before either, zeros and finite scales, and a state that the next block replaces.
    assert row_numbers(memories, 320, 6).tolist() == [float(numerics.LOWEST)] * 3 + [1] * 3
    assert row_numbers(memories, 223, 3).tolist() == [0] * 3
    for place in (blind.address, 90):
        assert not memories.panel("act", place, blind.stride, 3, 1).any()


@all_shapes
def test_extreme_numbers(config):
    memories = Memories(config)
    integers, floats = [-(2**31), 2**31 - 1, 0, 1, -1], numerics.to_bits([np.inf, 1e-42, -0.0, np.nan, -1e38])
    memories.acc[::2] = (integers if config.pe == "int8" else floats)[: config.columns]
    memories.row[5:9, 0] = numerics.to_bits([1e30, -1e-30, np.inf, 0])
    states = np.array([np.inf, -np.inf, np.nan, 1e-42, -1e-42, -0.0, 3e38, -3e38, 0, 1], np.float32)
    places = np.random.default_rng(2).integers(0, len(states), 40)
    memories.row[300:340, 0] = numerics.to_bits(states[places])
    memories.row[300, 0] = 0xFF80_1234  # a NaN of the other sign
    scales = np.array([1e-42, 3.0, np.inf, np.nan, 0.0, 1e38, 0.0, 1e-20], np.float32)
    memories.put_pairs(11, np.full(8, 2.0**-20), scales)
    memories.put_pairs(21, scales, np.full(8, 2.0))
    memories.put_pairs(31, np.full(8, 2.0**-8), np.array([0, 0, 0, 2.0**-70, 0, 0, 0, 0]))
    places = [{"state_address": 300 + 8 * i, "address": 70 + 30 * i, "scales_address": 200 + 8 * i} for i in range(5)]
    program = [online_softmax(config, 4, 8, param_address=[11, 21, 31][i % 3], **at) for i, at in enumerate(places)]
    check(memories, program)


@both_shapes
def test_finite_scores_give_finite_numbers(config):
    for seed in range(4):
        memories = Memories(config)
        memories.make_hard(seed)
        work = online_softmax(config, 4, 8, first=1)
        check(memories, [work])
        assert np.isfinite(numerics.from_bits(memories.row.reshape(-1))).all()


@both_shapes
def test_nothing_beyond_the_last_column_is_used(config):
    memories = Memories(config)
    work = online_softmax(config, 3, config.columns + 1)
    memories.acc[:] = 2**30
    memories.put("acc", work.source_address, work.source_stride, np.arange(3 * work.columns).reshape(3, -1))
    memories.put_pairs(work.param_address, np.full(work.columns, 0.5), np.ones(work.columns))
    check(memories, [work])
    assert memories.panel("act", work.address, work.stride, 3, config.columns).any()


@both_shapes
def test_a_full_panel_of_rows(config):
    rows = config.panel_rows
    state = {"state_address": 400, "scales_address": 300}
    program = [online_softmax(config, rows, 2, first=1, **state), online_softmax(config, rows, 3, **state)]
    check(Memories(config), program)


@both_shapes
def test_both_instructions_in_turn(config):
    """The two have different ways through the unit."""
    additive = softmax(config, 3, 7, mask=Masking.ADDITIVE)
    program = [additive, online_softmax(config, 1, 1, first=1), softmax(config, 1, 1),
               online_softmax(config, 1, 2), online_softmax(config, 4, 5), softmax(config, 2, 9, causal=1)]  # fmt: skip
    check(Memories(config), program)


@pytest.mark.parametrize("seed", range(4))
def test_random_blocks(seed):
    random = np.random.default_rng(seed)
    config = list(SHAPES.values())[seed % len(SHAPES)]
    program = []
    for _ in range(6):
        rows, columns, window = (int(random.integers(1, high)) for high in (8, 24, 12))
        places = {"source_address": int(random.integers(900)), "param_address": int(random.integers(80)),
                  "row_address": int(random.integers(90)), "state_address": 100 + int(random.integers(40)),
                  "scales_address": 200 + int(random.integers(40)), "address": int(random.integers(700))}  # fmt: skip
        flags = {name: int(random.integers(2)) for name in ("causal", "together", "first")}
        mask = {"offset": int(random.integers(-6, 20)), "window": window * int(random.integers(2))}
        program.append(online_softmax(config, rows, columns, gap=int(random.integers(3)), **places, **flags, **mask))
    check(Memories(config, seed), program, gap=1 + seed)


@all_shapes
@pytest.mark.parametrize("causal", [0, 1])
def test_attention_over_blocks_is_that_of_torch(config, causal):
    """o ← o·rescale + (codes @ V)·scale over the blocks = softmax(scores)·V: codes err by half a step of the greatest
    weight of their block at most (bf16: by 2⁻⁹ of themselves), tables by 0.1 %."""
    rows, block, blocks, width = 5, 2 * config.columns, 4, 6
    memories, random = Memories(config, seed=4), np.random.default_rng(5)
    values = random.normal(0, 1, (blocks * block, width))
    value_codes = random.normal(0, 1, values.shape)
    scores, bound = np.empty((rows, blocks * block)), np.zeros(rows)
    past = blocks * block - rows  # the last row sees all
    program = []
    for b in range(blocks):
        work = online_softmax(config, rows, block, first=b == 0, causal=causal, offset=past - b * block,
                              source_address=37 + 100 * b, param_address=11 + 2 * b, address=70 + 100 * b,
                              scales_address=200 + 2 * rows * b)  # fmt: skip
        program.append(work)
        key_scale, value_scale = memories.pairs(work.param_address, block)
        acc = memories.sums(work.source_address, work.source_stride, rows, block).astype(np.float64)
        columns = slice(b * block, (b + 1) * block)
        scores[:, columns] = acc * key_scale * row_numbers(memories, work.row_address, rows)[:, None]
        value_codes[columns] = values[columns] / value_scale[:, None]
    run_unit(SoftmaxUnit(config), memories, program)
    found = np.zeros((rows, width))
    for b, work in enumerate(program):
        codes = memories.act[memories.addresses(work.address, work.stride, rows, -(-block // config.rows))]
        codes = codes.reshape(rows, -1)[:, :block]
        codes = codes if config.pe == "int8" else numerics.from_bits(codes.astype(np.uint32) << 16)
        scale, rescale = row_numbers(memories, work.scales_address, 2 * rows).astype(np.float64).reshape(2, rows)
        columns = slice(b * block, (b + 1) * block)
        found = found * rescale[:, None] + codes.astype(np.float64) @ value_codes[columns] * scale[:, None]
        greatest = np.abs(value_codes[columns]).max()
        step = scale / 2 if config.pe == "int8" else 2.0**-8
        bound = bound * rescale + step * block * (greatest if config.pe == "int8" else np.abs(values).max())
    hidden = torch.arange(blocks * block) > torch.arange(rows)[:, None] + past
    t = torch.tensor(scores * np.log(2)).masked_fill(hidden & bool(causal), -torch.inf)
    golden = (torch.softmax(t, -1) @ torch.tensor(values)).numpy()
    assert (np.abs(found - golden) <= bound[:, None] + 2e-3 * np.abs(values).max()).all()
    assert np.abs(found - golden).max() < 0.05


@pytest.mark.parametrize("config", [NANO, TF32], ids=["nano", "tf32"])
def test_large_scores_in_blocks(config):
    """Scores near 10⁶ and 10³⁰, an eighth or nothing apart: as torch.softmax, to within half a code and the tables."""
    memories, columns = Memories(config), 6
    near, unit = np.array([[2.0**20], [-(2.0**22)], [2.0**100]]), np.array([[0.125], [0.5], [2.0**77]])
    sums = near / unit + np.random.default_rng(1).integers(0, 40, (3, 2 * columns)) * [[1], [1], [0]]
    memories.put_pairs(11, np.ones(columns), np.ones(columns))
    memories.row[5:8, 0] = numerics.to_bits(unit[:, 0].astype(np.float32))
    first = online_softmax(config, 3, columns, first=1)
    second = replace(first, first=0, address=90, scales_address=220, source_address=60)
    for block, work in enumerate((first, second)):
        part = sums[:, block * columns : (block + 1) * columns]
        memories.put("acc", work.source_address, work.source_stride, part.astype(np.int32))
    check(memories, [first, second])
    of_first, of_second, rescale = (row_numbers(memories, place, 3)[:, None] for place in (200, 220, 223))
    codes = [memories.panel("act", work.address, work.stride, 3, columns) for work in (first, second)]
    found = np.concatenate([codes[0] * of_first * rescale, codes[1] * of_second], 1)
    golden = torch.softmax(torch.tensor(sums * unit) * np.log(2), -1).numpy()
    greatest = golden.reshape(3, 2, columns).max(-1).repeat(columns, 1)
    assert (np.abs(found - golden) <= greatest * (0.5 / 127 + 2e-3)).all()
