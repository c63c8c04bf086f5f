"""KV: tokens of a paged cache by hand, against loops over its equations, and never a byte outside its region."""

from dataclasses import replace

import numpy as np
import pytest
from heddle.arch.config import PRESETS, Memory
from heddle.arch.errors import HeddleError
from heddle.arch.isa import Append, Part, Stream
from heddle.sim import units
from heddle.sim.dram import Burst
from heddle.sim.state import State, Words
from hypothesis import given, settings
from hypothesis import strategies as st

from ...machines import ODD

NANO = PRESETS["nano"]
MACHINES = {
    "nano": NANO,
    "3x5": ODD,
    "base": PRESETS["base"],  # two pairs to a beat
    "bf16": replace(NANO, name="bf16", pe="bf16"),
}
BASE, REGION = 4096, 16384


@pytest.fixture(params=MACHINES.values(), ids=MACHINES)
def machine(request):
    return request.param


def state_of(config, batch=1, pages=(0,), region=REGION, image=None):
    """DRAM with the cache from BASE on, and a page table (batch, n) or (n,) from element 1 of PAGE on."""
    image = np.zeros(BASE + region + 4096, np.uint8) if image is None else image
    base = image.reshape(-1, config.axi_bytes)
    state = State(config, batch, Words(len(base), (config.axi_bytes,), np.uint8, batch, base=base), (BASE, region))
    pages = np.atleast_2d(np.asarray(pages, np.int32))
    per_word = config.word_elements(Memory.PAGE)
    table = np.zeros((len(pages), -(-(pages.shape[1] + 1) // per_word) * per_word), np.int32)
    table[:, 1 : 1 + pages.shape[1]] = pages
    state[Memory.PAGE].write(0, 0, table.reshape(len(pages), 1, -1, per_word))
    return state


def random_codes(config, shape, seed=1):
    rng = np.random.default_rng(seed)
    if config.pe == "bf16":
        return rng.integers(0, 256, shape).astype(np.float32) - 128  # short numbers are bf16
    return rng.integers(-128, 128, shape).astype(np.int8)


def raw_of(config, word):
    """The bytes of a word of codes in DRAM."""
    if config.pe == "bf16":
        word = (word.view(np.uint32) >> 16).astype(np.uint16)
    return word.tobytes().ljust(config.dram_word_bytes(Memory.WEIGHT), b"\0")


def dram_of(state):
    """All of DRAM, (batch, bytes)."""
    words = state.dram.read(0, 0, 1, state.dram.count)
    return words.reshape(words.shape[0], -1)


def test_an_append_by_hand(nano):
    # Pages of 2 blocks of 2·4 words of 4 bytes; tokens 3 … 5 of the sequence: block 0 slot 3, block 1 slots 0 and 1.
    state = state_of(nano, pages=[2])
    codes = np.arange(1, 1 + 12 * 4).astype(np.int8).reshape(12, 4)
    state[Memory.WEIGHT].write(0, 0, codes[None, None])
    instruction = Append(token_words=2, tokens=3, slot=3, address=1, stride=5, dram_address=8, page_bytes=128,
                         page_blocks=1, table=1)  # fmt: skip
    units.execute(instruction, state, nano)
    expected = np.zeros(BASE + REGION + 4096, np.uint8)
    block = BASE + 8 + 2 * 128
    for byte, word in [
        (block + 3 * 4, 1), (block + (4 + 3) * 4, 6),  # token 0: word 0, word 1
        (block + 32, 2), (block + 32 + 4 * 4, 7), (block + 32 + 4, 3), (block + 32 + 5 * 4, 8),
    ]:  # fmt: skip
        expected[byte : byte + 4] = codes[word].view(np.uint8)
    assert np.array_equal(dram_of(state)[0], expected)


def test_a_stream_of_keys_by_hand(nano):
    # One block of one word for each token: token t is (10·t, 10·t + 1, …); a column of the tile is a token.
    image = np.zeros(BASE + REGION, np.uint8)
    image[BASE + 16 : BASE + 32] = (np.arange(4)[:, None] * 10 + np.arange(4)).reshape(-1)
    state = state_of(nano, image=image)
    units.execute(Stream(part=Part.KEYS, first=1, address=7, page_blocks=1, table=1), state, nano)
    tile = state[Memory.WEIGHT].read(7, 0, 1, 4)[0, 0]
    assert tile.tolist() == [[0, 10, 20, 30], [1, 11, 21, 31], [2, 12, 22, 32], [3, 13, 23, 33]]
    units.execute(Stream(part=Part.VALUES, first=1, address=20, page_blocks=1, table=1), state, nano)
    assert state[Memory.WEIGHT].read(20, 0, 1, 4)[0, 0].tolist() == tile.T.tolist()


@pytest.mark.parametrize("heads", [1, 3])
def test_appended_codes_are_where_the_equation_says(machine, heads):
    config, columns = machine, machine.columns
    size, words, tokens = config.dram_word_bytes(Memory.WEIGHT), 2, columns + 2
    block_bytes = words * columns * size
    head_bytes, pages = 2 * block_bytes, [[1, 0], [0, 1]]
    state = state_of(config, 2, pages, region=1 << 17, image=np.full((1 << 17) + 2 * BASE, 0xAA, np.uint8))
    codes = random_codes(config, (2, 400, columns))
    state[Memory.WEIGHT].write(0, 0, codes[:, None])
    i = Append(token_words=words, tokens=tokens, heads=heads, head_step=columns + 3, head_bytes=head_bytes, block=1,
               slot=columns - 1, address=2, stride=100, page_bytes=8192, page_blocks=1, table=1, pages=2)  # fmt: skip
    units.execute(i, state, config)
    expected = np.full((2, (1 << 17) + 2 * BASE), 0xAA, np.uint8)
    for batch in range(2):
        for h in range(heads):
            for t in range(tokens):
                b, s = 1 + (columns - 1 + t) // columns, (columns - 1 + t) % columns
                block = BASE + pages[batch][b // 2] * 8192 + b % 2 * block_bytes + h * head_bytes
                for w in range(words):
                    at = block + (w * columns + s) * size
                    word = codes[batch, 2 + h * (columns + 3) + w * 100 + t]
                    expected[batch, at : at + size] = np.frombuffer(raw_of(config, word), np.uint8)
    assert np.array_equal(dram_of(state), expected)


def test_appended_pairs_are_where_the_equation_says_and_can_be_streamed(machine):
    config, columns = machine, machine.columns
    state = state_of(config, 2, [[3, 1]], image=np.full(BASE * 2 + REGION, 0xAA, np.uint8))
    pairs = np.random.default_rng(2).normal(size=(2, 1, 9, columns, 2)).astype(np.float32)
    state[Memory.PARAM].write(5, 0, pairs)
    tokens, address, block_bytes = columns + 1, 5 * columns + 2, config.dram_word_bytes(Memory.PARAM)
    units.execute(Append(part=Part.PAIRS, tokens=tokens, slot=1, address=address, page_bytes=1024, pages=2, table=1),
               state, config)  # fmt: skip
    expected = np.full((2, BASE * 2 + REGION), 0xAA, np.uint8)
    for batch in range(2):
        for t in range(tokens):
            place, (word, element) = (1 + t) // columns, divmod(2 + t, columns)
            at = BASE + (3, 1)[place] * 1024 + (1 + t) % columns * 8
            expected[batch, at : at + 8] = pairs[batch, 0, word, element].view(np.uint8)
    assert np.array_equal(dram_of(state), expected)
    units.execute(Stream(part=Part.PAIRS, blocks=2, address=40, page_bytes=1024, pages=2, table=1), state, config)
    found = state[Memory.PARAM].read(40, 0, 1, 2)
    assert np.array_equal(found[:, 0, 0, 1:], pairs.reshape(2, -1, 2)[:, 2 : 1 + columns])
    assert np.array_equal(found[:, 0, 1, :2], pairs.reshape(2, -1, 2)[:, 1 + columns : 3 + columns])
    assert block_bytes <= 1024


def test_streams_are_what_the_equations_say(machine):
    config, columns = machine, machine.columns
    size, token_words, words, blocks = config.dram_word_bytes(Memory.WEIGHT), 3, 2, 3
    image = np.random.default_rng(3).integers(0, 256, BASE * 2 + (1 << 17), np.uint8)
    if config.pe == "bf16":
        image[1::2] = 0x40  # no NaN, which would not be equal
    state = state_of(config, 1, [2, 0, 1], region=1 << 17, image=image)
    common = dict(token_words=token_words, words=words, blocks=blocks, first=1, dram_address=64, page_bytes=16384,
                  page_blocks=1, pages=3, table=1)  # fmt: skip
    units.execute(Stream(part=Part.KEYS, address=3, stride=words * columns + 1, **common), state, config)
    units.execute(Stream(part=Part.VALUES, address=1003, stride=blocks * columns + 1, **common), state, config)
    keys = state[Memory.WEIGHT].read(3, words * columns + 1, blocks, words * columns)[0]
    values = state[Memory.WEIGHT].read(1003, blocks * columns + 1, words, blocks * columns)[0]
    for j in range(blocks):
        b = 1 + j
        block = BASE + 64 + (2, 0, 1)[b // 2] * 16384 + b % 2 * token_words * columns * size
        for w in range(words):
            for t in range(columns):
                at = block + (w * columns + t) * size
                for word in (values[w, j * columns + t], keys[j, w * columns : (w + 1) * columns, t]):
                    raw = raw_of(config, np.ascontiguousarray(word))
                    used = config.word_bits(Memory.WEIGHT) // 8
                    assert raw[:used] == image[at : at + used].tobytes()


def test_a_batch_with_its_own_page_tables_is_its_inputs_one_by_one(nano):
    pages, codes = [[0, 3], [2, 1], [1, 1]], random_codes(nano, (3, 16, 4))
    append = Append(tokens=6, slot=1, page_bytes=64, pages=2, table=1, address=4)
    stream = Stream(part=Part.KEYS, blocks=2, stride=4, address=100, page_bytes=64, pages=2, table=1)

    def run(state, codes):
        state[Memory.WEIGHT].write(0, 0, codes[:, None])
        for each in (append, stream):
            units.execute(each, state, nano)
        return dram_of(state), state[Memory.WEIGHT].read(100, 0, 1, 8)[:, 0]

    together = run(state_of(nano, 3, pages), codes)
    for index in range(3):
        alone = run(state_of(nano, 1, pages[index]), codes[index : index + 1])
        assert np.array_equal(together[0][index], alone[0][0])
        assert np.array_equal(together[1][index], alone[1][0])


@pytest.mark.parametrize(
    ("instruction", "pages", "message"),
    [
        (Stream(first=1, table=1), [0], "stream: beyond the KV cache: block 1 is in place 1 of a page table of 1"),
        (Append(tokens=5, table=1), [0], "append: beyond the KV cache: block 1 is in place 1 of a page table of 1"),
        (Stream(table=1), [1 << 16], "stream: beyond the KV cache: page number 65536 is not from 0 to 65535"),
        (Stream(table=1), [-1], "stream: beyond the KV cache: page number -1 is not"),
        (Stream(table=1, page_bytes=REGION), [1], "to 16399 of a region of 16384"),
        (Append(table=1, page_bytes=REGION - 64, dram_address=64), [1], "to 16387 of a region of 16384"),
        (Append(part=Part.PAIRS, heads=2, head_bytes=REGION, table=1), [0], "to 16391 of a region of 16384"),
    ],
)
def test_what_lies_beyond_the_cache_is_an_error(nano, instruction, pages, message):
    with pytest.raises(HeddleError, match=message):
        units.execute(instruction, state_of(nano, pages=pages), nano)


@st.composite
def kv_instructions(draw):
    """Any KV instruction that a machine of 4 columns accepts, and registers."""

    def number(high, multiple=1):
        return multiple * draw(st.integers(0, high // multiple) | st.sampled_from([0, high // multiple]))

    append = draw(st.booleans())
    common = dict(
        part=draw(st.sampled_from([Part.VALUES, Part.PAIRS] if append else list(Part))), token_words=1 + number(254),
        address=number(40), stride=number(1), dram_address=number((1 << 13) - 1, 8), table=number(8),
        page_bytes=number(draw(st.sampled_from([1 << 10, (1 << 24) - 1])), 64), pages=1 + number(15),
        page_blocks=number(15),
    )  # fmt: skip
    scalars = [0] + draw(st.lists(st.integers(0, 8) | st.integers(0, (1 << 32) - 1), min_size=31, max_size=31))
    if append:
        found = Append(**common, tokens=1 + number(20), heads=1 + number(7), head_step=number(3), slot=number(3),
                       head_bytes=number(draw(st.sampled_from([64, (1 << 24) - 1])), 8), block=number(4),
                       block_register=number(31), slot_register=number(31))  # fmt: skip
    else:
        found = Stream(**common, blocks=1 + number(20), words=1 + number(common["token_words"] - 1), first=number(4),
                       first_register=number(31), count_register=number(31), count_offset=number(4095))  # fmt: skip
    return found, scalars


@given(kv_instructions(), st.lists(st.integers(0, 20) | st.integers(-(1 << 31), (1 << 31) - 1), min_size=30,
                                   max_size=30))  # fmt: skip
@settings(max_examples=400)
def test_no_register_reaches_a_byte_outside_the_region(case, pages):
    instruction, scalars = case
    resolved = instruction.resolved(scalars, NANO)
    image = np.zeros(BASE + REGION + 4096, np.uint8)
    image[BASE : BASE + REGION] = 0x55
    state = state_of(NANO, 1, pages, image=image)
    state[Memory.WEIGHT].shared[:], state[Memory.PARAM].shared[:] = 7, 7
    try:
        instruction.check(NANO)
        units.execute(resolved, state, NANO)
    except HeddleError as error:
        assert "beyond the KV cache" in str(error) or "words" in str(error)
        assert not state.dram.differs.any(), "nothing is written"
    outside = np.concatenate([dram_of(state)[0, :BASE], dram_of(state)[0, BASE + REGION :]])
    assert not outside.any()
    if isinstance(resolved, Stream) and state.config is NANO:
        read = state[Memory.WEIGHT].read(0, 0, 1, NANO.weight_words)
        assert set(np.unique(read)) <= {7, 0x55}, "and nothing else is read"


@given(kv_instructions())
@settings(max_examples=200)
def test_registers_never_make_an_instruction_larger(case):
    instruction, scalars = case
    resolved = instruction.resolved(scalars, NANO)
    for now, written in zip(resolved.accesses(NANO), instruction.accesses(NANO), strict=True):
        assert (now.memory, now.write, now.start) == (written.memory, written.write, written.start)
        assert now.stop <= written.stop and now.count >= 1 and now.length >= 1
    try:
        instruction.check(NANO)
    except HeddleError:
        return
    resolved.check(NANO)


def test_items_are_bursts_of_their_own(nano):
    instruction = Append(token_words=2, tokens=3, heads=2)
    assert units.bursts(instruction, nano) == [Burst(0, 1)] * 12
    assert units.bursts(replace(instruction, part=Part.PAIRS), nano) == [Burst(0, 2)] * 6
    base = PRESETS["base"]
    assert units.bursts(replace(instruction, part=Part.PAIRS), base) == [Burst(0, 1)] * 6
    assert replace(instruction, part=Part.PAIRS).transfer(base).moved_bytes == 6 * 8


def test_segments_are_cut_as_on_page_zero_with_setup_cycles_for_each(nano):
    # A block is 2·4 words of 4 bytes; bursts end at multiples of 64. Block 1 of a page begins at byte 40 + 32.
    instruction = Stream(token_words=2, words=2, blocks=2, first=4, dram_address=40, page_blocks=1, pages=3)
    assert units.bursts(instruction, nano) == [Burst(40, 6, 5), Burst(64, 2), Burst(72, 8, 5)]
    pairs = replace(instruction, part=Part.PAIRS)
    assert units.bursts(pairs, nano) == [Burst(40, 6, 5), Burst(64, 2), Burst(72, 8, 5)]
    assert instruction.transfer(nano).moved_bytes == pairs.transfer(nano).moved_bytes == 64
