"""Words and bytes that instructions move, counted by hand."""

import pytest
from heddle.arch.config import PRESETS, Memory
from heddle.arch.isa import (
    Append,
    Axis,
    Codes,
    Combine,
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
    Results,
    Scales,
    Softmax,
    Source,
    Store,
    Stream,
)
from heddle.sim.traffic import dram_bytes, tile_macs, words

READ, WRITE = False, True
ACT, WEIGHT, PARAM, VALUE, INDEX, ACC, ROW, PAGE = (Memory[name] for name in (
    "ACT", "WEIGHT", "PARAM", "VALUE", "INDEX", "ACC", "ROW", "PAGE"))  # fmt: skip

# On nano a word has 4 elements.
CASES = {
    "load": (Load(memory=VALUE, segments=3, words=5), {(VALUE, WRITE): 15}),
    "gather": (Load(memory=ACT, segments=3, words=5, gather=1), {(ACT, WRITE): 15, (INDEX, READ): 3}),
    "scatter": (Store(memory=ACT, segments=3, words=5, scatter=1), {(ACT, READ): 15, (INDEX, READ): 3}),
    "store": (Store(memory=PARAM, words=7), {(PARAM, READ): 7}),
    "matmul": (
        Matmul(rows=5, k_tiles=3, n_tiles=2),
        {(ACT, READ): 30, (WEIGHT, READ): 24, (ACC, READ): 20, (ACC, WRITE): 30},
    ),
    "matmul that adds": (
        Matmul(rows=5, k_tiles=1, n_tiles=2, accumulate=1),
        {(ACT, READ): 10, (WEIGHT, READ): 8, (ACC, READ): 10, (ACC, WRITE): 10},
    ),
    "map": (
        Map(rows=3, columns=7, scaled=1, row_scaled=1, combine=Combine.ADD, planes=1),
        {(ACC, READ): 12, (PARAM, READ): 6, (ROW, READ): 3, (VALUE, READ): 6, (VALUE, WRITE): 6},
    ),
    "rotation": (
        Map(rows=3, columns=8, source=Source.VALUE, combine=Combine.ROTATE), {(VALUE, READ): 24, (VALUE, WRITE): 6}
    ),
    "quantise": (
        Quantise(rows=3, columns=7, scaled=1), {(ACC, READ): 12, (PARAM, READ): 12, (ACT, WRITE): 6, (ROW, WRITE): 3}
    ),
    "quantise transposed": (
        Quantise(rows=3, columns=7, codes=Codes.WEIGHT_TRANSPOSED, scales=Scales.PARAM_PAIR),
        {(ACC, READ): 12, (WEIGHT, WRITE): 21, (PARAM, WRITE): 3},
    ),
    "argmax": (Reduce(rows=3, columns=7, placed=1), {(ACC, READ): 6, (INDEX, WRITE): 3}),
    "the five greatest": (
        Reduce(rows=3, columns=7, scaled=1, count=5, placed=1, results=Results.VALUE),
        {(ACC, READ): 30, (PARAM, READ): 30, (VALUE, WRITE): 15, (INDEX, WRITE): 15},
    ),
    "row sums": (Reduce(rows=3, columns=7, results=Results.ROW), {(ACC, READ): 6, (ROW, WRITE): 3}),
    "sums of columns": (
        Reduce(rows=3, columns=7, axis=Axis.ROWS, results=Results.VALUE), {(ACC, READ): 6, (VALUE, WRITE): 2}
    ),
    "softmax": (
        Softmax(rows=3, columns=7, mask=Masking.ADDITIVE),
        {(ACC, READ): 18, (PARAM, READ): 18, (ROW, READ): 9, (VALUE, READ): 18, (ACT, WRITE): 6, (ROW, WRITE): 3},
    ),
    "onlinesoftmax": (
        OnlineSoftmax(rows=3, columns=7),
        {(ACC, READ): 18, (PARAM, READ): 18, (ROW, READ): 15, (ACT, WRITE): 6, (ROW, WRITE): 12},
    ),
    "norm": (Norm(rows=3, columns=7), {(VALUE, READ): 18, (PARAM, READ): 6, (VALUE, WRITE): 6}),
    "rms": (Norm(rows=3, columns=7, kind=NormKind.RMS), {(VALUE, READ): 12, (PARAM, READ): 6, (VALUE, WRITE): 6}),
    "append": (Append(tokens=3, heads=2, token_words=2), {(WEIGHT, READ): 12, (PAGE, READ): 12}),
    "append pairs": (Append(tokens=3, heads=2, part=Part.PAIRS), {(PARAM, READ): 6, (PAGE, READ): 6}),
    "stream": (Stream(blocks=3, words=2, token_words=2), {(WEIGHT, WRITE): 24, (PAGE, READ): 3}),
    "stream pairs": (Stream(blocks=3, part=Part.PAIRS), {(PARAM, WRITE): 3, (PAGE, READ): 3}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_words(case):
    instruction, moved = CASES[case]
    assert {key: count for key, count in words(instruction, PRESETS["nano"]).items() if count} == moved


@pytest.mark.parametrize("case", CASES)
def test_every_word_that_may_be_touched_is_in_a_memory_that_is_counted(case):
    instruction, moved = CASES[case]
    touched = {(each.memory, each.write) for each in instruction.accesses(PRESETS["nano"])}
    assert set(moved) == touched


def test_bytes_of_dram():
    nano = PRESETS["nano"]
    assert dram_bytes(Load(memory=VALUE, segments=3, words=5), nano) == (3 * 5 * 8, 0)
    assert dram_bytes(Store(memory=ACT, words=5), nano) == (0, 20)
    assert dram_bytes(Append(tokens=3, part=Part.PAIRS), nano) == (0, 24)
    assert dram_bytes(Stream(blocks=3), nano) == (3 * 16, 0)
    assert dram_bytes(Matmul(), nano) == (0, 0)


def test_work_of_whole_tiles():
    assert tile_macs(Matmul(rows=5, k_tiles=3, n_tiles=2), PRESETS["nano"]) == 5 * 12 * 8
    assert tile_macs(Map(), PRESETS["nano"]) == 0
