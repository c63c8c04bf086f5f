"""The list schedule, on tasks by hand and on a real layer."""

import pytest
import torch
from heddle.arch.config import Memory, Unit
from heddle.arch.errors import HeddleError
from heddle.arch.isa import Load, Map, Quantise, Source, Store
from heddle.compiler.builder import Tiles, Tiling
from heddle.compiler.pipeline import front_end
from heddle.compiler.schedule import schedule
from heddle.compiler.tile import tile
from heddle.models import encoder
from heddle.sim.units import cycles


def chain(config, count, words):
    """`count` independent pairs: LOAD rows of VALUE, then Map them to another buffer."""
    tiles = Tiles(config, Tiling(), config.panel_rows)
    for number in range(count):
        source, target = (tiles.buffer(Memory.VALUE, words, f"{name} {number}") for name in ("in", "out"))
        tiles.emit(Load(memory=Memory.VALUE, words=words, address=source.at(0)), f"load {number}")
        tiles.emit(
            Map(rows=1, columns=words * config.columns, source=Source.VALUE, source_address=source.at(0),
                address=target.at(0)), f"map {number}",
        )  # fmt: skip
    return tiles


@pytest.fixture
def layer(nano):
    model = encoder.seeded(encoder.PreNormLayer, encoder.EncoderConfig())
    return tile(front_end(model, [torch.zeros(1, 10, 24)], lambda name, graph: None), nano, Tiling(2))


def check(tiles, config, found):
    """Every task once, units one at a time, readers after writers, memories never overfull."""
    assert sorted(slot.task for slot in found.slots) == list(range(len(tiles.tasks)))
    assert [slot.start for slot in found.slots] == sorted(slot.start for slot in found.slots)
    free = dict.fromkeys(Unit, 0)
    touched = []
    for slot in found.slots:
        instruction = tiles.tasks[slot.task].instruction
        assert slot.start >= free[instruction.unit]
        free[instruction.unit] = slot.free
        for access in instruction.accesses(config):
            for other, earlier in touched:
                if access.overlaps(earlier) and (access.write or earlier.write) and other.task != slot.task:
                    assert other.finish <= slot.start and other.task < slot.task
            touched.append((slot, access))
    for memory in Memory:
        lives = []
        for buffer, users in found.users.items():
            slots = [slot for slot in found.slots if slot.task in users and buffer.memory is memory]
            if slots:
                lives.append((min(slot.start for slot in slots), max(slot.finish for slot in slots), buffer))
        for start, _, _ in lives:
            assert sum(b.words for low, high, b in lives if low <= start < high) <= config.words(memory)


def test_independent_work_overlaps(nano):
    tiles = chain(nano, 3, 16)
    found = schedule(tiles, nano)
    check(tiles, nano, found)
    assert [tiles.tasks[slot.task].instruction.name for slot in found.slots][:3] == ["load", "load", "load"]


def test_durations_are_the_simulators(nano):
    tiles = chain(nano, 1, 16)
    load, work = schedule(tiles, nano).slots
    assert work.start == load.finish
    assert work.free == work.start + cycles(tiles.tasks[1].instruction, nano) + 1


def test_what_moves_data_shares_the_dram_port(nano):
    tiles = Tiles(nano, Tiling(), nano.panel_rows)
    source, target = (tiles.buffer(Memory.VALUE, 16, name) for name in ("in", "out"))
    tiles.emit(Load(memory=Memory.VALUE, words=16, address=source.at(0)), "load")
    tiles.emit(Store(memory=Memory.VALUE, dram_address=4096, words=16, address=target.at(0)), "store")
    load, store = schedule(tiles, nano).slots
    # 16 words of 8 bytes are 32 beats: two bursts. Those of STORE come behind them. The second can be read when the
    # first is served, behind two bursts of LOAD: 4 · 16 beats and the latency.
    assert (load.start, load.finish) == (0, 32 + 32 + 8)
    assert (store.start, store.finish) == (0, 32 + (64 + 32) + 32 + 8)


def test_loads_wait_for_room(nano):
    tiles = chain(nano, 3, 700)  # 1,400 words of 2,048 each
    found = schedule(tiles, nano)
    check(tiles, nano, found)
    loads = [slot for slot in found.slots if isinstance(tiles.tasks[slot.task].instruction, Load)]
    assert loads[1].start > loads[0].free


@pytest.mark.parametrize("share", [1.0, 0.5, 0.0])
def test_a_layer_is_scheduled_in_order(nano, layer, share):
    check(layer, nano, schedule(layer, nano, dict.fromkeys(Memory, share)))


def test_filling_memories_ahead_is_what_makes_it_quick(nano, layer):
    assert schedule(layer, nano).cycles < 0.8 * schedule(layer, nano, dict.fromkeys(Memory, 0.0)).cycles


def test_it_prints_cycles_and_labels(nano, layer):
    assert "mlp.up: gelu quantise" in str(schedule(layer, nano))


def test_too_little_memory_is_named(nano):
    tiles = Tiles(nano, Tiling(), nano.panel_rows)
    buffers = [tiles.buffer(Memory.VALUE, 1500, name) for name in ("in", "out")]
    for buffer in buffers:
        tiles.emit(Load(memory=Memory.VALUE, words=1500, address=buffer.at(0)), "load")
    tiles.emit(
        Quantise(rows=2, columns=4, source=Source.VALUE, source_address=buffers[0].at(0), source_stride=1), "use"
    )
    tiles.emit(
        Map(rows=1, columns=4, source=Source.VALUE, source_address=buffers[0].at(0), address=buffers[1].at(0)), "both"
    )
    tiles.buffer(Memory.ACT, 2, "codes")
    tiles.buffer(Memory.ROW, 2, "scales")
    with pytest.raises(HeddleError, match="program: load: 3000 words of VALUE are needed at once, but nano has 2048"):
        schedule(tiles, nano)
