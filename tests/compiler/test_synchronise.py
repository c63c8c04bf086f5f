"""Semaphores: every conflict is ordered, and nothing is ordered twice."""

from dataclasses import replace

from heddle.arch.config import PRESETS, Memory, Unit
from heddle.arch.isa import Codes, Halt, IndexMap, Load, Map, Matmul, Quantise, Reduce, Reduction, Source, Store, Stream
from heddle.compiler.synchronise import synchronise

NANO = PRESETS["nano"]
LOAD, STORE, KV, MATRIX, VECTOR = (1 << unit for unit in list(Unit)[:5])


def masks(instructions):
    return [(each.wait, each.signal) for each in synchronise(NANO, instructions)]


def test_a_reader_waits_for_the_writer():
    load = Load(memory=Memory.VALUE, words=4)
    assert masks([load, Map(source=Source.VALUE, columns=4, address=512), Halt()]) == [(0, VECTOR), (LOAD, 0), (0, 0)]


def test_a_writer_waits_for_the_readers_of_what_it_replaces():
    program = [Map(source=Source.VALUE, columns=4, source_address=0, address=512), Load(memory=Memory.VALUE, address=0)]
    assert masks(program) == [(0, LOAD), (VECTOR, 0)]


def test_independent_banks_overlap():
    program = [Load(memory=Memory.WEIGHT, address=0, words=4), Matmul(weight_address=1024)]
    assert masks(program) == [(0, 0), (0, 0)]


def test_the_same_port_of_a_bank_is_ordered_even_without_shared_words():
    program = [Map(source=Source.VALUE, source_address=0, address=512), Store(address=100)]
    assert masks(program) == [(0, STORE), (VECTOR, 0)]


def test_read_and_write_ports_of_a_bank_are_separate():
    program = [Load(memory=Memory.VALUE, address=0), Store(address=100, dram_address=64)]
    assert masks(program) == [(0, 0), (0, 0)]


def test_an_order_that_already_holds_takes_no_token():
    program = [
        Load(memory=Memory.VALUE, address=0),  # read by VECTOR, and by STORE after VECTOR
        Map(source=Source.VALUE, columns=4, address=512),
        Store(address=512),
        Store(address=0, dram_address=4096),
    ]
    assert masks(program) == [(0, VECTOR), (LOAD, STORE), (VECTOR, 0), (0, 0)]


def test_the_accumulators_in_use_by_the_array_cannot_be_read():
    program = [Matmul(acc_address=0), Map(source_address=256, columns=4, address=0)]
    assert masks(program)[1] == (MATRIX, 0)


def test_dram_written_by_store_is_read_by_load_only_afterwards():
    program = [Store(dram_address=4096), Load(dram_address=4096, address=64), Load(dram_address=8192)]
    assert masks(program) == [(0, LOAD), (STORE, 0), (0, 0)]


def test_a_scatter_may_write_all_that_is_behind_its_table_and_the_cache():
    scatter = Store(dram_address=4096, scatter=1, index_address=9)
    program = [scatter, Load(dram_address=64, address=64), Load(dram_address=8192, address=80), Stream(address=512)]
    assert masks(program) == [(0, LOAD | KV), (0, 0), (STORE, 0), (STORE, 0)]
    gather = Load(dram_address=4096, gather=1, index_address=9)
    assert masks([gather, Stream(address=1024)]) == [(0, 0), (0, 0)]


def test_numbers_are_computed_before_and_after_who_uses_them():
    program = [
        # Written by VECTOR, read by LOAD, as by the next.
        Reduce(columns=4, source=Source.VALUE, kind=Reduction.MAXIMUM, placed=1, index_address=3),
        IndexMap(source=1, source_address=3, number=5, address=7),
        Load(gather=1, index_address=7),
        Store(memory=Memory.ACT, address=100, scatter=1, index_address=7, dram_address=4096),
    ]
    assert masks(program) == [(0, LOAD), (VECTOR, 0), (0, STORE), (LOAD, 0)]


def test_existing_masks_are_replaced():
    program = [replace(Load(), wait=255, signal=255), Quantise(codes=Codes.ACT, source=Source.VALUE)]
    assert masks(program) == [(0, VECTOR), (LOAD, 0)]
