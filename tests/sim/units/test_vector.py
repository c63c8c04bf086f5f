"""VECTOR: Map and Quantise against torch, their destinations, and their durations."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from heddle.arch.config import PRESETS, Memory
from heddle.arch.errors import HeddleError
from heddle.arch.functions import DESCRIPTOR_COUNT, HEADER_PLACE, WORD_PLACE
from heddle.arch.isa import (
    Axis,
    Codes,
    Combine,
    Digit,
    Function,
    Layout,
    Map,
    Quantise,
    Reduce,
    Reduction,
    Results,
    Scales,
    SecondOperand,
    Source,
    Tables,
)
from heddle.arch.numerics import to_bf16
from heddle.compiler.functions import named
from heddle.sim import units

F = torch.nn.functional
TORCH = {
    "": lambda x: x,
    "relu": torch.relu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "exp": torch.exp,
}


def tolerance(config):
    """Relative and absolute: half a unit of bf16 in storage, and 2⁻¹¹ of functions by table."""
    return dict(rtol=2**-8 if config.value_format == "bf16" else 2**-10.9, atol=2**-30)


def stored(config, x):
    return to_bf16(x) if config.value_format == "bf16" else x.astype(np.float32)


def set_table(state, number, table, address=100):
    """Makes it one of the four, by way of PARAM, as a program does. Tables are in instructions of odd lengths."""
    header, *others = table.to_ints()
    places = [*range(number * DESCRIPTOR_COUNT, (number + 1) * DESCRIPTOR_COUNT),
              *range(WORD_PLACE, WORD_PLACE + len(table.words)), HEADER_PLACE + number]  # fmt: skip
    entries, columns, first = [*others, header], state.config.columns, 0
    while first < len(places):
        last = next((i for i in range(first, min(first + 37, len(places)) - 1) if places[i + 1] != places[i] + 1),
                    min(first + 37, len(places)) - 1)  # fmt: skip
        some = [number | 0xABC << 36 for number in entries[first : last + 1]]  # what is above does not count
        padded = np.array(some + [0] * (-len(some) % columns), np.uint64).view(np.float32)
        state[Memory.PARAM].write(address, 0, padded.reshape(1, 1, -1, columns, 2))
        units.execute(Tables(param_address=address, entries=len(some), place=places[first]), state, state.config)
        first = last + 1


def test_tables_cycles(nano):
    assert units.cycles(Tables(entries=9), nano) == 9 + 3


def test_tables_may_differ_between_inputs(nano, make_state, fill_panel):
    """PARAM is data: entries that a Quantise wrote there, or that an input brought along."""
    state, x = make_state(nano, batch=2), np.float32([[[-2, -1, 0, 1]]])
    stride = fill_panel(state, Memory.VALUE, 0, x)
    set_table(state, 2, named("tanh"))
    entries = np.repeat(state.tables.shared, 2, 0)
    entries[1, WORD_PLACE : WORD_PLACE + 49] = 0
    state.tables.write(0, 0, entries[:, None])
    work = Map(columns=4, source=Source.VALUE, source_stride=stride, function=Function.TABLE_2, address=9)
    units.execute(work, state, nano)
    found = state.panel(Memory.VALUE, 9, 1, 1, 4)
    np.testing.assert_allclose(found[0], np.tanh(x[0]), rtol=2**-8)
    assert not found[1].any()


def test_a_descriptor_of_no_mode_is_refused_where_it_is_used(nano, make_state):
    state = make_state(nano)
    units.execute(Map(columns=4, source=Source.VALUE, function=Function.TABLE_1, address=9), state, nano)
    state.tables.write(DESCRIPTOR_COUNT + 5, 0, np.array([15 << 24]).reshape(1, 1, 1, 1))
    with pytest.raises(HeddleError, match="the mode of a descriptor must be one of 0, 1, 2, 3, 4, 8, 9, 10, not 15"):
        units.execute(Map(columns=4, source=Source.VALUE, function=Function.TABLE_1, address=9), state, nano)


@pytest.mark.parametrize("kind", TORCH)
def test_a_map_from_acc_drains_and_activates_as_torch_does(config, make_state, fill_panel, fill_params, kind):
    rng = np.random.default_rng(7)
    rows, columns = 4, 7
    acc = rng.integers(-30000, 30000, (2, rows, columns)).astype(np.int32)
    scale, offset = rng.uniform(0.5, 2, columns), rng.normal(size=columns)
    row = rng.uniform(1e-5, 3e-4, rows).astype(np.float32)
    state = make_state(config, batch=2)
    stride = fill_panel(state, Memory.ACC, 30, acc)
    fill_params(state, 6, scale, offset)
    state.write_row_numbers(12, row[None])
    function = {"": Function.NONE, "relu": Function.RELU}.get(kind, Function.TABLE_3)
    if function is Function.TABLE_3:
        set_table(state, 3, named(kind))
    instruction = Map(rows=rows, columns=columns, source_address=30, source_stride=stride, scaled=1, param_address=6,
                      row_scaled=1, row_address=12, function=function, address=50, stride=3)  # fmt: skip
    units.execute(instruction, state, config)
    x = torch.from_numpy(acc) * torch.from_numpy(scale) * torch.from_numpy(row)[:, None] + torch.from_numpy(offset)
    found = state.panel(Memory.VALUE, 50, 3, rows, stride * config.columns)
    np.testing.assert_allclose(found[..., :columns], TORCH[kind](x).numpy(), **tolerance(config))
    assert not found[..., columns:].any(), "+0 up to the end of the word"


@pytest.mark.parametrize("combine", [Combine.ADD, Combine.MULTIPLY])
def test_a_map_combines_with_a_second_operand_in_place(config, make_state, fill_panel, combine):
    rng = np.random.default_rng(8)
    a, b = (stored(config, rng.normal(size=(3, 6))) for _ in range(2))
    state = make_state(config)
    stride = fill_panel(state, Memory.VALUE, 0, a)
    fill_panel(state, Memory.VALUE, 40, b)
    instruction = Map(rows=3, columns=6, source=Source.VALUE, source_stride=stride, combine=combine,
                      operand_address=40, operand_stride=stride, stride=stride)  # fmt: skip
    units.execute(instruction, state, config)
    expected = a + b if combine is Combine.ADD else a * b
    np.testing.assert_allclose(state.panel(Memory.VALUE, 0, stride, 3, 6)[0], stored(config, expected), rtol=1e-7)


COMBINED = {
    Combine.ADD: torch.add, Combine.MULTIPLY: torch.mul, Combine.SUBTRACT: torch.sub,
    Combine.SUBTRACT_FROM: lambda x, y: y - x, Combine.MAXIMUM: torch.maximum, Combine.MINIMUM: torch.minimum,
    Combine.LESS: torch.lt, Combine.LESS_EQUAL: torch.le, Combine.EQUAL: torch.eq,
}  # fmt: skip
ANY = [0.0, -0.0, 1.0, -1.0, 2.5, np.inf, -np.inf, np.nan]


def test_every_way_to_combine_is_tested():
    assert {*COMBINED, Combine.NONE, Combine.ROTATE, Combine.SELECT} == {*Combine}


@pytest.mark.parametrize("operand", SecondOperand, ids=lambda each: each.name)
@pytest.mark.parametrize("combine", COMBINED, ids=lambda each: each.name)
def test_two_operands_are_combined_as_torch_does(config, make_state, fill_panel, combine, operand):
    """Of all pairs of special values."""
    x, y = np.meshgrid(np.float32(ANY), np.float32(ANY))
    if operand is SecondOperand.COLUMN:
        y = y[:, :1]
    elif operand is SecondOperand.SCALAR:
        y = np.float32([[1.0]])
    state, rows = make_state(config), len(x)
    stride = fill_panel(state, Memory.VALUE, 0, x)
    if operand is SecondOperand.VALUE:
        fill_panel(state, Memory.VALUE, 100, y)
    else:
        state.write_row_numbers(100, y.T)
    work = Map(rows=rows, columns=8, source=Source.VALUE, source_stride=stride, combine=combine, operand=operand,
               operand_address=100, operand_stride=stride, address=200, stride=stride)  # fmt: skip
    units.execute(work, state, config)
    with torch.no_grad():
        expected = COMBINED[combine](torch.from_numpy(x), torch.from_numpy(y)).float().numpy()
    np.testing.assert_array_equal(state.panel(Memory.VALUE, 200, stride, rows, 8)[0], expected)


def test_a_row_of_values_for_all_rows(nano, make_state, fill_panel):
    state, x, y = make_state(nano), np.float32([[1, 2, 3, 4], [5, 6, 7, 8]]), np.float32([[1, 2, 0, 1]])
    stride = fill_panel(state, Memory.VALUE, 0, x)
    fill_panel(state, Memory.VALUE, 50, y)
    work = Map(rows=2, columns=4, source=Source.VALUE, source_stride=stride, combine=Combine.SUBTRACT,
               operand_address=50, address=90, stride=1)  # fmt: skip
    units.execute(work, state, nano)
    assert state.panel(Memory.VALUE, 90, 1, 2, 4)[0].tolist() == [[0, 0, 3, 3], [4, 4, 7, 7]]


@pytest.mark.parametrize("operand", SecondOperand, ids=lambda each: each.name)
def test_select_leaves_what_is_not_chosen(config, make_state, fill_panel, operand):
    """torch.where. What stays keeps its bits; beyond the columns it is +0 in any case."""
    rng = np.random.default_rng(3)
    x = stored(config, rng.normal(size=(4, 7)))
    mask = {SecondOperand.VALUE: rng.choice(np.float32([0, -0.0, 1, -3, np.nan]), (4, 7)),
            SecondOperand.COLUMN: np.float32([[0], [2], [-0.0], [np.inf]]), SecondOperand.SCALAR: np.float32([[0]])}
    y, state = mask[operand], make_state(config)
    stride = fill_panel(state, Memory.VALUE, 0, x)
    if operand is SecondOperand.VALUE:
        fill_panel(state, Memory.VALUE, 100, y)
    else:
        state.write_row_numbers(60, y.T)
    state[Memory.VALUE].shared[:, 200:300] = 9
    work = Map(rows=4, columns=7, source=Source.VALUE, source_stride=stride, combine=Combine.SELECT, operand=operand,
               operand_address=100 if operand is SecondOperand.VALUE else 60, operand_stride=stride, address=200,
               stride=stride)  # fmt: skip
    units.execute(work, state, config)
    found = state.panel(Memory.VALUE, 200, stride, 4, stride * config.columns)[0]
    expected = torch.where(torch.from_numpy(np.broadcast_to(y, x.shape) != 0), torch.from_numpy(x), torch.tensor(9.0))
    np.testing.assert_array_equal(found[:, :7], expected)
    assert not found[:, 7:].any() and (state[Memory.VALUE].read(200 + 4 * stride, 0, 1, 8) == 9).all()


def quantised(config, make_state, fill_panel, x, **fields):
    """Run a Quantise of x (rows, columns) from VALUE into memories full of −1."""
    state = make_state(config)
    stride = fill_panel(state, Memory.VALUE, 0, x)
    for memory in (Memory.ACT, Memory.WEIGHT, Memory.PARAM):
        state[memory].shared[:] = -1
    rows, columns = x.shape
    instruction = Quantise(rows=rows, columns=columns, source=Source.VALUE, source_stride=stride, **fields)
    units.execute(instruction, state, config)
    return state


@pytest.fixture
def rows_to_quantise(config):
    """Rows with maxima of very different size, one of them zero; codes and scales as torch computes them."""
    x = stored(config, np.random.default_rng(9).normal(size=(7, 8)) * np.logspace(-3, 3, 7)[:, None])
    x[4] = 0
    scales = torch.from_numpy(x).abs().amax(1) / 127
    codes = torch.round(torch.from_numpy(x) / scales[:, None].clamp(min=1e-30))
    return x, codes.numpy(), scales.numpy()


def test_codes_for_act_lie_in_rows_filled_with_zeros(config, make_state, fill_panel, rows_to_quantise):
    x, codes, scales = rows_to_quantise
    words = -(-8 // config.rows)
    state = quantised(config, make_state, fill_panel, x, address=5, stride=words + 1, scales_address=20)
    found = state[Memory.ACT].read(5, words + 1, 7, words).reshape(7, -1)
    assert np.abs(found[:, :8] - codes).max() <= 1  # rcp is good to 2⁻¹¹·⁵: codes near a tie may fall on the other side
    assert (np.abs(found[:, :8] - codes) > 0).mean() < 0.02
    assert not found[:, 8:].any()
    assert (state[Memory.ACT].read(5 + words, words + 1, 6, 1) == -1).all(), "words between rows are left alone"
    np.testing.assert_allclose(state.row_numbers(20, 7)[0], scales, rtol=1e-6, atol=2**-60)


def test_codes_for_weight_and_for_its_transpose_agree_with_those_for_act(
    config, make_state, fill_panel, rows_to_quantise
):
    x, columns = rows_to_quantise[0], config.columns
    act = quantised(config, make_state, fill_panel, x, stride=8)
    codes = act[Memory.ACT].read(0, 8, 7, -(-8 // config.rows)).reshape(7, -1)[:, :8]
    straight = quantised(config, make_state, fill_panel, x, codes=Codes.WEIGHT, address=9, stride=30)
    blocks = straight[Memory.WEIGHT].read(9, 30, -(-8 // columns), 7)[0]  # (blocks, rows, elements)
    found = np.concatenate(list(blocks), axis=1)
    assert np.array_equal(found[:, :8], codes) and not found[:, 8:].any()
    across = quantised(config, make_state, fill_panel, x, codes=Codes.WEIGHT_TRANSPOSED, address=9, stride=30)
    blocks = across[Memory.WEIGHT].read(9, 30, -(-7 // columns), 8)[0]  # (blocks, columns, elements)
    found = np.concatenate(list(blocks), axis=1).T
    assert np.array_equal(found[:7], codes) and (found[7:] == -1).all(), "bytes of other rows are left alone"


@pytest.mark.parametrize("half", [Scales.PARAM_SCALE, Scales.PARAM_OFFSET])
def test_scales_can_become_one_half_of_the_pairs_of_columns(config, make_state, fill_panel, rows_to_quantise, half):
    x, _, scales = rows_to_quantise
    state = quantised(config, make_state, fill_panel, x, stride=8, scales=half, scales_address=4)
    pairs = state.pairs(4, 2 * config.columns)
    found, other = pairs if half is Scales.PARAM_SCALE else pairs[::-1]
    np.testing.assert_allclose(found[0, :7], scales, rtol=1e-6, atol=2**-60)
    assert (found[0, 7:] == -1).all() and (other == -1).all()


def test_a_map_takes_its_words_and_the_pipeline(nano, odd):
    assert units.cycles(Map(rows=3, columns=5), nano) == 3 * 4 + 2 + nano.vector_map_cycles  # two words of two groups
    assert units.cycles(Map(rows=3, columns=6), odd) == 3 * 10 + 2 + odd.vector_map_cycles  # two words of five
    two_reads = Map(rows=3, columns=5, source=Source.VALUE, combine=Combine.ADD)
    assert units.cycles(two_reads, nano) == 3 * 4 * 2 + 2 + nano.vector_map_cycles


def test_a_quantise_walks_its_rows_twice(nano, odd):
    def both(config):
        return (
            2 * (2 + config.vector_map_cycles)
            + config.row_maximum_cycles
            + config.row_scale_cycles
            + config.quantise_cycles
        )

    assert units.cycles(Quantise(rows=3, columns=5), nano) == 3 * 3 + 3 * 4 + both(nano)  # g = 3 groups, a = 4
    assert units.cycles(Quantise(rows=3, columns=5), odd) == 3 * 5 + 3 * 6 + both(odd)  # g = 5, a = two words of 3
    to_weight = Quantise(rows=3, columns=6, codes=Codes.WEIGHT)
    assert units.cycles(to_weight, odd) == 3 * 6 + 3 * 10 + both(odd)
    # Transposed on nano: 2 blocks of 2 rows with 3 groups each, and the last tile in 2 cycles more.
    across = Quantise(rows=3, columns=5, codes=Codes.WEIGHT_TRANSPOSED)
    assert units.cycles(across, nano) == 3 * 3 + 2 * 2 * 3 + 2 + both(nano)
    # With both operands from VALUE a group takes two cycles.
    slow = Quantise(rows=3, columns=5, codes=Codes.WEIGHT_TRANSPOSED, source=Source.VALUE, combine=Combine.ADD)
    assert units.cycles(slow, nano) == 3 * 3 * 2 + 2 * 2 * 3 * 2 + 2 + both(nano)


@pytest.mark.parametrize("words", [1, 2, 3, 4])
def test_rotation_turns_pairs_half_a_row_apart(config, make_state, fill_panel, words):
    rng = np.random.default_rng(10)
    rows, columns = 3, words * config.columns
    if columns % (2 * config.vector_lanes):  # half a row is not whole groups of lanes
        with pytest.raises(HeddleError, match="half of them groups of"):
            Map(rows=rows, columns=columns, source=Source.VALUE, combine=Combine.ROTATE, address=100).check(config)
        return
    x, angle = stored(config, rng.normal(size=(rows, columns))), rng.uniform(0, 6, (rows, columns // 2))
    cosine, sine = np.cos(angle), np.sin(angle)
    table = stored(config, np.concatenate([cosine, cosine, -sine, sine], 1))
    state = make_state(config)
    fill_panel(state, Memory.VALUE, 0, x)
    fill_panel(state, Memory.VALUE, 40, table)
    instruction = Map(rows=rows, columns=columns, source=Source.VALUE, source_stride=words, combine=Combine.ROTATE,
                      operand_address=40, operand_stride=2 * words, address=100, stride=words)  # fmt: skip
    instruction.check(config)
    units.execute(instruction, state, config)
    a, b = (torch.from_numpy(each) for each in np.split(x, 2, axis=1))
    c, s = (torch.from_numpy(each[:, : columns // 2]) for each in (table, -table[:, columns:]))
    expected = torch.cat([a * c - b * s, b * c + a * s], 1).numpy()
    found = state.panel(Memory.VALUE, 100, words, rows, columns)[0]
    np.testing.assert_allclose(found, expected, rtol=2**-7, atol=2**-8)


def test_an_operand_can_be_scaled_by_a_number_of_its_row(config, make_state, fill_panel):
    rng = np.random.default_rng(11)
    a, b = (stored(config, rng.normal(size=(3, 6))) for _ in range(2))
    factor = rng.normal(size=3).astype(np.float32)
    state = make_state(config)
    stride = fill_panel(state, Memory.VALUE, 0, a)
    fill_panel(state, Memory.VALUE, 40, b)
    state.write_row_numbers(9, factor[None])
    instruction = Map(rows=3, columns=6, source=Source.VALUE, source_stride=stride, combine=Combine.ADD,
                      operand_scaled=1, operand_address=40, operand_stride=stride, operand_row_address=9,
                      stride=stride)  # fmt: skip
    units.execute(instruction, state, config)
    expected = a + b * factor[:, None]
    np.testing.assert_allclose(state.panel(Memory.VALUE, 0, stride, 3, 6)[0], stored(config, expected), rtol=2**-7)


@pytest.mark.parametrize("planes", [1, 2])
def test_planes_are_digits_of_one_number(nano, make_state, fill_panel, planes):
    state = make_state(nano)
    panels = np.array([[[3, -2]], [[5, -128]], [[7, 1]]], np.int32)  # one row of two columns, the highest digit first
    for plane, panel in enumerate(panels):
        fill_panel(state, Memory.ACC, 10 + 2 * plane, panel)  # a stride of 2 words
    instruction = Map(rows=1, columns=2, source_address=10, source_stride=2, planes=planes, address=9)
    instruction.check(nano)
    units.execute(instruction, state, nano)
    expected = [[3 * 256 + 5, -2 * 256 - 128], [(3 * 256 + 5) * 256 + 7, (-2 * 256 - 128) * 256 + 1]][planes - 1]
    np.testing.assert_array_equal(state.panel(Memory.VALUE, 9, 1, 1, 2)[0, 0], to_bf16(np.float32(expected)))


def test_high_and_low_digits_make_codes_of_sixteen_bits(config, make_state, fill_panel, rows_to_quantise):
    x = rows_to_quantise[0]
    words = -(-8 // config.rows)
    codes = 0
    for digit, weight in ((Digit.HIGH, 256), (Digit.LOW, 1)):
        state = quantised(config, make_state, fill_panel, x, address=5, stride=words, scales_address=20, digit=digit)
        codes = codes + weight * state[Memory.ACT].read(5, words, 7, words).reshape(7, -1)[:, :8].astype(int)
    scales = state.row_numbers(20, 7)[0]
    largest = np.abs(x).max(1)
    np.testing.assert_allclose(scales, np.maximum(largest, 2**-60) / 32639, rtol=1e-6)
    # Half a step, and rcp is good to 2⁻¹¹·⁵: codes may be too large or small by that part of themselves.
    assert (np.abs(codes * scales[:, None] - x) <= 0.51 * scales[:, None] + np.abs(x) * 2.0**-11.5).all()
    assert np.abs(codes).max() <= 32639


def test_scales_can_become_both_halves_of_a_pair(config, make_state, fill_panel, rows_to_quantise):
    x, _, scales = rows_to_quantise
    state = quantised(config, make_state, fill_panel, x, stride=8, scales=Scales.PARAM_PAIR, scales_address=4)
    for found in state.pairs(4, 2 * config.columns):
        np.testing.assert_allclose(found[0, :7], scales, rtol=1e-6, atol=2**-60)
        assert (found[0, 7:] == -1).all()


def mapped(config, make_state, fill_panel, x, **fields):
    """The state after a Map of values x to where all is −1."""
    state = make_state(config, batch=len(x) if x.ndim > 2 else 1)
    stride = fill_panel(state, Memory.VALUE, 0, x)
    state[Memory.VALUE].shared[:, 100:] = -1
    shape = dict(zip(("rows", "columns"), x.shape[-2:], strict=True))
    units.execute(Map(**shape, source=Source.VALUE, source_stride=stride, **fields), state, config)
    return state


@pytest.mark.parametrize("rows, columns", [(9, 7), (1, 11), (4, 4)])
def test_values_can_be_turned(config, make_state, fill_panel, rows, columns):
    x = stored(config, np.random.default_rng(11).normal(size=(2, rows, columns)))
    stride = -(-rows // config.columns) + 1
    state = mapped(config, make_state, fill_panel, x, layout=Layout.TRANSPOSED, address=100, stride=stride)
    found = state.panel(Memory.VALUE, 100, stride, columns, stride * config.columns)
    np.testing.assert_array_equal(found[..., :rows], torch.from_numpy(x).mT.numpy())
    assert (found[..., rows:] == -1).all(), "other elements stay"


def test_slices_and_concatenations_at_any_column(config, make_state, fill_panel):
    """torch.cat((x[:, cut:], x[:, :cut]), 1) by two Maps, for every cut."""
    x = stored(config, np.random.default_rng(13).normal(size=(3, 11)))
    for cut in range(1, 11):
        state = make_state(config)
        stride = fill_panel(state, Memory.VALUE, 0, x)
        state[Memory.VALUE].shared[:, 100:] = -1
        common = dict(rows=3, source=Source.VALUE, layout=Layout.SHIFTED, stride=4, source_stride=stride)
        word, rest = divmod(cut, config.columns)
        units.execute(
            Map(**common, columns=11 - cut + rest, source_address=word, shift=-rest, address=100), state, config
        )
        word, rest = divmod(11 - cut, config.columns)
        units.execute(Map(**common, columns=cut, shift=rest, address=100 + word), state, config)
        found = state.panel(Memory.VALUE, 100, 4, 3, 4 * config.columns)[0]
        expected = torch.cat((torch.from_numpy(x[:, cut:]), torch.from_numpy(x[:, :cut])), 1).numpy()
        np.testing.assert_array_equal(found[:, :11], expected, str(cut))
        assert (found[:, 11:] == -1).all()


def test_one_row_can_be_repeated(config, make_state, fill_panel):
    x = stored(config, np.random.default_rng(14).normal(size=(1, 6)))
    state = make_state(config)
    fill_panel(state, Memory.VALUE, 0, x)
    units.execute(Map(rows=4, columns=6, source=Source.VALUE, source_stride=0, address=100, stride=2), state, config)
    np.testing.assert_array_equal(state.panel(Memory.VALUE, 100, 2, 4, 6)[0], np.broadcast_to(x, (4, 6)))


@pytest.mark.parametrize("fields, message", [
    (dict(shift=4), "shift must be less than a word of 4"),
    (dict(shift=-2), "leave some of 2 columns, not -2"),
    (dict(layout=Layout.TRANSPOSED), "the result must not replace what it is made of"),
    (dict(layout=Layout.SHIFTED), "the result must not replace what it is made of"),
])  # fmt: skip
def test_a_layout_that_makes_no_sense_is_refused(nano, fields, message):
    with pytest.raises(HeddleError, match=message):
        Map(**dict(columns=2, source=Source.VALUE) | fields).check(nano)


def with_ties():
    """Rows of few different numbers, zeros of both signs among them, one row with NaN and infinities."""
    random = np.random.default_rng(5)
    x = random.choice(np.float32([-2, -0.0, 0.0, 1.5, 3]), (5, 9))
    x[4] = 0, np.nan, 3, np.inf, -np.inf, -2, 0, np.nan, -2
    return x


def reduced(config, make_state, fill_panel, x, batch=1, **fields):
    """The state after a Reduce of values x."""
    state = make_state(config, batch=batch)
    stride = fill_panel(state, Memory.VALUE, 0, x)
    for memory in (Memory.INDEX, Memory.VALUE):
        state[memory].shared[:, 100 if memory is Memory.VALUE else 0 :] = -1
    shape = dict(zip(("rows", "columns"), x.shape[-2:], strict=True))
    units.execute(Reduce(**shape, source=Source.VALUE, source_stride=stride, **fields), state, config)
    return state


def indices(state, first, rows, count):
    """(batch or 1, rows, count) elements of INDEX."""
    words = state[Memory.INDEX].read(0, 0, 1, 48)
    return words.reshape(len(words), -1)[:, first : first + rows * count].reshape(-1, rows, count)


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_the_greatest_and_their_places_are_those_of_a_stable_sort_of_torch(config, make_state, fill_panel, count):
    x = with_ties()
    state = reduced(config, make_state, fill_panel, x, kind=Reduction.MAXIMUM, count=count, placed=1, index_address=3,
                    results=Results.ROW, address=7)  # fmt: skip
    values, places = torch.sort(torch.from_numpy(x), dim=-1, descending=True, stable=True)
    np.testing.assert_array_equal(indices(state, 3, 5, count)[0], places[:, :count].numpy())
    np.testing.assert_array_equal(state.row_numbers(7, 5 * count)[0], values[:, :count].numpy().reshape(-1))
    if count == 1:
        np.testing.assert_array_equal(indices(state, 3, 5, 1)[0, :, 0], torch.argmax(torch.from_numpy(x), -1).numpy())


@pytest.mark.parametrize("count", [1, 4])
def test_the_least_are_those_of_a_stable_sort_but_for_nan(config, make_state, fill_panel, count):
    x = with_ties()
    state = reduced(config, make_state, fill_panel, x, kind=Reduction.MINIMUM, count=count, placed=1, index_address=3,
                    results=Results.VALUE, address=100, stride=3)  # fmt: skip
    values, places = (each[:4, :count].numpy() for each in torch.sort(torch.from_numpy(x), dim=-1, stable=True))
    found = state.panel(Memory.VALUE, 100, 3, 5, 3 * config.columns)[0]
    np.testing.assert_array_equal(indices(state, 3, 5, count)[0, :4], places)
    np.testing.assert_array_equal(found[:4, :count], values)
    assert (found[:, count:] == -1).all(), "other elements stay"
    assert indices(state, 3, 5, count)[0, 4].tolist() == [1, 7, 4, 5][:count], "NaN, NaN, −inf, the first −2"
    if count == 1:
        np.testing.assert_array_equal(indices(state, 3, 5, 1)[0, :, 0], torch.argmin(torch.from_numpy(x), -1).numpy())
        np.testing.assert_array_equal(found[:, 0], torch.amin(torch.from_numpy(x), -1).numpy())


@pytest.mark.parametrize("axis", Axis, ids=lambda axis: axis.name)
@pytest.mark.parametrize("kind", Reduction, ids=lambda kind: kind.name)
def test_rows_and_columns_come_to_what_torch_says(config, make_state, fill_panel, kind, axis):
    x = stored(config, np.random.default_rng(6).normal(size=(2, 6, 7)))
    state = reduced(config, make_state, fill_panel, x, batch=2, kind=kind, axis=axis, results=Results.VALUE,
                    address=100, stride=1)  # fmt: skip
    function = {Reduction.SUM: torch.sum, Reduction.MAXIMUM: torch.amax, Reduction.MINIMUM: torch.amin}[kind]
    expected = function(torch.from_numpy(x), 1 if axis is Axis.ROWS else 2).numpy()
    if axis is Axis.ROWS:
        words = -(-7 // config.columns)
        row = state.panel(Memory.VALUE, 100, 0, 1, words * config.columns)[:, 0]
        found, beyond, wanted = row[:, :7], row[:, 7:], 0
    else:
        panel = state.panel(Memory.VALUE, 100, 1, 6, config.columns)
        found, beyond, wanted = panel[..., 0], panel[..., 1:], -1
    np.testing.assert_allclose(found, stored(config, expected), **tolerance(config))
    assert (beyond == wanted).all()


def test_sums_are_float32_whatever_is_stored(make_state, fill_panel, nano):
    """256 times 257 in bf16: every row sum is exact, where 256 + 1 would be 256 in bf16."""
    config = replace(nano, vector_format="tf32")
    x = np.full((3, 256), 257, np.float32)
    state = make_state(config)
    stride = fill_panel(state, Memory.ACC, 0, x.astype(np.int32))
    common = dict(rows=3, columns=256, source_stride=stride, address=9)
    units.execute(Reduce(**common, results=Results.ROW), state, config)
    units.execute(Reduce(**common, axis=Axis.ROWS, results=Results.VALUE), state, config)
    assert state.row_numbers(9, 3)[0].tolist() == [256 * 257] * 3
    assert (state.panel(Memory.VALUE, 9, 0, 1, 256) == to_bf16(np.float32(3 * 257))).all()


@pytest.mark.parametrize("fields, message", [
    (dict(), "nothing is written"),
    (dict(axis=Axis.ROWS, results=Results.ROW), "along the rows results must be value"),
    (dict(axis=Axis.ROWS, results=Results.VALUE, kind=Reduction.MAXIMUM, placed=1), "along the rows"),
    (dict(axis=Axis.ROWS, results=Results.VALUE, kind=Reduction.MAXIMUM, count=2), "along the rows"),
    (dict(results=Results.ROW, placed=1), "a sum has no place"),
    (dict(results=Results.ROW, count=2), "a sum has no place"),
    (dict(results=Results.ROW, kind=Reduction.MAXIMUM, count=9), "count must be at most 8, the columns, not 9"),
])  # fmt: skip
def test_a_reduce_that_makes_no_sense_is_refused(nano, fields, message):
    with pytest.raises(HeddleError, match=message):
        Reduce(columns=8, **fields).check(nano)


def test_argmax_writes_parts_of_words_and_compares_before_rounding(make_state, fill_panel):
    config = replace(PRESETS["base"], vector_format="float32")  # four numbers to a word of INDEX
    state = make_state(config, batch=2)
    acc = np.full((2, 6, 16), 1 << 20, np.int32)  # 2²⁰ and 2²⁰ + 1 are one number in bf16
    acc[0, np.arange(6), np.arange(6)] += 1
    acc[1, np.arange(6), 15 - np.arange(6)] += 1
    fill_panel(state, Memory.ACC, 0, acc)
    state[Memory.INDEX].shared[:] = -1
    units.execute(
        Reduce(rows=6, columns=16, source_stride=1, kind=Reduction.MAXIMUM, placed=1, index_address=7), state, config
    )
    found = state[Memory.INDEX].read(0, 0, 1, 4).reshape(2, 16)
    assert found[0].tolist() == [-1] * 7 + [0, 1, 2, 3, 4, 5] + [-1] * 3
    assert found[1].tolist() == [-1] * 7 + [15, 14, 13, 12, 11, 10] + [-1] * 3


def test_codes_of_bf16_are_the_values_themselves(make_state, fill_panel, nano):
    config = replace(nano, pe="bf16")
    x = to_bf16(np.random.default_rng(12).normal(size=(3, 6)).astype(np.float32) * 1e20)
    state = make_state(config)
    fill_panel(state, Memory.VALUE, 0, x)
    units.execute(Quantise(rows=3, columns=6, source=Source.VALUE, source_stride=2, stride=2), state, config)
    found = state[Memory.ACT].read(0, 2, 3, 2).reshape(3, 8)
    assert found.dtype == np.float32 and np.array_equal(found[:, :6], x) and not found[:, 6:].any()
    assert state.row_numbers(0, 3)[0].tolist() == [1, 1, 1]


def test_new_instructions_take_the_time_the_manual_says(nano):
    front = 2 + nano.vector_map_cycles
    rotate = Map(rows=3, columns=8, source=Source.VALUE, combine=Combine.ROTATE)
    assert units.cycles(rotate, nano) == 3 * 4 * 4 + front + 4
    assert units.cycles(Map(rows=3, columns=5, planes=2), nano) == 3 * 4 * 3 + front
    turned = Map(rows=3, columns=5, layout=Layout.TRANSPOSED)  # three groups, one element a cycle
    assert units.cycles(turned, nano) == 8 * 2 + 1 + front + 1
    assert units.cycles(replace(turned, layout=Layout.SHIFTED, planes=2), nano) == 8 * 3 + 3 + front + 1
    scaled = Map(rows=3, columns=5, combine=Combine.ADD, operand_scaled=1)
    assert units.cycles(scaled, nano) == 3 * 4 + front
    assert units.cycles(replace(scaled, row_scaled=1), nano) == 3 * 4 * 2 + front  # ROW is read twice
    column = Map(rows=3, columns=5, source=Source.VALUE, combine=Combine.SUBTRACT, operand=SecondOperand.COLUMN)
    assert units.cycles(column, nano) == 3 * 4 + front
    assert units.cycles(replace(column, row_scaled=1), nano) == 3 * 4 * 2 + front
    assert units.cycles(replace(column, operand=SecondOperand.VALUE), nano) == 3 * 4 * 2 + front
    product = replace(scaled, combine=Combine.MULTIPLY)  # both products take one multiplier
    assert units.cycles(product, nano) == 3 * 4 * 2 + front
    assert units.cycles(replace(product, operand_scaled=0), nano) == 3 * 4 + front
    tf32 = replace(nano, vector_format="tf32")
    assert units.cycles(rotate, tf32) == units.cycles(rotate, nano)
    common = dict(rows=3, columns=5, planes=1)  # three groups of two columns, two reads each
    argmax = Reduce(**common, kind=Reduction.MAXIMUM, placed=1)
    assert units.cycles(argmax, nano) == 3 * 3 * 2 + front + nano.row_maximum_cycles + 1
    assert units.cycles(replace(argmax, count=3), nano) == 3 * units.cycles(argmax, nano)
    # Nine groups, of which a sum takes one every five cycles; two additions for a group, of which one waits a cycle.
    assert units.cycles(Reduce(**common, results=Results.ROW), nano) == 8 * 5 + 2 + front + 11 + 1
    short = Reduce(rows=3, columns=3, results=Results.ROW)
    assert units.cycles(short, nano) == 5 * 5 + 1 + front + 11 + 1
    along_rows = Reduce(**common, axis=Axis.ROWS, results=Results.VALUE)  # four groups, up to the end of the word
    assert units.cycles(along_rows, nano) == 11 * 5 + 2 + front + 6
    assert units.cycles(replace(along_rows, kind=Reduction.MINIMUM), nano) == 12 * 2 + front + 1
    turned = Quantise(rows=3, columns=8, source=Source.VALUE, combine=Combine.ROTATE)
    maximum = 3 * 4 * 4 + front + 4 + nano.row_maximum_cycles + nano.row_scale_cycles
    assert units.cycles(turned, nano) == maximum + 11 * 4 + 4 + front + 4 + nano.quantise_cycles
    across = replace(turned, codes=Codes.WEIGHT_TRANSPOSED)
    assert units.cycles(across, nano) == maximum + 2 * 2 * 4 * 4 + front + 4 + nano.quantise_cycles + 2
