"""The systolic array: tile after tile without a bubble, in any shape, against PyTorch's integer matrix product and, for
bf16 numbers, the oracle."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from amaranth.sim import Simulator
from heddle.arch import numerics
from heddle.arch.config import PRESETS, HardwareConfig
from heddle.hw.array import Array

from ..machines import ARRAY_5X3, ODD
from .test_verilog import compare

SHAPES = {(c.rows, c.columns): c for c in (
    PRESETS["nano"], ODD, ARRAY_5X3, replace(ODD, rows=3, columns=3), replace(ODD, columns=11),
)}  # fmt: skip


def stream(config: HardwareConfig, tiles: np.ndarray, panels: list[np.ndarray], early: int = 0) -> list[np.ndarray]:
    """Sums of each panel (M, rows) times its tile (rows, columns), read `array_cycles` after each activation row.

    Panels follow each other as soon as the weights allow. The weights of a tile come as late as they may, or up to
    `early` cycles sooner where the rows before leave room.
    """
    array = Array(config)
    swaps = [config.rows]  # the cycle of each swap; activations begin in the next
    captures = [0]
    for before in panels[:-1]:
        swaps.append(swaps[-1] + max(len(before), config.rows))
        captures.append(max(swaps[-2], swaps[-1] - config.rows - early))
    weights = {start + r: tile[r] for start, tile in zip(captures, tiles, strict=True) for r in range(config.rows)}
    rows = {swap + 1 + m: panel[m] for swap, panel in zip(swaps, panels, strict=True) for m in range(len(panel))}
    sums = {}

    async def bench(ctx):
        random = np.random.default_rng(1)
        for cycle in range(max(rows) + config.array_cycles + 1):
            # What comes between rows and between weights must not matter.
            low, high = (-128, 128) if config.pe == "int8" else (0, 1 << 16)
            noise = random.integers(low, high, config.rows + config.columns).tolist()
            ctx.set(array.activations, rows[cycle].tolist() if cycle in rows else noise[: config.rows])
            ctx.set(array.weights, weights[cycle].tolist() if cycle in weights else noise[config.rows :])
            ctx.set(array.swap, cycle in swaps)
            ctx.set(array.capture, cycle in captures)
            if cycle - config.array_cycles in rows:
                sums[cycle - config.array_cycles] = [ctx.get(array.sums[c]) for c in range(config.columns)]
            await ctx.tick()

    simulator = Simulator(array)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    found = iter(sums[cycle] for cycle in sorted(sums))
    return [np.array([next(found) for _ in panel]) for panel in panels]


def check(config: HardwareConfig, tiles: np.ndarray, panels: list[np.ndarray], early: int = 0) -> None:
    for tile, panel, sums in zip(tiles, panels, stream(config, tiles, panels, early), strict=True):
        golden = torch.from_numpy(panel.astype(np.int32)) @ torch.from_numpy(tile.astype(np.int32))
        np.testing.assert_array_equal(sums, golden.numpy())


def test_one_row_by_hand():
    tile = np.array([[1, 0, 0, 5, 1], [0, 1, 0, 6, 1], [0, 0, 1, 7, 1]])
    [sums] = stream(ODD, tile[None], [np.array([[1, 2, 3]])])
    assert sums.tolist() == [[1, 2, 3, 5 + 12 + 21, 6]]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("lengths", ["one", "rows", "mixed"])
def test_tiles_follow_each_other(shape, lengths):
    config, random = SHAPES[shape], np.random.default_rng(0)
    lengths = {"one": [1] * 5, "rows": [config.rows] * 5, "mixed": [1, 9, 2, config.rows + 1, 1, 4]}[lengths]
    tiles = random.integers(-128, 128, (len(lengths), config.rows, config.columns))
    panels = [random.integers(-128, 128, (length, config.rows)) for length in lengths]
    for early in (0, 100):
        check(config, tiles, panels, early)


@pytest.mark.parametrize("activation,weight", [(-128, -128), (-128, 127), (127, 127)])
def test_extremes(activation, weight):
    config = SHAPES[5, 3]
    check(config, np.full((2, 5, 3), weight), [np.full((3, 5), activation)] * 2)


def bf16_bits(x: np.ndarray) -> np.ndarray:
    """Codes as the array takes them."""
    return numerics.to_bits(numerics.to_bf16(x)) >> 16


@pytest.mark.parametrize(
    "shape", [pytest.param(each, marks=[pytest.mark.long] if max(each) > 5 else []) for each in SHAPES]
)
@pytest.mark.parametrize("lengths", ["one", "rows", "mixed"])
def test_bf16_tiles_follow_each_other(shape, lengths):
    """Each row works four cycles after the one above, and yet tiles come as fast as their weights."""
    config, random = replace(SHAPES[shape], pe="bf16"), np.random.default_rng(0)
    lengths = {"one": [1] * 5, "rows": [config.rows] * 5, "mixed": [1, 9, 2, config.rows + 1, 1, 4]}[lengths]
    tiles = numerics.to_bf16(random.normal(0, 1, (len(lengths), config.rows, config.columns)))
    panels = [numerics.to_bf16(random.normal(0, 1, (length, config.rows))) for length in lengths]
    for early in (0, 100):
        found = stream(config, bf16_bits(tiles), [bf16_bits(panel) for panel in panels], early)
        for tile, panel, sums in zip(tiles, panels, found, strict=True):
            expected = numerics.to_bits(numerics.matmul_bf16(panel, tile, config.rows))
            np.testing.assert_array_equal(sums, expected)


def test_bf16_sums_go_down_from_plus_zero():
    config = replace(ODD, pe="bf16")
    tile = np.array([[-0.0, 1, 2.0**24, 1, 1.5], [-0.0, 2, 1, -1, 2.0**-126], [-0.0, 3, -(2.0**24), 1, 0]], np.float32)
    rows = np.array([[1, 1, 1], [2.0**-126, -1.25, 1]], np.float32)
    [sums] = stream(config, bf16_bits(tile)[None], [bf16_bits(rows)])
    sums = numerics.from_bits(np.array(sums, np.uint32))
    # 2²⁴ + 1 rounds to 2²⁴. In the last column of row 1, 1.5·2⁻¹²⁶ − 1.25·2⁻¹²⁶ is flushed.
    assert sums[0].tolist() == [0, 6, 0, 1, 1.5] and sums[1, 4] == 0
    assert not np.signbit(sums[sums == 0]).any(), "no zero here is negative"


@pytest.mark.parametrize("config", [ODD, replace(ODD, pe="bf16")], ids=["int8", "bf16"])
def test_latency_is_that_of_the_configuration(config):
    """A single 1 among zeros: its product is there in exactly one cycle, in every column."""
    array, cycles = Array(config), []
    one = 1 if config.pe == "int8" else 0x3F80

    async def bench(ctx):
        for cycle in range(40):
            ctx.set(array.capture, cycle == 0)
            ctx.set(array.swap, cycle == config.rows)
            ctx.set(array.weights, [one] * config.columns if cycle < config.rows else [0] * config.columns)
            ctx.set(array.activations, [one * int(cycle == 10)] * config.rows)
            sums = [ctx.get(array.sums[c]) for c in range(config.columns)]
            if any(sums) and cycle > 18:  # before that, what float adders held after reset drains
                cycles.append((cycle, sums))
            await ctx.tick()

    simulator = Simulator(array)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    total = config.rows if config.pe == "int8" else int(numerics.to_bits(np.float32(config.rows)))
    assert cycles == [(10 + config.array_cycles, [total] * config.columns)]


def test_bf16_array_is_the_same_in_verilog(tmp_path):
    inputs = {"activations": 48, "swap": 1, "weights": 80, "capture": 1}
    compare(tmp_path, Array(replace(ODD, pe="bf16")), inputs, "sums", 200)
