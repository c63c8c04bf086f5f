"""Whole programs: batches, inputs and outputs, and what can be wrong with them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from heddle.arch.config import PRESETS, Memory
from heddle.arch.errors import HeddleError
from heddle.arch.isa import (
    Append,
    Codes,
    Function,
    Halt,
    Load,
    Map,
    Matmul,
    Part,
    Quantise,
    Scales,
    Source,
    Store,
    Stream,
    Tables,
)
from heddle.arch.program import Program, Tensor
from heddle.arch.scalars import Scalar, ScalarKind
from heddle.compiler.evaluators import Evaluators
from heddle.compiler.synchronise import synchronise
from heddle.sim import values
from heddle.sim.machine import simulate

ROWS, WIDTH = 6, 10


def tensor(config, name, kind, address, columns=WIDTH):
    row_bytes = -(-columns // config.columns) * config.dram_word_bytes(Memory.VALUE)
    return Tensor(name, kind, Memory.VALUE, address, ROWS, columns, row_bytes, (ROWS, columns))


def products(config):
    """out = elu(x @ yᵀ), with both operands quantised on chip: x for ACT, y transposed for WEIGHT."""
    words, k_tiles = -(-WIDTH // config.columns), -(-WIDTH // config.rows)
    n_tiles = -(-ROWS // config.columns)
    common = dict(rows=ROWS, columns=WIDTH, source=Source.VALUE, source_stride=words)
    x, y, out = tensor(config, "x", "input", 4096), tensor(config, "y", "input", 8192), None
    out = tensor(config, "out", "output", 12288, columns=ROWS)
    evaluators = Evaluators()
    assert evaluators.take("elu")
    pieces = evaluators.pieces("elu")
    pairs = [piece.pairs(config) for piece in pieces]
    starts, table = [0, len(pairs[0]), len(pairs[0]) + len(pairs[1])], np.concatenate(pairs)
    word = config.dram_word_bytes(Memory.PARAM)
    content = b"".join(each.tobytes().ljust(word, b"\0") for each in table)
    assert len(content) <= 12288 - 9216
    instructions = [
        Load(memory=Memory.VALUE, dram_address=4096, words=ROWS * words),
        Load(memory=Memory.VALUE, dram_address=8192, words=ROWS * words, address=600),
        Quantise(**common, stride=k_tiles),
        Quantise(**common | dict(source_address=600), codes=Codes.WEIGHT_TRANSPOSED, stride=k_tiles * config.rows,
                 scales=Scales.PARAM_SCALE),
        Matmul(rows=ROWS, k_tiles=k_tiles, n_tiles=n_tiles, act_stride=k_tiles, weight_stride=k_tiles * config.rows,
               acc_stride=n_tiles),
        Load(memory=Memory.PARAM, dram_address=9216, words=len(table), address=100),
        *(Tables(param_address=100 + start, entries=len(entries), place=place)
          for start, (entries, place) in zip(starts, pieces, strict=True)),
        Map(rows=ROWS, columns=ROWS, source_stride=n_tiles, scaled=1, row_scaled=1, function=Function.TABLE_0,
            address=1200, stride=n_tiles),
        Store(address=1200, words=ROWS * n_tiles, dram_address=12288),
        Halt(),
    ]  # fmt: skip
    tensors = {each.name: each for each in (x, y, out)}
    return Program(config, tuple(synchronise(config, instructions)), 1 << 14,
                   ((64 * 32, b"\x55" * 64), (9216, content)), tensors)  # fmt: skip


def test_two_inputs_multiplied_on_chip_agree_with_torch(config):
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(2, 7, ROWS, WIDTH))
    found = simulate(products(config), {"x": x, "y": y}).outputs["out"]
    expected = torch.nn.functional.elu(torch.from_numpy(x @ y.transpose(0, 2, 1))).numpy()
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
    assert not program.image[4096:9216].any(), "the program's own image is left alone"


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
    program = replace(products(nano), dram_bytes=1 << 40)  # more than any machine has
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
    assert seen == [(i + 1, 22) for i in range(22)]


def test_a_failing_instruction_is_named(nano):
    instructions = [Load(memory=Memory.INDEX, dram_address=1024), Load(gather=1, dram_stride=64), Halt()]
    program = Program(nano, tuple(instructions), 2048, ((1024, b"\xff\xff\xff\x7f"),))
    with pytest.raises(HeddleError, match="instruction 1: load: beyond DRAM: bytes 137438953408 to 137438953411 of"):
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


PAGES, PAGE_BYTES, TOKENS = 3, 256, 2  # pages of two blocks, codes and pairs; tokens that each run brings


def caching(config):
    """Two tokens of one word to the cache, and all that is there out again: codes to 12288, pairs to 14336."""
    columns, blocks = config.columns, 2 * PAGES
    word, pair = config.dram_word_bytes(Memory.WEIGHT), config.dram_word_bytes(Memory.PARAM)
    value, index = config.dram_word_bytes(Memory.VALUE), config.dram_word_bytes(Memory.PAGE)
    x = Tensor("x", "input", Memory.VALUE, 4096, TOKENS, columns, value, (TOKENS, columns))
    table = Tensor("pages", "input", Memory.PAGE, 5120, 1, PAGES, PAGES * index, (PAGES,))
    codes = dict(page_bytes=PAGE_BYTES, page_blocks=1, pages=PAGES)
    pairs = dict(part=Part.PAIRS, dram_address=2 * columns * word + -2 * columns * word % 64, **codes)
    at = dict(tokens=TOKENS, block_register=1, slot_register=2)
    instructions = [
        Load(memory=Memory.PAGE, dram_address=5120, words=PAGES * 4 // config.axi_bytes),
        Load(memory=Memory.VALUE, dram_address=4096, words=TOKENS),
        Quantise(rows=TOKENS, columns=columns, source=Source.VALUE, source_stride=1, codes=Codes.WEIGHT,
                 scales=Scales.PARAM_PAIR),
        Append(**codes, **at),
        Append(**pairs, **at),
        Stream(part=Part.VALUES, blocks=blocks, count_register=3, address=100, **codes),
        Stream(blocks=blocks, count_register=3, address=100, **pairs),
        Store(memory=Memory.WEIGHT, address=100, words=blocks * columns, dram_address=12288),
        Store(memory=Memory.PARAM, address=100, words=blocks, dram_address=14336),
        Halt(),
    ]  # fmt: skip
    scalars = (
        Scalar(1, ScalarKind.BLOCK), Scalar(2, ScalarKind.SLOT), Scalar(3, ScalarKind.BLOCKS, rows=TOKENS)
    )  # fmt: skip
    assert 2 * columns * word + 2 * pair <= PAGE_BYTES
    return Program(
        config, tuple(synchronise(config, instructions)), 1 << 15, tensors={"x": x, "pages": table}, scalars=scalars,
        cache_address=8192, cache_bytes=4 * PAGE_BYTES,
    )  # fmt: skip


def test_a_cache_is_filled_over_several_runs_and_streamed_back(config):
    rng = np.random.default_rng(8)
    program, columns, cache = caching(config), config.columns, None
    pages = np.array([[2, 0, 3], [1, 3, 0]])  # of two inputs
    runs = 2 * PAGES * columns // TOKENS
    xs = rng.normal(size=(runs, 2, TOKENS, columns))
    durations = set()
    for run in range(runs):
        result = simulate(program.at(TOKENS * run), {"x": xs[run], "pages": pages}, cache=cache)
        cache = result.cache
        durations.add(result.cycles)
    assert len(durations) > 3, "more blocks take longer"
    image = result.image[:, 12288:]
    used, size = columns, config.dram_word_bytes(Memory.WEIGHT)
    codes = image[:, : 2 * PAGES * columns * size].reshape(2, -1, size)[..., :used].view(np.int8)
    pairs = image[:, 2048:].copy().view(np.float32)[:, : 2 * PAGES * config.dram_word_bytes(Memory.PARAM) // 4]
    pairs = pairs.reshape(2, 2 * PAGES, -1)[:, :, : 2 * columns].reshape(2, -1, 2)
    found = codes * pairs[..., :1]
    expected = xs.transpose(1, 0, 2, 3).reshape(2, -1, columns)
    assert np.abs(found - expected).max() < 0.03 and np.array_equal(pairs[..., 0], pairs[..., 1])


def test_a_cache_of_another_size_is_refused(nano):
    inputs = {"x": np.zeros((TOKENS, 4)), "pages": np.arange(3)}
    with pytest.raises(HeddleError, match=r"cache must be bytes \(1024,\) or \(1, 1024\), not \(7,\)"):
        simulate(caching(nano).at(0), inputs, cache=np.zeros(7))
    for content in (np.zeros(1024), [300] * 1024):
        with pytest.raises(HeddleError, match=r"cache must be bytes \(uint8\), not (float64|int64)"):
            simulate(caching(nano).at(0), inputs, cache=content)
    assert simulate(caching(nano).at(0), inputs, cache=bytes(1024)).cache.shape == (1, 1024)
    with pytest.raises(HeddleError, match="the cache region must start at a multiple of 4096"):
        simulate(replace(caching(nano), cache_address=32000).at(0), inputs)


def test_chunks_whose_page_tables_differ_do_not_mix(nano, monkeypatch):
    monkeypatch.setattr(values, "CHUNK", 1)
    program, x = caching(nano), np.ones((3, TOKENS, 4))
    program = replace(program, data=((8192, b"\x33" * 1024),)).at(0)
    pages = np.array([[0, 1, 2], [1, 0, 2], [3, 0, 1]])
    together = simulate(program, {"x": x, "pages": pages}, timing=False)
    for index in range(3):
        alone = simulate(program, {"x": x[index], "pages": pages[index]}, timing=False)
        assert np.array_equal(alone.image_of(0), together.image_of(index))
        written = alone.cache[0].reshape(4, 256) != 0x33
        assert written.any(1).tolist() == [page == pages[index, 0] for page in range(4)]


def test_products_of_bf16_agree_with_torch(config):
    config = replace(config, pe="bf16")
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(2, 3, ROWS, WIDTH))
    found = simulate(products(config), {"x": x, "y": y}).outputs["out"]
    expected = torch.nn.functional.elu(torch.from_numpy(x @ y.transpose(0, 2, 1))).numpy()
    error = np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2))
    assert error < 0.006


def test_tensors_of_bf16_are_inputs_and_those_without_numbers_are_refused(nano):
    program = products(nano)
    x, y = torch.randn(ROWS, WIDTH).bfloat16(), torch.randn(ROWS, WIDTH)
    (found,) = simulate(program, {"x": x, "y": y}).outputs.values()
    (expected,) = simulate(program, {"x": x.float(), "y": y}).outputs.values()
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(HeddleError, match="input 'y' must be an array of numbers"):
        simulate(program, {"x": x, "y": torch.empty(ROWS, WIDTH, device="meta")})
