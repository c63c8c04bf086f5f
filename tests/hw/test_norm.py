"""NORM against the oracle (every bit of every memory), against PyTorch, and in the cycles that
docs/architecture.md gives."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from heddle.arch import numerics
from heddle.arch.config import ADD_CYCLES, MEMORY_CYCLES, MULTIPLY_CYCLES, ROW_SUM_INTERVAL, HardwareConfig
from heddle.arch.functions import EVALUATE_CYCLES
from heddle.arch.isa import Norm, NormKind, Statistics
from heddle.hw.units.norm import Norm as NormUnit

from ..machines import NANO, ODD, VALUES, VALUES_TF32
from .unit_bench import Memories, assert_accesses, assert_same, run_unit

FLOAT32 = replace(VALUES, vector_lanes=4)
both_shapes = pytest.mark.parametrize("config", [NANO, ODD], ids=["nano", "3x5"])
TF32 = replace(VALUES_TF32, vector_lanes=4)
all_shapes = pytest.mark.parametrize(
    "config", [NANO, ODD, FLOAT32, TF32], ids=["nano", "3x5", "float32 4 lanes", "tf32 float32 4 lanes"]
)
LAYER, RMS = NormKind.LAYER, NormKind.RMS


def norm(config: HardwareConfig, rows: int, columns: int, kind: NormKind, gap: int = 0, **fields) -> Norm:
    """An instruction whose panels have `gap` words between rows."""
    words = -(-columns // config.columns) + gap
    places = {"source_address": 37, "param_address": 11, "address": 700, "source_stride": words, "stride": words + gap}
    numbers = {"reciprocal": float(np.float32(1 / columns)), "epsilon": float(np.float32(1e-5))}
    return Norm(rows=rows, columns=columns, kind=kind, **{**places, **numbers, **fields})


def duration(config: HardwareConfig, work: Norm) -> int:
    """D of a Norm, as docs/architecture.md gives it."""
    lanes, m = config.vector_lanes, work.rows
    g = -(-work.columns // lanes)
    w = -(-work.columns // config.columns) * config.columns // lanes
    walk = (m - 1) * max(g, ROW_SUM_INTERVAL) + g + MEMORY_CYCLES
    means = walk + config.row_sum_cycles + MULTIPLY_CYCLES
    narrow = 1 if config.vector_format == "tf32" else 0  # x − mean, the mean square: rounded
    deviations = walk + 1 + ADD_CYCLES + narrow + MULTIPLY_CYCLES + config.row_sum_cycles + MULTIPLY_CYCLES + narrow
    deviations += ADD_CYCLES + EVALUATE_CYCLES + (0 if narrow else 3 * MULTIPLY_CYCLES + ADD_CYCLES)
    results = m * w + MEMORY_CYCLES + 1 + ADD_CYCLES + narrow + 2 * MULTIPLY_CYCLES + ADD_CYCLES + 1
    return means * (work.kind is LAYER) + deviations + results


def operands(memories: Memories, work: Norm):
    """x, γ, β: arguments of the oracle."""
    x = memories.values(work.source_address, work.source_stride, work.rows, work.columns)
    return x, *memories.pairs(work.param_address, work.columns)


def execute(memories: Memories, work: Norm) -> None:
    """The effect of `work` on `memories`, by the oracle."""
    x, gamma, beta = operands(memories, work)
    lanes = memories.config.vector_lanes
    arithmetic = numerics.arithmetic_of(memories.config)
    found = numerics.norm_with_statistics(x, gamma, beta, work.reciprocal, work.epsilon, lanes, work.kind is LAYER,
                                          arithmetic)  # fmt: skip
    memories.put("value", work.address, work.stride, memories.stored(found.y))
    numbers = {
        Statistics.NONE: (), Statistics.MOMENTS: (found.mean, found.deviation),
        Statistics.SUMS: (found.sum_of_x, found.sum_of_squares),
    }[work.statistics]  # fmt: skip
    place = work.statistics_address
    for each in numbers[work.kind is RMS :]:
        memories.row[place : place + work.rows, 0] = numerics.to_bits(each)
        place += work.rows


def check(memories: Memories, program: list[Norm], gap: int = 1) -> None:
    """Run `program` on the RTL and hold memories, durations and accesses to the specification."""
    config, expected = memories.config, memories.copy()
    for work in program:
        execute(expected, work)
    records = run_unit(NormUnit(config), memories, program, gap=gap)
    assert_same(memories, expected)
    for work, record in zip(program, records, strict=True):
        assert record.retire - record.start == duration(config, work), work
        assert_accesses(config, work, record)
        # Groups beyond `columns` read nothing, the others x once in each phase and γ, β in the last.
        groups = work.rows * -(-work.columns // config.vector_lanes)
        assert len(record.reads) == groups * (4 if work.kind is LAYER else 3)
        statistics = work.rows * (1 + (work.kind is LAYER)) if work.statistics else 0
        assert len([name for _, name, _ in record.writes if name == "row"]) == statistics


def as_floats(bits) -> float:
    return numerics.from_bits(np.uint32(bits) << np.uint32(16))


def test_a_row_of_four_by_hand():
    memories = Memories(NANO)
    memories.put("value", 0, 1, memories.stored(np.array([[3.0, 5.0, 3.0, 5.0]], np.float32)))
    memories.put_pairs(0, np.array([1.0, 2.0, 4.0, 0.0]), np.array([0.0, 0.0, 8.0, -1.0]))
    work = norm(NANO, 1, 4, LAYER, source_address=0, param_address=0, address=1, epsilon=0.0)
    (record,) = run_unit(NormUnit(NANO), memories, [work])
    # The mean is 4 and the variance 1, and rsqrt is exact at powers of two: −1, 1, −1, 1.
    assert as_floats(memories.value[1]).tolist() == [-1.0, 2.0, 4.0, -1.0]
    # Each walk two groups and the memory, 2. The sum 19, the mean 3; d 5, d² 3, the sum, · 1/N 3, + ε 4, rsqrt 8, the
    # Newton step 13; d 5, three factors and a sum 10, the register.
    assert record.retire - record.start == (2 + 2 + 19 + 3) + (2 + 2 + 8 + 19 + 28) + (2 + 2 + 5 + 10 + 1)


@all_shapes
@pytest.mark.parametrize("kind", NormKind, ids=lambda kind: kind.name)
def test_panels_of_all_shapes(config, kind):
    shapes = [(1, 1), (1, 2), (2, 1), (3, 5), (1, 13), (4, 4), (5, 12), (2, 37), (7, 3)]
    program = [norm(config, rows, columns, kind, gap=i % 3) for i, (rows, columns) in enumerate(shapes)]
    check(Memories(config), program)


@both_shapes
def test_kinds_follow_each_other(config):
    kinds = [RMS, LAYER, RMS, RMS, LAYER, LAYER]
    program = [norm(config, 2, 3, kind, address=700 + 8 * i) for i, kind in enumerate(kinds)]
    check(Memories(config), program)
    check(Memories(config, seed=1), program, gap=4)


@all_shapes
def test_statistics_of_all_kinds(config):
    program = [
        norm(config, rows, 7, kind, statistics=statistics, statistics_address=50 + 20 * i, address=700 + 20 * i)
        for i, (rows, statistics, kind) in enumerate(
            (rows, statistics, kind) for rows in (1, 4) for statistics in Statistics for kind in NormKind
        )
    ]
    check(Memories(config), program)
    check(Memories(config, seed=1), program[::-1], gap=3)


@pytest.mark.parametrize("config, tolerance", [(FLOAT32, 1e-6), (TF32, 2.0**-9)], ids=["float32", "tf32"])
def test_statistics_are_those_of_torch(config, tolerance):
    """Means and sums in float32; squares and 1/σ in the format of vector arithmetic."""
    memories, rows, columns = Memories(config, seed=7), 5, 24
    x = memories.values(37, -(-columns // config.columns), rows, columns)
    first = norm(config, rows, columns, LAYER, statistics=Statistics.MOMENTS, statistics_address=100)
    run_unit(NormUnit(config), memories, [first, replace(first, statistics=Statistics.SUMS, statistics_address=200)])
    moments, sums = (numerics.from_bits(memories.row[at : at + 2 * rows, 0].copy()).reshape(2, rows)
                     for at in (100, 200))  # fmt: skip
    x = torch.tensor(x, dtype=torch.float64)
    deviations, squares = 1 / (x.var(1, correction=0) + first.epsilon).sqrt(), ((x - x.mean(1, True)) ** 2).sum(1)
    np.testing.assert_allclose(moments[0], x.mean(1), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(sums[0], x.sum(1), rtol=1e-6, atol=3e-5)
    np.testing.assert_allclose(moments[1], deviations, rtol=tolerance)
    np.testing.assert_allclose(sums[1], squares, rtol=tolerance)


@both_shapes
def test_in_place(config):
    check(Memories(config), [norm(config, 3, 7, kind, address=37) for kind in (LAYER, RMS)])


@both_shapes
def test_a_full_panel_of_rows(config):
    check(Memories(config), [norm(config, config.panel_rows, 2, LAYER), norm(config, 1, 3, LAYER)])


@all_shapes
def test_extreme_numbers(config):
    memories = Memories(config)
    rows = np.zeros((9, 6), np.float32)
    rows[1] = 7.0  # a variance of zero
    rows[2] = [1e-42, -1e-42, 1e-39, 0, -0.0, 0]  # subnormals
    rows[3] = [-0.0] * 6
    rows[4] = [1e30, -1e30, 1e30, 3e38, 0, 1]  # squares overflow
    rows[5, 2] = np.inf
    rows[6, 5] = -np.inf
    rows[7, 0] = np.nan
    rows[8] = 1000 + np.arange(6)
    memories.put("value", 37, 2, memories.stored(rows))
    if config.value_format == "bf16":
        memories.value[37 + 2 * 2] |= 0x007F  # subnormals also as bf16
    memories.put_pairs(21, np.array([1e-42, np.inf, -1, 0, np.nan, 2]), np.array([0, 1, -0.0, 1e-42, 3, np.inf]))
    program = [
        norm(config, 9, 6, kind, source_stride=2, address=700 + 40 * place, param_address=place, epsilon=epsilon)
        for kind in NormKind
        for place, epsilon in ((11, 0.0), (21, 1e-5), (11, float("inf")))
    ]
    check(memories, program)


@pytest.mark.parametrize("seed", range(4))
@all_shapes
def test_finite_rows_give_finite_rows(config, seed):
    memories = Memories(config)
    memories.make_hard(seed)
    kinds = [(LAYER, 0.0), (RMS, 0.0), (LAYER, 1e-5), (RMS, 1e-12)]
    program = [norm(config, 5, 6, kind, epsilon=each, address=700 + 40 * i) for i, (kind, each) in enumerate(kinds)]
    check(memories, program)
    assert all(np.isfinite(memories.values(each.address, each.stride, 5, 6)).all() for each in program)


@both_shapes
def test_nothing_beyond_the_last_column_is_used(config):
    columns = config.columns + 1
    x = np.random.default_rng(2).normal(0, 2, (2, columns)).astype(np.float32)
    found = []
    for rest in (0, np.iinfo(np.uint16).max):  # zeros, NaNs
        memories = Memories(config)
        memories.value[:] = rest
        array = memories.stored(x)
        for i in range(2):
            flat = memories.value[37 + 2 * i : 39 + 2 * i].reshape(-1)
            flat[:columns] = array[i]
        memories.put_pairs(11, np.ones(columns), np.zeros(columns))
        work = norm(config, 2, columns, LAYER)
        check(memories, [work])
        found.append(memories.value[700:704].copy())
    assert (found[0] == found[1]).all()
    assert found[0].any()


@pytest.mark.parametrize(
    ("config", "tolerance"), [(NANO, 2**-8), (ODD, 2**-8), (FLOAT32, 2e-6), (TF32, 2**-8)],
    ids=["nano", "3x5", "float32 4 lanes", "tf32 float32 4 lanes"],
)
@pytest.mark.parametrize("kind", NormKind, ids=lambda kind: kind.name)
def test_results_are_those_of_torch(config, kind, tolerance):
    """To within the rounding to bf16 (half a step of 2⁻⁸, plus float32), or a few steps of float32, of the largest. In
    tf32 to within eight roundings of 2⁻¹¹ of the two terms that are added last, which may cancel: those of d, of its
    mean square and ε (half of each counts), 1/√, γ, two products, and the sum with β."""
    memories = Memories(config, seed=4)
    rows, columns = 4, 43
    x = np.random.default_rng(6).normal(3, 2, (rows, columns)).astype(np.float32)
    memories.put("value", 37, -(-columns // config.columns), memories.stored(x))
    work = norm(config, rows, columns, kind)
    x, gamma, beta = (torch.tensor(each, dtype=torch.float64) for each in operands(memories, work))
    run_unit(NormUnit(config), memories, [work])
    if kind is LAYER:
        golden = torch.nn.functional.layer_norm(x, (columns,), gamma, beta, eps=work.epsilon)
    else:
        golden = torch.nn.functional.rms_norm(x, (columns,), gamma, eps=work.epsilon) + beta
    found = memories.values(work.address, work.stride, rows, columns)
    error = (torch.tensor(found) - golden).abs()
    size = golden.abs() if config is not TF32 else (golden - beta).abs() + beta.abs()
    assert (error <= tolerance * size + 1e-6 * golden.abs().max()).all()
