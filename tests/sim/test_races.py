"""The race detector against happens-before worked out event by event, on programs that are right and spoiled ones."""

from dataclasses import replace
from itertools import combinations

import pytest
import torch
from heddle.arch.config import PRESETS, Memory, Unit
from heddle.arch.isa import Append, Halt, Load, Map, Matmul, Norm, Source, Store, Stream, units_in
from heddle.arch.operands import is_chosen
from heddle.arch.program import Program
from heddle.compiler.builder import Tiling
from heddle.compiler.cache import CachePlan
from heddle.compiler.decoder import compile_decoder
from heddle.compiler.pipeline import compile
from heddle.cosim.random_programs import random_program
from heddle.models import bert
from heddle.models.gpt2 import Gpt2, Gpt2Config
from heddle.models.registry import WORKLOADS
from heddle.sim import races
from heddle.sim.footprints import Blocks
from heddle.sim.races import Race, find_races

TO = {unit: 1 << unit for unit in Unit}


def program(config, *instructions, **options):
    return Program(config, (*instructions, Halt()), 1 << 16, **options)


def found(config, *instructions, **options):
    return list(find_races(program(config, *instructions, **options)))


# -- the slow way ------------------------------------------------------------------------------------------------------


def certain(instructions):
    """For each instruction, the set of those that have retired when it starts, as bits, by following all edges."""
    started, retired, tokens, latest = {}, {}, {}, {}
    for index, each in enumerate(instructions):
        if each.unit is None:
            continue
        before = latest.get(each.unit)
        start = 0
        if before is not None:
            start |= started[before] if each.unit is Unit.LOAD else retired[before]
        for source in units_in(each.wait):
            start |= retired[tokens[source, each.unit].pop(0)]
        started[index] = start
        retired[index] = start | 1 << index | (retired[before] if before is not None else 0)
        latest[each.unit] = index
        for target in units_in(each.signal):
            tokens.setdefault((each.unit, target), []).append(index)
    return started


