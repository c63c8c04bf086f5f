"""IndexMap: int32 arithmetic on INDEX against PyTorch, at any place in its words, per input; and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from heddle.arch.config import PRESETS, Memory
from heddle.arch.errors import HeddleError
from heddle.arch.isa import Guard, Halt, IndexMap, IndexOperation, Load
from heddle.arch.program import Program
from heddle.sim import units
from heddle.sim.addresses import loaded_addresses
from heddle.sim.machine import simulate

TORCH = {IndexOperation.ADD: torch.add, IndexOperation.LESS: torch.lt, IndexOperation.LESS_EQUAL: torch.le,
         IndexOperation.EQUAL: torch.eq}  # fmt: skip
EDGES = torch.tensor([0, 1, -1, 7, 2**31 - 1, -(2**31), 2**31 - 1, 7], dtype=torch.int32)


def elements(state):
    return state[Memory.INDEX].read(0, 0, 1, state[Memory.INDEX].count).reshape(state.batch, -1)


def holding(make_state, put, config, numbers):
    """A state whose INDEX begins with (batch, n) numbers."""
    state = make_state(config, batch=len(numbers))
    per_word = config.word_elements(Memory.INDEX)
    padded = np.pad(numbers, ((0, 0), (0, -numbers.shape[1] % per_word)))
    put(state, Memory.INDEX, 0, padded.reshape(len(numbers), -1, per_word))
    return state


@pytest.mark.parametrize("operation", IndexOperation, ids=lambda each: each.name)
@pytest.mark.parametrize("preset", ["nano", "small", "base"])  # index words of one, two and four numbers
def test_vectors_are_as_in_pytorch(preset, operation, make_state, put):
    x = torch.stack([EDGES.repeat_interleave(8), EDGES.repeat(8)])
    y = x.flip(0)
    state = holding(make_state, put, PRESETS[preset], torch.cat([x[:, :3], x[:, :3], y[:, :3]], 1).numpy())
    i = IndexMap(count=3, operation=operation, source=1, operand=1, source_address=3, operand_address=6, address=17)
    units.execute(i, state, PRESETS[preset])
    found = elements(state)
    assert np.array_equal(found[:, 17:20], TORCH[operation](x[:, :3], y[:, :3]).int().numpy())
    assert not found[:, 20:].any() and not found[:, 9:17].any()


@pytest.mark.parametrize("operation", IndexOperation, ids=lambda each: each.name)
@pytest.mark.parametrize("number, step", [(0, 1), (5, -3), (-(1 << 19), (1 << 19) - 1), (7, 0)])
def test_a_vector_and_a_ramp_are_as_in_pytorch(nano, operation, number, step, make_state, put):
    state = holding(make_state, put, nano, EDGES[None].numpy())
    i = IndexMap(count=8, operation=operation, source=1, number=number, step=step)  # in place
    units.execute(i, state, nano)
    ramp = torch.tensor(number) + torch.arange(8) * step
    assert np.array_equal(elements(state)[0, :8], TORCH[operation](EDGES, ramp.int()).int().numpy())


def test_a_ramp_alone_counts_and_wraps(nano, make_state):
    config = replace(nano, index_words=8192)
    state = make_state(config)
    units.execute(IndexMap(count=8000, number=-3, step=(1 << 19) - 1), state, config)
    expected = (-3 + torch.arange(8000) * ((1 << 19) - 1)).int()  # as int64, cut off
    assert np.array_equal(elements(state)[0, :8000], expected.numpy())
    assert expected.min() < 0 < expected.max()


def test_registers_give_numbers_within_limits(nano):
    for scalar, number in ((7, 4), (0, -3), ((1 << 32) - 1, (1 << 19) - 1)):
        resolved = IndexMap(number=-3, register=2).resolved([0, 0, scalar], nano)
        assert (resolved.number, resolved.register) == (number, 0)
    assert IndexMap(number=-3).resolved([5] * 32, nano).number == -3


def test_an_element_takes_a_cycle_for_each_read(nano):
    for source, operand, cycles in ((0, 0, 5), (1, 0, 5), (0, 1, 5), (1, 1, 10)):
        assert units.cycles(IndexMap(count=5, source=source, operand=operand), nano) == cycles + 3


@pytest.mark.parametrize("fields", [dict(source=1, address=2), dict(source=1, source_address=2),
                                    dict(operand=1, operand_address=1)])  # fmt: skip
def test_a_result_must_not_lie_askew_over_what_is_read(fields, nano):
    with pytest.raises(HeddleError, match="must be apart from its|writes words of INDEX"):
        IndexMap(count=3, **fields).check(nano)
    IndexMap(count=1, **fields).check(nano)


@pytest.mark.parametrize("values", [True, False])
def test_rows_that_are_computed_from_loaded_numbers_are_known(values, nano):
    """By hand: 3 is loaded, 2 added; the sum is a row. Void, it is row 0, for INDEX starts as zeros."""
    config = nano.with_dram("DDR4-2400")
    work = (
        Load(memory=Memory.INDEX, dram_address=0x8000),
        IndexMap(source=1, number=2, address=9),
        Load(memory=Memory.ACT, gather=1, dram_address=0xA000, dram_stride=64, index_address=9),
        Halt(),
    )
    data = ((0x8000, np.array([3], "<i4").tobytes()),)
    program = Program(config, work, 1 << 16, data)
    assert [each.tolist() for each in loaded_addresses(program).values()] == [[0xA000 + 5 * 64]]
    void = Program(config, (work[0], Guard(count=1), *work[1:]), 1 << 16, data)
    assert [each.tolist() for each in loaded_addresses(void).values()] == [[0xA000]]
    beyond = Program(config, work, 1 << 16, ((0x8000, np.array([1 << 20], "<i4").tobytes()),))
    with pytest.raises(HeddleError, match="instruction 2: load: beyond DRAM"):
        simulate(beyond, values=values)


def test_no_cycle_of_it_is_put_down_to_dram(nano):
    program = Program(nano, (IndexMap(count=9), Halt()), 1 << 14)
    stalls = simulate(program).stalls["load"]
    assert stalls["executing"] == 9 + 3 + 1 and stalls["dram"] == 0
    assert simulate(program, engine="compiled", values=False).stalls["load"] == stalls
