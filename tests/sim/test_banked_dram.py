"""The banked DRAM: each rule of the manual by hand, bandwidth of whole programs, and addresses that hang on data."""

from dataclasses import replace

import numpy as np
import pytest
from heddle.arch.config import PRESETS, Memory
from heddle.arch.dram import DRAM_PRESETS, DramConfig
from heddle.arch.errors import HeddleError
from heddle.arch.isa import Append, Halt, Load, Part, Reduce, Reduction, Source, Store, Stream
from heddle.arch.program import Program, Tensor
from heddle.compiler.synchronise import synchronise
from heddle.sim.addresses import loaded_addresses
from heddle.sim.dram import BankedDram, Burst
from heddle.sim.machine import simulate

NANO, BASE, SERVER = PRESETS["nano"], PRESETS["base"], PRESETS["server"]

# One channel of two banks whose rows hold two blocks of 256 bytes. An access: 16 bytes, or 4 beats, in 2 cycles.
TINY = DramConfig(
    model="banked", latency_cycles=10, channels=1, banks=2, row_bytes=512, interleave_bytes=256, access_bytes=16,
    access_ticks=2 * 256, cl=4, cwl=3, t_rcd=5, t_rp=6, t_ras=20, t_wr=7, t_rtp=2, t_rrd=3, t_faw=30, t_wtr=5, t_rtw=1,
    t_refi=10_000, t_rfc=100,
)  # fmt: skip
SAME_BANK = 3 * 512  # row 1 of bank 0: line 3, for the rows of odd numbers swap banks
OTHER_BANK = 512
MISS = 10 + 5 + 4 + 2  # from the grant to the first beat: latency, activate, command, the access


def serve(*bursts, **changes):
    """(first, last) for each (grant, address, beats, writes); the model, too."""
    dram = BankedDram(replace(TINY, **changes), 4)
    return [dram.serve(grant, Burst(address, beats), writes) for grant, address, beats, writes in bursts], dram


def test_a_closed_row_is_opened_and_an_open_one_is_hit():
    served, dram = serve((0, 0, 4, False), (100, 16, 4, False), (200, OTHER_BANK, 4, False))
    assert served == [(MISS, MISS + 3), (100 + 10 + 4 + 2, 119), (200 + MISS, 200 + MISS + 3)]
    assert (dram.hits, dram.misses, dram.conflicts) == (1, 2, 0)


def test_another_row_is_closed_first():
    served, dram = serve((0, 0, 4, False), (100, SAME_BANK, 4, False))
    assert served[1] == (100 + 6 + MISS, 100 + 6 + MISS + 3)
    assert (dram.hits, dram.misses, dram.conflicts) == (0, 1, 1)


def test_a_row_stays_open_for_t_ras_and_until_its_data_are_safe():
    # Opened in 10: not closed before 30, although the read ends in 21.
    assert serve((0, 0, 4, False), (1, SAME_BANK, 4, False))[0][1][0] == 30 + 6 + 5 + 4 + 2
    # Two slow accesses end in 19 + 20 = 39; the last command was so early that the row may close cl − t_rtp before.
    served, _ = serve((0, 0, 8, False), (1, SAME_BANK, 4, False), access_ticks=10 * 256)
    assert served[1][0] == 39 - 2 + 6 + 5 + 4 + 10
    # Written data came in 14 to 17, for an access from 18 to 20: from then t_wr.
    served, _ = serve((0, 0, 4, True), (1, SAME_BANK, 4, False), t_wr=17)
    assert served[0] == (18 - 4, 17)
    assert served[1][0] == 20 + 17 + 6 + 5 + 4 + 2


def test_rows_of_two_banks_are_opened_t_rrd_apart():
    slow = dict(t_rrd=40)
    assert serve((0, 0, 4, False), (1, OTHER_BANK, 4, False), **slow)[0][1][0] == 10 + 40 + 5 + 4 + 2
    assert serve((0, 0, 4, False), (1, 16, 4, False), **slow)[0][1][0] == 25  # a hit opens none: after the beats before