def places(program, index, plain):
    """What an instruction touches: ({(memory or None, word or beat): written}, {(memory, write, bank)})."""
    config, each = program.config, program.instructions[index]
    touched, ports = {}, set()

    def touch(memory, first, length, write):
        for word in range(first, first + length):
            touched[memory, word] = touched.get((memory, word), False) or write

    for access in each.accesses(config):
        for block in range(access.count):
            touch(access.memory, access.start + block * access.stride, access.length, access.write)
        for bank in range(config.banks(access.memory)):
            if access.bank_mask(config) >> bank & 1:
                ports.add((access.memory, access.write, bank))
    beats, cache = config.axi_bytes, range(program.cache_address, program.cache_address + program.cache_bytes)
    if isinstance(each, (Append, Stream)):
        touch(None, cache.start // beats, len(cache) // beats, isinstance(each, Append))
    elif is_chosen(each):  # a gather or a scatter: anything from its table on, of which the others' beats and one count
        for beat in {*plain, cache.start // beats, program.dram_bytes // beats - 1}:
            if beat * beats >= each.dram_address and (isinstance(each, Store) or beat * beats not in cache):
                touch(None, beat, 1, isinstance(each, Store))
    elif isinstance(each, (Load, Store)):
        for first, length in pieces(each, config):
            touch(None, first, length, isinstance(each, Store))
    return touched, ports


def pieces(each, config):
    """The beats of a LOAD or STORE whose places no data choose, (first, count) of each segment."""
    length = each.words * config.dram_word_bytes(each.memory) // config.axi_bytes
    return [((each.dram_address + segment * each.dram_stride) // config.axi_bytes, length)
            for segment in range(each.segments)]  # fmt: skip


def plain_beats(program):
    """All beats of DRAM that such instructions of a program touch."""
    plain = [each for each in program.instructions if isinstance(each, (Load, Store)) and not is_chosen(each)]
    return {first + beat for each in plain for first, length in pieces(each, program.config) for beat in range(length)}


def unordered(program):
    """All pairs that race, and all pairs that could meet at a port, by brute force."""
    units = [index for index, each in enumerate(program.instructions) if each.unit is not None]
    plain = plain_beats(program)
    known, used = certain(program.instructions), {index: places(program, index, plain) for index in units}
    racing, meeting = set(), set()
    for first, second in combinations(units, 2):
        one, two = program.instructions[first], program.instructions[second]
        if one.unit is two.unit or known[second] >> first & 1:
            continue
        mine, others = used[first][0], used[second][0]
        if any(mine[place] or others[place] for place in mine.keys() & others.keys()):
            racing.add((first, second))
        if used[first][1] & used[second][1]:
            meeting.add((first, second))
    return racing, meeting


def tokens_of(program):
    """All tokens, as (sender, taker), in the order in which they are taken."""
    waiting, pairs = {}, []
    for index, each in enumerate(program.instructions):
        for source in units_in(each.wait) if each.unit is not None else ():
            pairs.append((waiting[source, each.unit].pop(0), index))
        for target in units_in(each.signal) if each.unit is not None else ():
            waiting.setdefault((each.unit, target), []).append(index)
    return pairs


def without_token(program, chosen):
    """The program without one of its tokens: sender and taker forget it, the others meet as before."""
    instructions, pairs = list(program.instructions), tokens_of(program)
    sender, taker = pairs[chosen % len(pairs)]
    source, target = instructions[sender].unit, instructions[taker].unit
    instructions[sender] = replace(instructions[sender], signal=instructions[sender].signal & ~TO[target])
    instructions[taker] = replace(instructions[taker], wait=instructions[taker].wait & ~TO[source])
    return replace(program, instructions=tuple(instructions))


# -- by hand -----------------------------------------------------------------------------------------------------------


def test_a_read_that_does_not_wait_for_its_write_is_a_race(nano):
    load = Load(memory=Memory.VALUE, address=5, words=3)
    norm = Norm(columns=8, source_address=6, address=1024)
    assert found(nano, load, norm) == [Race(0, 1, Memory.VALUE, 6, 7)]
    waits = replace(norm, wait=TO[Unit.LOAD])
    assert found(nano, replace(load, signal=TO[Unit.NORM]), waits) == []


def test_a_token_of_a_third_unit_passes_on_what_it_knows(nano):
    load = Load(memory=Memory.VALUE, words=2, signal=TO[Unit.VECTOR])
    vector = Map(columns=8, source=Source.VALUE, address=1024, wait=TO[Unit.LOAD], signal=TO[Unit.NORM])
    assert found(nano, load, vector, Norm(columns=8, address=1536, wait=TO[Unit.VECTOR])) == []


def test_loads_overlap_but_the_token_of_one_covers_those_before_it(nano):
    first, second = Load(memory=Memory.VALUE, words=2), Load(memory=Memory.VALUE, address=512, words=2)
    norm = Norm(columns=8, address=1024, wait=TO[Unit.LOAD])
    assert found(nano, first, replace(second, signal=TO[Unit.NORM]), norm) == []
    assert found(nano, replace(first, signal=TO[Unit.NORM]), second, replace(norm, source_address=512)) == [
        Race(1, 2, Memory.VALUE, 512, 513)
    ]


def test_a_load_does_not_wait_for_the_load_before_it(nano):
    """So a token that LOAD takes orders what follows in LOAD, but not what others are told by an earlier LOAD."""
    store = Store(dram_address=4096, words=1, signal=TO[Unit.LOAD])
    loads = [Load(address=8, wait=TO[Unit.STORE]), Load(address=9, dram_address=4096)]
    assert found(nano, store, *loads) == []
    unordered_load = Load(address=9, dram_address=4096)
    assert [(each.earlier, each.later) for each in found(nano, unordered_load, replace(store, signal=0))] == [(0, 1)]


def test_what_follows_a_race_is_judged_as_if_it_were_ordered(nano):
    load, norm = Load(memory=Memory.VALUE, words=8), Norm(columns=8, address=1024)
    assert found(nano, load, norm, norm, norm) == [Race(0, 1, Memory.VALUE, 0, 1)]


def test_dram_written_and_read_again_needs_a_token(nano):
    size = nano.dram_word_bytes(Memory.VALUE)
    store = Store(memory=Memory.VALUE, dram_address=4096, dram_stride=256, segments=3, words=4)
    load = Load(memory=Memory.VALUE, address=1024, dram_address=4096 + 512 + 2 * size, words=8)
    assert found(nano, store, load) == [Race(0, 1, None, 4096 + 512 + 2 * size, 4096 + 512 + 4 * size - 1)]
    between = replace(load, dram_address=4096 + 256 + 4 * size, words=4)
    assert found(nano, store, between) == []


def test_strided_blocks_race_only_where_they_meet(nano):
    """Rows of 8 words: LOAD writes words 0 to 3 of each, NORM reads words 4 and 5, then 2 and 3."""
    load = Load(memory=Memory.VALUE, words=4, stride=8, segments=5, dram_stride=32)
    norm = Norm(rows=5, columns=8, source_address=4, source_stride=8, address=1024, stride=2)
    assert found(nano, load, norm) == []
    assert found(nano, load, replace(norm, source_address=2)) == [Race(0, 1, Memory.VALUE, 2, 3)]


def test_a_meeting_at_a_port_does_not_hide_a_race(nano):
    """NORM reads a bank that VECTOR reads, and then words that VECTOR writes: one token would order both."""
    vector = Map(columns=8, source=Source.VALUE, address=1024)
    norms = [Norm(columns=8, source_address=start, address=1536) for start in (100, 1024)]
    assert found(nano, vector, *norms) == [
        Race(0, 1, Memory.VALUE, 0, 0, write=False), Race(0, 2, Memory.VALUE, 1024, 1025)
    ]  # fmt: skip


def test_two_readers_of_one_bank_could_meet_at_its_port(nano):
    vector = Map(columns=8, source=Source.VALUE, address=1024)
    norm = Norm(columns=8, source_address=100, address=1536)
    assert found(nano, vector, norm) == [Race(0, 1, Memory.VALUE, 0, 0, write=False)]
    assert found(nano, vector, replace(norm, source_address=512)) == []


def test_the_cache_is_ordered_within_kv_and_nowhere_else(nano):
    append = Append(tokens=1, page_bytes=256)
    stream = Stream(address=512, page_bytes=256)
    cache = {"cache_address": 8192, "cache_bytes": 4096}
    assert found(nano, append, stream, **cache) == []
    inside = Load(memory=Memory.VALUE, dram_address=8192 + 64)
    assert [each.memory for each in found(nano, append, inside, **cache)] == [None]
    gather = Load(memory=Memory.VALUE, gather=1, dram_address=4096, dram_stride=64)
    assert found(nano, append, gather, **cache) == []


def test_a_matmul_after_its_operands(nano):
    loads = [Load(memory=Memory.ACT), Load(memory=Memory.WEIGHT, words=4, signal=TO[Unit.MATRIX])]
    assert found(nano, *loads, Matmul(wait=TO[Unit.LOAD])) == []
    both = found(nano, *(replace(each, signal=0) for each in loads), Matmul())
    assert both == [Race(1, 2, Memory.WEIGHT, 0, 3)]  # a token of the second load orders the first too


# -- where blocks meet -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(200))
def test_blocks_meet_exactly_where_their_sets_do(seed):
    from random import Random

    random = Random(seed)
    one, two = (
        Blocks(random.randrange(40), random.randint(1, 6), random.randrange(12), random.randint(1, 6), True)
        for _ in range(2)
    )
    sets = [{each.start + i * each.stride + k for i in range(each.count) for k in range(each.length)}
            for each in (one, two)]  # fmt: skip
    met = one.meeting(two)
    assert (met is None) == (not sets[0] & sets[1])
    if met:
        assert set(range(met[0], met[1] + 1)) <= sets[0] & sets[1]


# -- whole programs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_random_programs_are_clean_and_each_missing_token_is_seen(seed):
    """Spoiled in ten places each: a race is found if and only if there is one, and each that is found is one."""
    right = random_program(PRESETS["nano"], seed)
    assert list(find_races(right)) == []
    assert unordered(right) == (set(), set())
    for chosen in range(10):
        spoiled = without_token(right, chosen * 7 + seed)
        racing, meeting = unordered(spoiled)
        findings = list(find_races(spoiled))
        seen = {(each.earlier, each.later) for each in findings if each.write is None}
        ports = {(each.earlier, each.later) for each in findings if each.write is not None}
        assert seen <= racing and ports <= meeting
        assert bool(findings) == bool(racing | meeting)
        assert bool(seen) == bool(racing)


def test_most_tokens_of_a_random_program_are_needed():
    """Or the test above would show little."""
    right = random_program(PRESETS["nano"], 3)
    spoiled = [without_token(right, chosen) for chosen in range(40)]
    assert sum(any(unordered(each)) for each in spoiled) >= 30


@pytest.mark.parametrize("seed", range(4))
def test_programs_taken_in_parts_are_judged_alike(monkeypatch, seed):
    right = random_program(PRESETS["nano"], seed)
    spoiled = [without_token(right, chosen) for chosen in range(10)]
    whole = [list(find_races(each)) for each in spoiled]
    monkeypatch.setattr(races, "FOOTPRINTS_AT_ONCE", 7)
    assert [list(find_races(each)) for each in spoiled] == whole
    assert any(whole)


@pytest.mark.parametrize("workload, config", [("encoder-layer", "nano"), ("digits-vit", "small")])
def test_compiled_programs_are_clean_and_each_missing_token_is_seen(workload, config):
    chosen = WORKLOADS[workload]
    right = compile(chosen.model(), chosen.example_inputs(), PRESETS[config])
    assert list(find_races(right)) == []
    for number in range(0, 60, 3):
        spoiled = without_token(right, number)
        assert any(find_races(spoiled)), f"token {number}: synchronise sends none that is not needed"


@pytest.mark.parametrize("tokens", [1, 8])
def test_compiled_decoders_are_clean(tokens):
    torch.manual_seed(0)
    model = Gpt2(Gpt2Config(context=32, width=16, depth=2, heads=2)).eval()
    right = compile_decoder(model, PRESETS["nano"], CachePlan(32), tokens=tokens)
    assert list(find_races(right)) == []
    assert any(find_races(without_token(right, 25)))


def test_compiled_programs_whose_rows_go_in_groups_are_clean():
    """Their layers repeat, K and V go through the cache, and the rest of a layer's rows waits in DRAM."""
    with torch.device("meta"):
        model = bert.Bert(bert.BertConfig(depth=2)).eval()
    ids = torch.zeros(1, 16, dtype=torch.int64)
    right = compile(model, (ids, ids), PRESETS["nano"], tiling=Tiling(1, 4, 8))
    assert any(isinstance(each, Stream) for each in right.instructions)
    assert list(find_races(right)) == []
    for number, (sender, taker) in enumerate(tokens_of(right)):
        if right.instructions[sender].unit is Unit.STORE:
            first = next(find_races(without_token(right, number)))
            assert (first.earlier, first.later) == (sender, taker)
