"""Whole programs: batches, inputs and outputs, and what can be wrong with them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from heddle.arch.config import PRESETS, Memory
from heddle.arch.errors import HeddleError
from heddle.arch.isa import Activation, Codes, Halt, Load, Map, Matmul, Quantise, Scales, Source, Store
from heddle.arch.program import Program, Tensor
from heddle.compiler.synchronise import synchronise
from heddle.sim import values
from heddle.sim.machine import simulate

ROWS, WIDTH = 6, 10


def tensor(config, name, kind, address, columns=WIDTH):
    row_bytes = -(-columns // config.columns) * config.dram_word_bytes(Memory.VALUE)
    return Tensor(name, kind, Memory.VALUE, address, ROWS, columns, row_bytes, (ROWS, columns))


def products(config):
    """out = gelu(x @ yᵀ), with both operands quantised on chip: x for ACT, y transposed for WEIGHT."""
    words, k_tiles = -(-WIDTH // config.columns), -(-WIDTH // config.rows)
    n_tiles = -(-ROWS // config.columns)
    common = dict(rows=ROWS, columns=WIDTH, source=Source.VALUE, source_stride=words)
    x, y, out = tensor(config, "x", "input", 4096), tensor(config, "y", "input", 8192), None
    out = tensor(config, "out", "output", 12288, columns=ROWS)
    instructions = [
        Load(memory=Memory.VALUE, dram_address=4096, words=ROWS * words),
        Load(memory=Memory.VALUE, dram_address=8192, words=ROWS * words, address=600),
        Quantise(**common, stride=k_tiles),
        Quantise(**common | dict(source_address=600), codes=Codes.WEIGHT_TRANSPOSED, stride=k_tiles * config.rows,
                 scales=Scales.PARAM_SCALE),
        Matmul(rows=ROWS, k_tiles=k_tiles, n_tiles=n_tiles, act_stride=k_tiles, weight_stride=k_tiles * config.rows,
               acc_stride=n_tiles),
        Map(rows=ROWS, columns=ROWS, source_stride=n_tiles, scaled=1, row_scaled=1, activation=Activation.GELU,
            address=1200, stride=n_tiles),
        Store(address=1200, words=ROWS * n_tiles, dram_address=12288),
        Halt(),
    ]  # fmt: skip
    tensors = {each.name: each for each in (x, y, out)}
    return Program(config, tuple(synchronise(config, instructions)), 1 << 14, ((64 * 32, b"\x55" * 64),), tensors)


def test_two_inputs_multiplied_on_chip_agree_with_torch(config):
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(2, 7, ROWS, WIDTH))
    found = simulate(products(config), {"x": x, "y": y}).outputs["out"]
    expected = torch.nn.functional.gelu(torch.from_numpy(x @ y.transpose(0, 2, 1))).numpy()
    error = np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2))
    assert found.shape == (7, ROWS, ROWS) and error < 0.02  # two int8 operands: about 37 dB


@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_a_batch_gives_what_its_inputs_give_one_by_one(config, monkeypatch, chunk):
    monkeypatch.setattr(values, "CHUNK", chunk)
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(2, 5, ROWS, WIDTH))
    program = products(config)
    batch = simulate(program, {"x": x, "y": y}, timing=False)
    assert batch.image.shape == (5, 1 << 14)
    for i in range(5):
        single = simulate(program, {"x": x[i], "y": y[i]}, timing=False)
        assert np.array_equal(single.image[0], batch.image[i])
        assert np.array_equal(single.outputs["out"][0], batch.outputs["out"][i])


def test_an_image_holds_program_constants_inputs_and_results(nano):
    program = products(nano)
    x = np.ones((ROWS, WIDTH))
    result = simulate(program, {"x": x, "y": x})
    image = result.image_of(0)
    assert image[: len(program.code)].tobytes() == program.code
    assert image[64 * 32 : 64 * 32 + 64].tobytes() == b"\x55" * 64
    assert image[4096:4104].tobytes() == bytes.fromhex("803f" * 4)
    assert np.allclose(program.tensors["out"].unpack(image, nano), 10)
    assert not program.image[4096:].any(), "the program's own image is left alone"


def test_constants_between_places_that_are_written_are_kept(nano):
    stores = Store(memory=Memory.PARAM, dram_address=1024), Store(memory=Memory.PARAM, dram_address=1536)
    result = simulate(Program(nano, (*stores, Halt()), 2048, ((1024, b"\x07" * 1024),)))
    expected = np.full(1024, 7, np.uint8)
    expected[:32] = expected[512:544] = 0
    assert np.array_equal(result.image_of(0)[1024:], expected)


def test_timing_needs_no_data_and_values_need_no_timing(nano):
    program = products(nano)
    x = np.zeros((2, ROWS, WIDTH))
    timed, valued = simulate(program, values=False), simulate(program, {"x": x, "y": x}, timing=False)
    both = simulate(program, {"x": x, "y": x})
    assert timed.cycles == both.cycles and timed.trace == both.trace
    assert np.array_equal(valued.outputs["out"], both.outputs["out"])
    with pytest.raises(HeddleError, match="without values"):
        _ = timed.outputs
    with pytest.raises(HeddleError, match="without timing"):
        _ = valued.cycles


def test_timing_does_not_build_the_image(nano):
    program = replace(products(nano), dram_bytes=1 << 50)  # more than any machine has
    assert simulate(program, values=False).cycles > 0


def test_nothing_after_a_halt_is_executed(nano):
    store = Store(memory=Memory.PARAM, dram_address=1024)
    load = Load(memory=Memory.PARAM, dram_address=512)
    program = Program(nano, (load, Halt(), store, Halt()), 2048, ((512, b"\x01" * 32),))
    result = simulate(program)
    assert not result.image_of(0)[1024:].any()
    assert [record.index for record in result.trace] == [0]


def test_progress_is_reported_to_the_end(nano):
    seen = []
    x = np.zeros((values.CHUNK + 1, ROWS, WIDTH))
    simulate(products(nano), {"x": x, "y": x}, timing=False, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i + 1, 14) for i in range(14)]


def test_a_failing_instruction_is_named(nano):
    instructions = [Load(memory=Memory.INDEX, dram_address=1024), Load(gather=1, dram_stride=64), Halt()]
    program = Program(nano, tuple(instructions), 2048, ((1024, b"\xff\xff\xff\x7f"),))
    with pytest.raises(HeddleError, match="instruction 1: load: gathered indices 2147483647 to 2147483647 reach"):
        simulate(program)


def test_a_list_of_inputs_is_a_batch(nano):
    x = np.random.default_rng(7).normal(size=(2, ROWS, WIDTH))
    program = products(nano)
    listed = simulate(program, [{"x": each, "y": each} for each in x], timing=False)
    assert np.array_equal(listed.image, simulate(program, {"x": x, "y": x}, timing=False).image)
    with pytest.raises(HeddleError, match="empty list"):
        simulate(program, [])


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"x": (ROWS, WIDTH)}, r"takes the inputs \['x', 'y'\], not \['x'\]"),
        ({"x": (3, ROWS, WIDTH), "y": (2, ROWS, WIDTH)}, "one batch"),
        ({"x": (0, ROWS, WIDTH), "y": (0, ROWS, WIDTH)}, "at least 1"),
        ({"x": (3, ROWS, 3), "y": (3, ROWS, WIDTH)}, r"input 'x' must have shape \(6, 10\), not \(6, 3\)"),
    ],
)
def test_inputs_that_do_not_fit_are_errors(nano, shapes, message):
    with pytest.raises(HeddleError, match=message):
        simulate(products(nano), {name: np.zeros(shape) for name, shape in shapes.items()})


def test_large_machines_take_fewer_inputs_at_a_time():
    assert values.chunk_size(PRESETS["small"]) == values.CHUNK
    assert 1 <= values.chunk_size(PRESETS["server"]) < 64  # about 25 MB of memories for each input
    assert simulate(Program(PRESETS["server"], (Map(rows=2, columns=4), Halt()), 1 << 20)).batch == 1