def test_the_fifth_activation_waits_for_the_first():
    rows = [(grant, 512 * grant, 4, False) for grant in range(5)]
    apart = dict(banks=8, t_rrd=1, t_faw=200)
    served, _ = serve(*rows, **apart)
    assert [first for first, _ in served[:4]] == [MISS, MISS + 4, MISS + 8, MISS + 12]  # bound by the port
    assert served[4][0] == 10 + 200 + 5 + 4 + 2
    # The window moves on: the sixth waits for the second.
    quick = [(grant, 512 * grant, 1, False) for grant in range(6)]
    assert [first for first, _ in serve(*quick, access_ticks=256, **apart)[0][3:]] == [23, 220, 221]


def test_a_refresh_closes_rows_and_takes_t_rfc():
    served, dram = serve((0, 0, 4, False), (9_995, 0, 4, False), (20_500, 0, 4, False))
    assert served[1][0] == 10_000 + 100 + 5 + 4 + 2  # it comes to the channel in 10,005
    assert served[2][0] == 20_500 + MISS  # that of 20,000 is over, but the row is closed
    assert (dram.hits, dram.misses, dram.refreshes) == (0, 3, 2)


def test_a_refresh_waits_for_bursts_that_came_before_it():
    served, dram = serve((9_985, 0, 32, False), (9_990, 16, 4, False))
    assert served[0] == (9_985 + MISS, 9_985 + MISS + 31)  # goes on beyond 10,000
    quiet = 9_985 + 10 + 5 + 4 + 8 * 2 - 2  # of its eight accesses
    assert served[1][0] == quiet + 6 + 100 + 5 + 4 + 2
    assert dram.refreshes == 1


def test_every_channel_refreshes_at_the_same_time():
    served, dram = serve((0, 0, 4, False), (9_995, 0, 4, False), (9_996, 256, 4, False), channels=2)
    assert [first for first, _ in served[1:]] == [10_111, 10_115]
    assert dram.refreshes == 2


def test_turning_the_bus_round_costs_time():
    read, write = (0, 0, 4, False), (0, 0, 4, True)
    # The read ends in 21: data of the write can begin in 22, and so come before it.
    served, _ = serve(read, (1, 0, 4, True), cwl=1)
    assert served[1] == (25, 28)  # but the port is busy until 25
    served, _ = serve(read, (1, 0, 4, True), cwl=1, t_rtw=40)
    assert served[1] == (21 + 40 - 4, 21 + 40 - 1)
    # The write: beats in 14 to 17, an access from 18 to 20; the command of the read t_wtr later.
    assert serve(write, (1, 0, 4, False))[0][1][0] == 20 + 5 + 4 + 2
    assert serve(write, (1, 0, 4, True))[0][1] == (18, 21)


def test_blocks_alternate_between_channels_which_work_at_the_same_time():
    dram = BankedDram(replace(TINY, channels=4), 4)
    assert [dram.place(256 * block)[0] for block in range(9)] == [0, 1, 2, 3, 1, 0, 3, 2, 2]
    slow = dict(access_ticks=50 * 256)
    reads = [(grant, 256 * grant, 4, False) for grant in range(4)]
    together = serve(*reads, channels=4, **slow)[0]
    assert [first for first, _ in together] == [69, 73, 77, 81]  # an access each, of 50 cycles, but for the port
    alone = serve(*reads, **slow)[0]
    assert [first for first, _ in alone] == [69, 119, 169, 219]


def test_every_address_has_a_place_of_its_own():
    dram = BankedDram(replace(TINY, channels=2, banks=4, row_bytes=1024), 4)
    places = [dram.place(256 * block) for block in range(2 * 4 * 4 * 8)]
    assert len(set(places)) == 2 * 4 * 8 and all(places.count(place) == 4 for place in set(places))
    stride = 2 * 4 * 1024  # from row to row: not always the same bank
    assert [dram.place(stride * row)[1:] for row in range(4)] == [(row, row) for row in range(4)]


@pytest.mark.parametrize("stride", [256 << shift for shift in range(14)])
def test_powers_of_two_use_every_channel(stride):
    dram = BankedDram(replace(TINY, channels=8), 4)
    channels = [dram.place(stride * step)[0] for step in range(64)]
    assert all(channels.count(channel) == 8 for channel in range(8))


