"""Cycles worked out by hand from docs/architecture.md, one rule at a time. All on nano: 4-byte beats, bursts of 16.

FETCH is granted in cycle 1 and moves 64 beats from cycle 1 + latency on; instruction i is whole in 8 · (i + 1) beats.
With the latency of 32 that is cycle 33 + 8·i + 7 = 40 + 8·i, so dispatch d(i) = 42 + 8·i and start 43 + 8·i at best,
and the DRAM is free again in cycle 33 + 64 = 97.
"""

from dataclasses import replace

import pytest
from heddle.arch.config import PRESETS, SCALAR_COUNT, DramConfig, Memory, Unit
from heddle.arch.errors import HeddleError
from heddle.arch.isa import Append, Guard, Halt, Load, Map, Matmul, Part, Source, Store, Stream
from heddle.arch.kinds import sort_into_kinds
from heddle.arch.program import Program
from heddle.sim.dispatch import dispatched_kinds
from heddle.sim.engine import timing_of
from heddle.sim.machine import Machine, simulate

LOAD, STORE, MATRIX, VECTOR = (1 << unit for unit in (Unit.LOAD, Unit.STORE, Unit.MATRIX, Unit.VECTOR))


def timing(config, *instructions, **dram):
    """By both engines."""
    groups, memory = -(-len(instructions) // 8), replace(config.dram, **dram)
    found = Machine(config, instructions, groups, memory).run()
    work = dispatched_kinds(sort_into_kinds(instructions), (0,) * SCALAR_COUNT, config)
    assert timing_of(config, work, groups, memory) == found
    return found


def test_an_empty_program_ends_with_the_dispatch_of_its_halt(nano):
    found = timing(nano, Halt())
    assert (found.dispatched, found.cycles) == ([42], 42)


def test_a_result_shows_itself_in_a_line(nano):
    assert repr(simulate(Program(nano, (Halt(),), 4096))) == "<Result of program on nano-float32: 42 cycles>"


def test_instructions_wider_than_a_beat_arrive_with_their_last_beat(nano):
    wide = replace(nano, columns=16, rows=32, axi_bytes=16)  # two beats per instruction
    assert timing(wide, Halt()).arrived == [34]
    widest = replace(nano, columns=128, rows=128, axi_bytes=128)  # one, of 32 bytes
    assert timing(widest, Map(source=Source.VALUE), Halt()).arrived == [33, 34]


def test_slow_beats_delay_arrivals(nano):
    assert timing(nano, Halt(), latency_cycles=5, cycles_per_beat=3).arrived == [1 + 5 + 7 * 3]


def test_each_thing_happens_when_the_manual_says(nano):
    found = timing(
        nano,
        Load(memory=Memory.ACT, words=4, dram_address=1024),
        Load(memory=Memory.WEIGHT, words=8, dram_address=2048, signal=MATRIX),
        Matmul(rows=4, acc_stride=1, wait=LOAD, signal=VECTOR),
        Map(rows=4, columns=4, source_stride=1, stride=1, wait=MATRIX, signal=STORE),
        Store(memory=Memory.VALUE, words=4, dram_address=4096, wait=VECTOR),
        Halt(),
    )
    assert found.dispatched == [42, 50, 58, 66, 74, 82]
    # LOAD 0: request and grant in 45; DRAM free in 97: beats 97…100; retires in 101.
    # LOAD 1: may start from 46 on, is there in 51; beats 101…108.
    load = [(43, 101), (51, 109)]
    # MATRIX: token usable in 110; R + 1 + (T − 1)·P + M + drain with one tile.
    matrix = 110, 110 + 4 + 1 + 0 + 4 + nano.matrix_drain_cycles
    # VECTOR: 4 rows of 4 / 2 groups, one per cycle.
    vector = matrix[1] + 1, matrix[1] + 1 + 4 * 2 + 2 + nano.vector_map_cycles
    # STORE: 4 words of 8 bytes are 8 beats, read in s+1 … s+8, requested in s+11; beats s+43 … s+50; retires in s+52.
    store = vector[1] + 1, vector[1] + 1 + 52
    assert list(zip(found.start, found.retire, strict=True))[:5] == [*load, matrix, vector, store]
    assert found.cycles == store[1] + 1


def test_a_matmul_starts_while_the_sums_of_the_one_before_drain(nano):
    found = timing(
        nano, Matmul(rows=4, k_tiles=5), Matmul(rows=6, k_tiles=2, accumulate=1), Matmul(rows=9),
        Guard(register=1, threshold=0, count=1), Matmul(), Matmul(), Halt(),
    )  # fmt: skip
    # Five periods of 5, two of 6, and the sum of a row is there 5 cycles after that was read, where the next row comes
    # a cycle later. A void one starts when all is over, and what follows when that is.
    start = [43, 43 + 25 + 4, 72 + 12]
    # R + 1 + (T − 1)·P + M + drain; the drain is 2 + (1 + 1 + 4 + 3) + 1.
    retire = [43 + 5 + 20 + 4 + 12, 72 + 5 + 6 + 6 + 12, 84 + 5 + 0 + 9 + 12]
    assert (found.start[:3], found.retire[:3]) == (start, retire)
    assert (found.start[4], found.retire[4]) == (retire[2] + 1, retire[2] + 2)
    assert found.start[5] == retire[2] + 3


def test_a_full_queue_holds_dispatch_and_dispatch_holds_fetch(nano):
    # Queue of 4; latency 1, so d(i) = 11 + 8·i at best. Each Map takes 8·2 + 2 + map cycles (more than 38).
    found = timing(nano, *[Map(rows=8, columns=4, source=Source.VALUE)] * 23, Halt(), latency_cycles=1)
    period = 18 + nano.vector_map_cycles + 1
    start = [12 + i * period for i in range(23)]
    assert found.start[:23] == start
    # One starts at once and four wait; each later one comes in the cycle after a start has made a place.
    assert found.dispatched[:5] == [11, 19, 27, 35, 43]
    assert found.dispatched[5:23] == [start[i - 4] + 1 for i in range(5, 23)]
    # Group 1 is asked for at once, behind group 0; group 2 only in the cycle after instruction 7 is dispatched.
    assert found.arrived[8] == 2 + 64 + 7
    assert found.arrived[16] == found.dispatched[7] + 1 + 1 + 7
    assert found.cycles == start[22] + period


def test_load_stops_asking_while_four_bursts_are_in_flight(nano):
    found = timing(nano, Load(words=96), Load(words=1), Halt())
    # Six bursts of 16 beats, back to back from cycle 97. Grants in 45 … 48, then in the cycle after a burst's last
    # beat: 113 (after 112) and 129; each moves on when the port is free.
    assert (found.start[0], found.retire[0]) == (43, 97 + 6 * 16)
    # The next may start in 130. It asks in 132, but two of four bursts … 3 to 6 are in flight until 144.
    assert (found.start[1], found.retire[1]) == (130, 97 + 6 * 16 + 1)


def test_one_burst_at_a_time_pays_the_latency_each_time(nano):
    single = replace(nano, load_outstanding=1)
    found = timing(single, Load(words=48), Halt())
    # Beats 97…112; asked for again in 113: beats 145…160; 161: 193…208.
    assert found.retire[0] == 209


def test_a_segment_is_cut_at_multiples_of_the_burst_length(nano):
    # 16 words of 4 bytes from byte 40: 6 beats to byte 64, then 10. Grants in 44, 45; beats 97…102, 103…112.
    found = timing(nano, Load(words=16, dram_address=40), Halt(), cycles_per_beat=2)
    # Fetch: 64 beats of 2 cycles from 33 to 161; instruction 0 is whole in 33 + 14 = 47, starts in 50.
    assert (found.start[0], found.retire[0]) == (50, 161 + 15 * 2 + 1)


def test_a_gather_waits_for_all_loads_and_takes_nine_cycles_for_each_row(nano):
    found = timing(
        nano,
        Load(memory=Memory.INDEX, words=2),
        Load(words=16, segments=3, stride=16, dram_stride=64, gather=1),
        Halt(),
        latency_cycles=1,
        cycles_per_beat=1,
    )
    # Fetch: beats 2…65, d(0) = 11, s = 12; request 15; the port is free in 66: beats 66, 67; retires in 68.
    assert (found.start[0], found.retire[0]) == (12, 68)
    # The gather starts in 69; its requests are up in 79, 88, 97; bursts of 16 beats from 80 without a gap.
    assert (found.start[1], found.retire[1]) == (69, 80 + 48)


def test_store_fills_two_buffers_in_turn(nano):
    found = timing(nano, Store(memory=Memory.ACT, words=48, dram_address=1024), Halt())
    # Read in 44…59, up in 62; port free in 97: beats 97…112. Second: read in 60…75, up in 78, beats 113…128.
    # Third: its buffer is free in 113, read in 113…128, up in 131, beats 163…178. Response in 179, retires in 180.
    assert (found.start[0], found.retire[0]) == (43, 180)


def test_store_goes_before_load(nano):
    # STORE: starts in 43, reads 7 beats in 44…50, up in 53. LOAD: dispatched in 50, starts in 51, up in 53.
    store, load = Store(memory=Memory.ACT, words=7, dram_address=1024), Load(words=2)
    found = timing(nano, store, load, Halt())
    # STORE is granted in 53: beats 97…103, retires in 105. LOAD in 54: beats 104, 105, retires in 106.
    assert (found.retire[0], found.retire[1]) == (105, 106)


def test_a_stream_asks_like_a_gather_and_its_keys_leave_a_transposer(nano):
    # Latency 1: d(0) = 11, s = 12. A block is 4 words of 4 bytes, one burst of 4 beats; first request in s + 6.
    values = Stream(part=Part.VALUES, blocks=3, page_blocks=4)
    found = timing(nano, values, replace(values, part=Part.KEYS), Halt(), latency_cycles=1)
    # Fetch moves beats 2 … 65, so the bursts of values are 66…69, 70…73, 74…77; no other KV instruction overlaps.
    assert (found.start[0], found.retire[0]) == (12, 78)
    # Requests in 79 + 6, 79 + 11, 79 + 16; beats 86…89, 91…94, 96…99; the last tile takes C + 1 more cycles.
    assert (found.start[1], found.retire[1]) == (79, 100 + 5)


def test_a_stream_keeps_to_the_bursts_that_may_be_in_flight(nano):
    single = replace(nano, load_outstanding=1)
    found = timing(single, Stream(blocks=2, page_blocks=4), Halt())
    # s = 43; beats 97…100; asked for again in 101: beats 133…136.
    assert found.retire[0] == 137


def test_appended_items_are_read_one_by_one_and_eight_are_under_way(nano):
    found = timing(nano, Append(tokens=10, page_blocks=4), Halt())
    # s = 43, q = 44, up in 49; each next one five later: grants in 49, 54 … 84. The fetch is through in 96: items 0 … 7
    # are beats 97 … 104. Item 8 is read in 98, granted in 103: beat 135; item 9 in 103, 108: beat 140.
    assert (found.start[0], found.retire[0]) == (43, 140 + 2)


def test_kv_goes_after_store_and_before_load(nano):
    # STORE: s = 43, 15 beats read in 44 … 58, up in 61. KV: s = 51, q = 52, granted in 57, then up in 62 and 67.
    # LOAD: s = 59, up in 61.
    store, load = Store(memory=Memory.ACT, words=15, dram_address=1024), Load(words=2)
    found = timing(nano, store, Append(tokens=3), load, Halt())
    # Beats: 97 (KV), then STORE's of 61 in 98 … 112, KV's of 62 in 113, LOAD's of 63 in 114, 115, KV's of 67 in 116.
    assert found.retire[:3] == [114, 118, 116]


def test_a_word_or_pair_wider_than_a_beat_takes_some(nano):
    pair = timing(nano, Append(part=Part.PAIRS), Halt())
    assert pair.retire[0] == 97 + 1 + 2
    wide = timing(PRESETS["base"], Append(part=Part.PAIRS), Halt(), latency_cycles=100)
    # Two beats an instruction: d = 101 + 1 + 2; s = 105; granted in 111; one beat in 211.
    assert (wide.start[0], wide.retire[0]) == (105, 213)


def test_dram_settings_change_cycles_only(nano):
    program = Program(nano, (Load(words=4, dram_address=256), Halt()), 512)
    near = simulate(program, dram=DramConfig(latency_cycles=1))
    far = simulate(program, dram=DramConfig(latency_cycles=200))
    assert near.cycles < far.cycles
    assert (near.image == far.image).all()


def test_tokens_sent_before_they_are_wanted_are_kept(nano):
    first = Load(words=1, signal=VECTOR)
    found = timing(nano, first, first, *[Map(columns=4, source=Source.VALUE, wait=LOAD)] * 2, Halt())
    assert found.start[2] == found.retire[0] + 1
    assert found.start[3] == found.retire[2] + 1


def test_a_deadlock_names_who_waits_for_what(nano):
    with pytest.raises(HeddleError) as error:
        timing(nano, Map(columns=4, wait=MATRIX | LOAD), Load(wait=VECTOR), Halt())
    message = str(error.value)
    assert "deadlock" in message and "\n" not in message
    assert "VECTOR at instruction 0 (map" in message and "for a token of LOAD and MATRIX" in message
    assert "LOAD at instruction 1 (load" in message and "for a token of VECTOR" in message


def test_a_deadlock_through_a_full_queue_names_the_instruction_not_dispatched(nano):
    with pytest.raises(HeddleError, match=r"dispatch at instruction 4 \(map .* for a place in its queue"):
        timing(nano, *[Map(columns=4, wait=LOAD)] * 5, Load(signal=VECTOR), Halt())


def test_a_program_without_halt_is_refused(nano):
    with pytest.raises(HeddleError, match="halt"):
        timing(nano, *[Map(columns=4, source=Source.VALUE)] * 8)
