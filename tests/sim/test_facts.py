"""What is seen of a program's shape, on programs small enough to see it too."""

from dataclasses import replace

from heddle.arch.config import PRESETS, Memory, Unit
from heddle.arch.isa import Halt, Load, Map, Matmul, Norm, Source, Store
from heddle.arch.program import Program
from heddle.sim.facts import facts
from heddle.sim.machine import simulate

TO = {unit: 1 << unit for unit in Unit}


def program(*instructions, labels=()):
    labels = (*labels, "end") if labels else ()
    return Program(PRESETS["nano"], (*instructions, Halt()), 1 << 16, labels=labels)


def test_parts_count_instructions_bytes_and_products():
    load = Load(memory=Memory.WEIGHT, words=8)
    matmul = Matmul(rows=3, k_tiles=2, act_stride=2, acc_stride=1)
    labels = "layers.0.up: weights", "layers.0.up: matmul", "layers.1.up: weights", "layers.1.up: matmul", "y: store"
    store = Store(memory=Memory.VALUE, address=512, dram_address=4096, words=2)
    found = facts(program(load, matmul, load, replace(matmul, act_address=100), store, labels=labels))
    assert [each.name for each in found.layers] == ["layers.0", "layers.1", "y", "end"]
    up, y, _ = found.operators
    assert (up.name, up.instruction_counts) == ("layers.*.up", {"load": 2, "matmul": 2})
    assert (up.dram_read_bytes, up.tile_macs) == (2 * 32, 2 * 3 * 8 * 4)
    assert up.panels == {"3 × 8 × 4": 2} and up.chunks == {"weight: 32 bytes": 2} and up.loops == {"rows": 1}
    assert (y.name, y.dram_written_bytes) == ("y", 16)


def test_words_live_from_a_write_to_the_last_read():
    """LOAD writes 8 words; NORM replaces 2 of them in place; MAP reads all; then 2 others are written and read."""
    load = Load(memory=Memory.VALUE, words=8)
    norm = Norm(columns=8)
    reads = Map(columns=32, source=Source.VALUE, address=1024)
    later = Load(memory=Memory.VALUE, address=100, words=2)
    last = Store(memory=Memory.VALUE, address=100, dram_address=4096, words=2)
    (value,) = (each for each in facts(program(load, norm, reads, later, last)).occupancy if each.memory == "value")
    assert (value.words, value.touched_words, value.live_words) == (2048, 18, 8)  # what MAP writes is never read


def test_sums_live_from_the_product_on():
    """The second product does not add to the sums that are there, so between MAP and it they are dead."""
    products = [Matmul(rows=4, act_stride=1, acc_stride=1), Map(rows=4, columns=4, source_stride=1, stride=1)]
    (acc,) = (each for each in facts(program(*products, *products)).occupancy if each.memory == "acc")
    assert (acc.touched_words, acc.live_words) == (4, 4)


def test_loads_run_ahead_of_their_readers():
    """The second load is there long before NORM is done with the first; the first one NORM waits for."""
    loads = [
        Load(memory=Memory.VALUE, words=8, signal=TO[Unit.NORM]),
        Load(memory=Memory.VALUE, address=512, dram_address=4096, words=8, signal=TO[Unit.NORM]),
    ]
    norms = [
        Norm(rows=4, columns=8, source_stride=2, address=1024, stride=2, wait=TO[Unit.LOAD]),
        Norm(rows=4, columns=8, source_address=512, source_stride=2, address=1024, stride=2, wait=TO[Unit.LOAD]),
    ]
    both = program(*loads, *norms)
    result = simulate(both, values=False)
    (ahead,) = facts(both, result).ahead
    assert (ahead.memory, ahead.loads, ahead.in_time) == ("value", 2, 0.5)
    timing = result.timing
    assert ahead.cycles_ahead == (timing.start[2] - timing.retire[0] + timing.start[3] - timing.retire[1]) // 2