def test_no_beat_comes_before_its_access_and_the_port_sets_the_pace():
    # Eight accesses in 19 to 35: the four beats of the last from 35 on, if not slowed by the first.
    assert serve((0, 0, 32, False))[0] == [(21, 52)]
    assert serve((0, 0, 32, False), access_ticks=5 * 256)[0] == [(19 + 40 - 7 * 4, 19 + 40 + 3)]
    assert serve((0, 0, 32, False), cycles_per_beat=2)[0] == [(21, 21 + 62)]
    # From the last beat of an access on: five beats, but two accesses.
    assert serve((0, 12, 5, False))[0] == [(21 + 3, 28)]
    # A part of a beat counts as the beat.
    assert serve((0, 8, 1, False))[0] == serve((0, 10, 1, False))[0]


def test_narrow_beats_of_a_fetch_take_the_accesses_of_their_bytes():
    dram = BankedDram(replace(TINY, access_bytes=128, access_ticks=8 * 256), 128)
    assert dram.serve(0, Burst(0, 8, beat_bytes=32), False) == (19 + 16 - 4, 19 + 16 + 3)
    assert dram.busy == [16 * 256]


def test_times_on_the_bus_are_not_rounded_to_cycles():
    (*_, (first, _)), dram = serve(*[(grant, 16 * grant, 4, False) for grant in range(10)], access_ticks=4 * 256 + 100)
    assert first == -(-(19 * 256 + 10 * (4 * 256 + 100)) // 256)
    assert dram.statistics["channel_busy_cycles"] == [44]


# -- whole programs ----------------------------------------------------------------------------------------------------


def program_of(config, instructions, **more) -> Program:
    ordered = synchronise(config, list(instructions))
    return Program(config, (*ordered, Halt()), **{"dram_bytes": 1 << 22, **more}, name="banked")  # type: ignore


def streaming(config, count: int) -> Program:
    """`count` LOADs of 256 words of VALUE each, one after the other in DRAM, and nothing else."""
    size = 256 * config.dram_word_bytes(Memory.VALUE)
    loads = [Load(memory=Memory.VALUE, words=256, dram_address=(1 << 16) + place * size) for place in range(count)]
    return program_of(config, loads, dram_bytes=1 << 25)


@pytest.mark.parametrize("name", DRAM_PRESETS)
@pytest.mark.parametrize("config", [replace(NANO, load_outstanding=8), BASE, SERVER], ids=lambda config: config.name)
def test_streams_reach_nine_tenths_of_the_bandwidth(config, name):
    config = config.with_dram(name)
    program = streaming(config, {"nano": 120, "base": 120, "server": 80}[config.name])
    result = simulate(program, values=False)
    share = sum(result.bytes.values()) / result.cycles / config.dram.bytes_per_cycle(config.axi_bytes)
    assert 0.9 <= share <= 1
    dram = result.dram
    assert dram is not None and dram["refreshes"] > 0
    assert result.to_dict()["dram_events"] == dram


@pytest.mark.parametrize("name", DRAM_PRESETS)
def test_rows_that_conflict_do_far_worse_than_rows_that_stay_open(name):
    config = replace(BASE.with_dram(name, channels=1), load_outstanding=64)
    dram = config.dram
    step = dram.row_bytes * dram.banks * dram.banks  # the same bank, another row
    scattered = Load(memory=Memory.VALUE, words=1, segments=256, stride=1, dram_address=1 << 16, dram_stride=step)
    together = replace(scattered, dram_stride=32)
    far, near = (
        simulate(program_of(config, [load], dram_bytes=1 << 30), values=False) for load in (scattered, together)
    )
    assert far.dram["row_conflicts"] >= 255 - 2 * far.dram["refreshes"] and near.dram["row_conflicts"] == 0
    assert far.cycles > 8 * near.cycles


def test_a_faster_memory_is_not_slower_and_ideal_has_no_statistics():
    program = streaming(NANO, 4)
    assert simulate(program, values=False).dram is None
    assert "dram_events" not in simulate(program, values=False).to_dict()
    slow = simulate(program, values=False, dram=NANO.with_dram("HBM2", latency_cycles=200).dram)
    assert slow.cycles > simulate(program, values=False, dram=NANO.with_dram("HBM2").dram).cycles


def test_a_memory_that_does_not_fit_the_port_is_refused():
    with pytest.raises(HeddleError, match="interleave_bytes must be at least the longest burst .4096 bytes., not 256"):
        simulate(streaming(SERVER, 1), values=False, dram=NANO.with_dram("HBM2").dram)


# -- addresses that hang on data ---------------------------------------------------------------------------------------


def gathering(indices: np.ndarray, **more) -> Program:
    """Gathers one row of 64 bytes for each index from a table at 0x10000."""
    config = NANO.with_dram("DDR4-2400", t_ras=400)
    return program_of(config, [
        Load(memory=Memory.INDEX, dram_address=0x8000, words=len(indices)),
        Load(memory=Memory.ACT, gather=1, segments=len(indices), words=16, stride=16, dram_address=0x10000,
             dram_stride=64),
    ], data=((0x8000, indices.astype("<i4").tobytes()),), **more)  # fmt: skip


def test_a_gather_is_timed_with_its_indices():
    near, far = np.arange(8), np.arange(8) % 2 * 16384 + np.arange(8)
    cycles = [simulate(gathering(each)).cycles for each in (near, far)]
    assert cycles[1] > cycles[0] + 1000
    assert [simulate(gathering(each), values=False).cycles for each in (near, far)] == cycles


def scattering(indices: np.ndarray) -> Program:
    """Scatters one row of 64 bytes for each index to a table at 0x10000."""
    config = NANO.with_dram("DDR4-2400", t_ras=400)
    return program_of(config, [
        Load(memory=Memory.INDEX, dram_address=0x8000, words=len(indices)),
        Store(memory=Memory.ACT, scatter=1, segments=len(indices), words=16, stride=16, dram_address=0x10000,
              dram_stride=64),
    ], data=((0x8000, indices.astype("<i4").tobytes()),))  # fmt: skip


def test_a_scatter_is_timed_with_its_indices():
    near, far = np.arange(8), np.arange(8) % 2 * 16384 + np.arange(8)
    cycles = [simulate(scattering(each)).cycles for each in (near, far)]
    assert cycles[1] > cycles[0] + 1000
    assert [simulate(scattering(each), values=False).cycles for each in (near, far)] == cycles
    assert [simulate(scattering(each), values=False, engine="compiled").cycles for each in (near, far)] == cycles


@pytest.mark.parametrize("values", [True, False])
@pytest.mark.parametrize("row", [-1, 1 << 20])
def test_a_row_written_beyond_dram_is_refused_with_and_without_values(row, values):
    program = scattering(np.array([0, 1, 2, 3, 4, 5, 6, row]))
    for dram in ("DDR4-2400", "ideal"):
        with pytest.raises(HeddleError, match="store: beyond DRAM: "):
            simulate(program, values=values, dram=dram)


@pytest.mark.parametrize("values", [True, False])
@pytest.mark.parametrize("row", [-2049, 1 << 20])
def test_a_row_beyond_dram_is_refused_with_and_without_values(row, values):
    with pytest.raises(HeddleError, match="instruction 1: load: beyond DRAM: "):
        simulate(gathering(np.array([0, 1, 2, 3, 4, 5, 6, row])), values=values)


@pytest.mark.parametrize("values", [True, False])
@pytest.mark.parametrize("work", [Append(part=Part.VALUES, pages=2, page_bytes=256, block=1),
                                  Stream(part=Part.VALUES, pages=2, page_bytes=256, blocks=2)])  # fmt: skip
def test_a_page_beyond_the_cache_is_refused_with_and_without_values(work, values):
    program = program_of(NANO.with_dram("HBM2"), [Load(memory=Memory.PAGE, dram_address=0x8000, words=2), work],
                         data=((0x8000, np.array([3, 16], "<i4").tobytes()),), cache_address=0x10000,
                         cache_bytes=0x1000)  # fmt: skip
    with pytest.raises(HeddleError, match=f"instruction 1: {work.name}: beyond the KV cache: "):
        simulate(program, values=values)


def test_indices_may_be_inputs():
    x = Tensor("x", "input", Memory.INDEX, 0x8000, rows=8, columns=1, row_bytes=4, shape=(8, 1))
    program = replace(gathering(np.zeros(8)), data=(), tensors={"x": x})
    far = {"x": (np.arange(8) % 2 * 16384)[:, None]}
    known = simulate(program, far).cycles
    assert simulate(program, far, values=False).cycles == known
    assert simulate(program, values=False).cycles < known - 1000  # zeros, if they are not given


def test_indices_that_are_computed_are_known_with_values_only():
    config = NANO.with_dram("DDR4-2400")
    program = program_of(config, [
        Load(memory=Memory.VALUE, dram_address=0x8000, words=2),
        Reduce(rows=1, columns=8, source=Source.VALUE, kind=Reduction.MAXIMUM, placed=1),
        Load(memory=Memory.ACT, gather=1, segments=1, words=16, dram_address=0x10000, dram_stride=64),
    ], data=((0x8000, np.array([0, 0, 0, 0, 0, 0x3F80, 0, 0], "<u2").tobytes()),))  # fmt: skip
    found = {}
    simulate(program)
    from heddle.sim.addresses import watcher
    from heddle.sim.values import run_values

    run_values(program, None, watch=watcher(program, found))
    assert [addresses.tolist() for addresses in found.values()] == [[0x10000 + 5 * 64]]
    assert [addresses.tolist() for addresses in loaded_addresses(program).values()] == [[0x10000]]


@pytest.mark.parametrize("values", [True, False])
def test_indices_may_be_gathered(values):
    """By hand: row 3 of a table of rows of INDEX holds 5; a second gather takes row 5."""
    per_word = NANO.word_elements(Memory.INDEX)
    words = 16 // per_word
    rows = np.zeros((4, 16), "<i4")
    rows[3, 0] = 5
    program = program_of(NANO.with_dram("DDR4-2400"), [
        Load(memory=Memory.INDEX, dram_address=0x8000, words=1),
        Load(memory=Memory.INDEX, gather=1, words=words, address=8, dram_address=0x9000, dram_stride=64),
        Load(memory=Memory.ACT, gather=1, words=16, index_address=8 * per_word, dram_address=0xA000, dram_stride=64),
    ], data=((0x8000, np.array([3], "<i4").tobytes()), (0x9000, rows.tobytes())))  # fmt: skip
    assert [each.tolist() for each in loaded_addresses(program).values()] == [[0x9000 + 3 * 64], [0xA000 + 5 * 64]]
    far = replace(program, data=(program.data[0], (0x9000, np.full((4, 16), 1 << 20, "<i4").tobytes())))
    with pytest.raises(HeddleError, match="instruction 2: load: beyond DRAM: .* row numbers in INDEX"):
        simulate(far, values=values)


def test_the_cache_is_timed_with_its_page_table():
    """By hand: pages 3 and 1 of 256 bytes, two blocks of 64 to a page; two heads of 128 bytes; an item is 4 bytes."""
    codes = dict(token_words=2, page_bytes=256, page_blocks=1, pages=2)
    program = program_of(NANO.with_dram("HBM2"), [
        Load(memory=Memory.PAGE, dram_address=0x8000, words=2),
        Append(part=Part.VALUES, tokens=2, heads=2, head_step=2, head_bytes=128, slot=3, stride=4, block=1, **codes),
        Stream(part=Part.VALUES, blocks=2, first=1, words=2, address=64, stride=16, **codes),
        Store(memory=Memory.WEIGHT, address=64, words=16, dram_address=0x9000),
    ], data=((0x8000, np.array([3, 1], "<i4").tobytes()),), cache_address=0x10000, cache_bytes=0x1000)  # fmt: skip
    appended, streamed = loaded_addresses(program).values()
    size = 2 * 4 * 4  # of a block: two words for each of four tokens
    first, second = 0x10000 + 3 * 256 + size, 0x10000 + 1 * 256  # the last token of block 1, the first of block 2
    assert appended.tolist() == [
        head + token + word for head in (0, 128) for token in (first + 12, second) for word in (0, 16)
    ]
    assert streamed.tolist() == [first, second]
    assert simulate(program).cycles == simulate(program, values=False).cycles


@pytest.mark.parametrize("dram", ["ideal", "HBM2"])
def test_what_lies_beyond_is_the_same_error_with_and_without_values(dram):
    gather = gathering(np.array([0, 1, 2, 3, 4, 5, 6, 1 << 20]))
    load = Load(memory=Memory.PAGE, dram_address=0x8000, words=2)
    codes = dict(part=Part.VALUES, pages=2, page_bytes=256)
    works = [Append(block=1, **codes), Stream(blocks=2, **codes), Stream(part=Part.PAIRS, pages=2, page_bytes=256)]
    paged = [
        program_of(NANO, [load, work], data=((0x8000, np.array([page] * 2, "<i4").tobytes()),), cache_address=0x10000,
                   cache_bytes=0x1000)
        for work in works for page in (16, 1 << 16, -1)
    ]  # fmt: skip
    for program in (gather, *paged):
        found = []
        for values in (True, False):
            with pytest.raises(HeddleError, match="instruction 1: .*: beyond (DRAM|the KV cache): ") as error:
                simulate(program, values=values, dram=dram)
            found.append(str(error.value))
        assert found[0] == found[1]


@pytest.mark.parametrize("dram", ["ideal", "HBM2"])
def test_indices_that_are_given_are_looked_at_without_values_too(dram):
    index = Tensor("x", "input", Memory.INDEX, 0x8000, 8, 1, 4, (8, 1), limit=1 << 30)
    program = replace(gathering(np.arange(8)), data=(), tensors={"x": index})
    simulate(program, values=False, dram=dram)
    with pytest.raises(HeddleError, match="instruction 1: load: beyond DRAM: bytes 65536 to 67174463 of a region of"):
        simulate(program, {"x": np.full((8, 1), 1 << 20) * (np.arange(8) == 3)[:, None]}, values=False, dram=dram)


@pytest.mark.parametrize("dram", ["ideal", "HBM2"])
def test_the_last_pair_of_a_cache_lies_within_it(dram):
    """A pair has 8 bytes, a beat 16."""
    append = Append(part=Part.PAIRS, dram_address=0xF80, slot=15, page_bytes=0x1000)
    program = program_of(BASE, [Load(memory=Memory.PAGE, dram_address=0x8000, words=1), append],
                         data=((0x8000, bytes(16)),), cache_address=0x10000, cache_bytes=0x1000)  # fmt: skip
    assert simulate(program, dram=dram).cycles == simulate(program, values=False, dram=dram).cycles


@pytest.mark.parametrize("dram", ["ideal", "HBM2"])
def test_indices_that_the_run_replaces_are_not_held_against_it(dram):
    """By a STORE to where they are loaded from, and by Reduce where they are."""
    wrong = np.array([1 << 20, 1, 2, 3], "<i4").tobytes()
    gather = Load(memory=Memory.ACT, gather=1, segments=4, words=16, stride=16, dram_address=0x10000, dram_stride=64)
    load = Load(memory=Memory.INDEX, dram_address=0x8000, words=4)
    zeros = [Load(memory=Memory.VALUE, dram_address=0x9000, words=2), Store(address=0, words=2, dram_address=0x8000)]
    least = [load, zeros[0], Reduce(rows=1, columns=8, source=Source.VALUE, kind=Reduction.MAXIMUM, placed=1)]
    for instructions in ([*zeros, load, gather], [*least, gather]):
        program = program_of(NANO, instructions, data=((0x8000, wrong),))
        simulate(program, dram=dram)
        simulate(program, dram=dram, values=False)
    with pytest.raises(HeddleError, match="beyond DRAM"):
        simulate(program_of(NANO, [load, *zeros, gather], data=((0x8000, wrong),)), dram=dram, values=False)
