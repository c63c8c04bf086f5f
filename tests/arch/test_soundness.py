"""What Program.check says of content of the wrong kind, of places in DRAM, of tokens, and of damaged files."""

import json
import struct
import zipfile
from dataclasses import replace

import heddle
import numpy as np
import pytest
from heddle.arch.config import PRESETS, Memory
from heddle.arch.errors import HeddleError
from heddle.arch.isa import (
    INSTRUCTIONS,
    Append,
    Function,
    Guard,
    Halt,
    Load,
    Map,
    Matmul,
    Norm,
    Part,
    Source,
    Store,
    Stream,
)
from heddle.arch.program import Choice, Period, Program, Tensor
from heddle.arch.soundness import check_content

NANO = PRESETS["nano"]
LOAD = Load(memory=Memory.ACT, dram_address=0x1000, words=6)
CACHE = {"cache_address": 0x2000, "cache_bytes": 4096}


def program(*instructions, **options):
    return Program(NANO, (*(instructions or (LOAD,)), Halt()), **{"dram_bytes": 0x4000, **options})


def refusal_to_make(**options) -> str:
    """What is said of a program with other fields: when it is made, or else by all that look at one."""
    try:
        found = replace(program(), **options)
    except HeddleError as error:
        return str(error)
    return refusal(found)


def refusal(found) -> str:
    """What lint, simulate and lock-step all say; the same for each."""
    with pytest.raises(HeddleError) as error:
        found.check()
    for run in (lambda: heddle.simulate(found, values=False), lambda: heddle.lockstep(found, engine="amaranth")):
        with pytest.raises(HeddleError) as again:
            run()
        assert str(again.value) == str(error.value)
    assert [each.message for each in heddle.lint(found)] == [str(error.value)]
    return str(error.value)


# -- tokens ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["wait", "signal"])
def test_tokens_of_units_that_there_are_not(name):
    message = refusal(program(replace(LOAD, **{name: 128})))
    assert f"instruction 0: load: {name} must name units of LOAD, STORE, KV," in message and "not 0x80" in message


@pytest.mark.parametrize("instruction", [Halt(wait=1), Halt(signal=2), Guard(wait=128), Guard(signal=1)])
def test_halt_and_guard_have_no_tokens(instruction):
    found = program(LOAD, replace(LOAD, signal=1), instruction)
    assert "must be 0, not 0x" in refusal(found) and "instruction 2: " in refusal(found)


# -- places in DRAM ----------------------------------------------------------------------------------------------------


def tensor(name="x", kind="input", address=0x2000, rows=2, **changes):
    return Tensor(name, kind, **{"memory": Memory.VALUE, "address": address, "rows": rows, "columns": 4,
                                 "row_bytes": 8, "shape": (rows, 4), **changes})  # fmt: skip


def held(*tensors):
    return {each.name: each for each in tensors}


@pytest.mark.parametrize(
    "options, message",
    [
        ({"data": ((32, bytes(32)),)}, "data 0 (bytes 32 to 63) must not lie over the code (bytes 0 to 255)"),
        ({"data": ((0x1000, bytes(64)), (0x1020, bytes(64)))}, "data 1 (bytes 4128 to 4191) must not lie over data 0"),
        ({"data": ((-32, bytes(32)),)}, "the address of data must be a whole number from 0 to 16384, not -32"),
        ({"data": ((0x3FF0, bytes(64)),)}, "data 0 (bytes 16368 to 16431) must lie within the 16384 bytes of DRAM"),
        ({"tensors": held(tensor(address=0x80))}, "input 'x' (bytes 128 to 143) must not lie over the code"),
        ({"tensors": held(tensor(kind="output", address=0))}, "output 'x' (bytes 0 to 15)"),
        ({"tensors": held(tensor(kind="scratch", address=240))}, "scratch 'x' (bytes 240 to 255) must not lie over"),
        ({"tensors": held(tensor(), tensor("y", address=0x2008))}, "input 'y' (bytes 8200 to 8215) must not lie over"),
        ({"tensors": held(tensor()), "data": ((0x2004, b"1234"),)}, "data 0 (bytes 8196 to 8199) must not lie over"),
        ({"tensors": held(tensor(), tensor("y", "constant", 0x2008))}, "must not lie over constant 'y'"),
        ({"tensors": held(tensor(address=0x3FF8))}, "input 'x' (bytes 16376 to 16391) must lie within"),
        ({"cache_address": 0, "cache_bytes": 4096}, "the KV cache (bytes 0 to 4095)"),
        ({**CACHE, "tensors": held(tensor())}, "the KV cache (bytes 8192 to 12287)"),
        ({**CACHE, "cache": bytes(4096), "data": ((0x2100, b"1"),)}, "data 0 (bytes 8448 to 8448) must not lie over"),
        ({"cache_address": 0x2000, "cache_bytes": 0x4000}, "the cache region must start at a multiple of 4096"),
        ({"cache_address": 0x2004, "cache_bytes": 16}, "the cache region must start at a multiple of 4096"),
        ({"cache_address": 0x2000, "cache_bytes": 6}, "the cache region must be whole beats of 4 bytes, not 6"),
        ({"cache_address": 0x2000, "cache_bytes": 16, "cache": b"1"}, "cache must hold 16 bytes or none, not 1"),
        ({"dram_bytes": 0x3FFE}, "dram_bytes must be a power of two, not 16382"),
        ({"dram_bytes": 0x3000}, "dram_bytes must be a power of two, not 12288"),
        ({"dram_bytes": 2}, "dram_bytes must be a whole number from 4"),
        ({"dram_bytes": 128}, "the code (bytes 0 to 255) must lie within the 128 bytes of DRAM"),
        ({"dram_bytes": 1 << 41}, "dram_bytes must be a whole number from 4 to 1099511627776"),
    ],
)  # fmt: skip
def test_what_lies_over_something_or_outside(options, message):
    assert message in refusal_to_make(**options)


def test_what_may_lie_over_something_does():
    cache = {"cache_address": 0x2000, "cache_bytes": 0x1000}
    program(data=((0x2100, bytes(64)),), **cache).check()  # what the cache holds at the start
    program(tensors=held(tensor(), tensor("y", "output")), **{}).check()  # a result that replaces its input
    program(data=((0x1000, b"12"), (0x1002, b"34"), (0x1001, b""))).check()


@pytest.mark.parametrize("address", [0, 100, 252])
def test_a_store_over_the_code(address):
    message = refusal(program(Store(dram_address=address, words=2)))
    assert message == ("instruction 0: store must write behind the code, which takes the bytes 0 to 255 of DRAM, "
                       f"not from {address} on")  # fmt: skip


# -- numbers -----------------------------------------------------------------------------------------------------------

NO_NUMBERS = [1.0, 2.5, True, "3", None, [1], np.float32(1), float("nan")]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize("kind", INSTRUCTIONS, ids=lambda each: each.__name__)
def test_no_number_in_a_field_of_an_instruction(kind, value):
    names = [name for name in ("rows", "words", "tokens", "count", "wait") if name in kind.__dataclass_fields__]
    with pytest.raises(HeddleError, match=f"{names[0]} must be a whole number, not"):
        kind(**{names[0]: value})


def test_what_is_no_member_of_an_enumeration_and_no_float():
    with pytest.raises(HeddleError, match=r"function must be one of 0 \(none\), 1 \(table_0\).*, not 5"):
        Map(function=5)  # type: ignore[arg-type]
    for wrong in ("1", None, True, [1.0]):
        with pytest.raises(HeddleError, match="reciprocal must be a number"):
            Norm(reciprocal=wrong)  # type: ignore[arg-type]
    assert "within the range of float32" in refusal(program(Norm(reciprocal=1e300)))


def test_numbers_of_numpy_and_of_enumerations_are_welcome():
    made = Map(rows=np.int64(3), function=4, source=np.uint8(1), scaled=np.True_)  # type: ignore[arg-type]
    assert made == Map(rows=3, function=Function.TABLE_3, source=Source.VALUE, scaled=1)
    assert made.function is Function.TABLE_3 and type(made.rows) is int and type(made.scaled) is int
    assert Norm(reciprocal=np.float32(0.1)).reciprocal == struct.unpack("<f", struct.pack("<f", 0.1))[0]
    assert Norm(reciprocal=1).reciprocal == 1.0
    plain, numpy = (0x4000, 5, 1, 7), (np.int64(0x4000), np.int32(5), np.uint8(1), np.uint32(7))
    one, other = (program(dram_bytes=size, useful_macs=count, registers=((number, value),))
                  for size, count, number, value in (plain, numpy))  # fmt: skip
    assert one == other
    other.check()


@pytest.mark.parametrize(
    "instruction, message",
    [
        (replace(LOAD, words=1 << 20), "words = 1048576 does not fit in 20 bits"),
        (replace(LOAD, address=-1), "address = -1 does not fit in 20 bits"),
        (replace(LOAD, dram_address=-4), "dram_address = -4 does not fit in 40 bits"),
        (replace(LOAD, dram_address=1 << 40), "dram_address = 1099511627776 does not fit in 40 bits"),
        (replace(LOAD, dram_address=1 << 70), "dram_address of a load, store, append or stream does not fit"),
        (replace(LOAD, dram_stride=1 << 70), "dram_stride = 1180591620717411303424 does not fit in 32 bits"),
        (Append(part=Part.VALUES, dram_address=1 << 32), "dram_address = 4294967296 does not fit in 32 bits"),
        (Matmul(n_register=32), "n_register = 32 does not fit in 5 bits"),
        (Stream(first=-1), "first = -1 does not fit in 20 bits"),
    ],
    ids=lambda each: str(each)[:30],
)
def test_numbers_that_do_not_fit_their_bits(instruction, message):
    assert message in refusal(program(instruction, cache_address=0x2000, cache_bytes=0x1000))
    assert message in refusal(program(LOAD, LOAD, instruction, cache_address=0x2000, cache_bytes=0x1000))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"registers": ((99, 1),)}, "the number of a scalar register must be a whole number from 0 to 31, not 99"),
        ({"registers": ((-1, 1),)}, "from 0 to 31, not -1"),
        ({"registers": ((0, 1),)}, "scalar register 0 must be a whole number from 0 to 0, not 1"),
        ({"registers": ((1, 1 << 32),)}, "scalar register 1 must be a whole number from 0 to 4294967295"),
        ({"registers": ((1, -1),)}, "scalar register 1 must be a whole number"),
        ({"registers": ((1, 2.0),)}, "not 2.0"),
        ({"registers": ((1, 2), (1, 3))}, "scalar register 1 must be given once"),
        ({"registers": (5,)}, "registers must be (number, value) each, not 5"),
        ({"dram_bytes": 8192.0}, "dram_bytes must be a whole number from 4 to 1099511627776, not 8192.0"),
        ({"dram_bytes": None}, "dram_bytes must be a whole number"),
        ({"useful_macs": "7"}, "useful_macs must be a whole number"),
        ({"useful_macs": -1}, "useful_macs must be a whole number"),
        ({"cache_bytes": 4096.0}, "cache_bytes must be a whole number"),
        ({"tokens": 1.5}, "tokens must be a whole number"),
        ({"positions": (-1,)}, "a position must be a whole number"),
        ({"scalars": (1,)}, "scalars must be Scalar each, not 1"),
        ({"attention_macs": ((0, 1.0),)}, "attention_macs must be a whole number"),
        ({"labels": ("one",)}, "there must be a label for each of the 2 instructions or none, not 1"),
        ({"labels": ("one", 2)}, "labels must be texts, not 2"),
        ({"data": ((1.0, b""),)}, "the address of data must be a whole number"),
        ({"data": ((0x1000, "text"),)}, "data must be (address, bytes) each, not 'str'"),
        ({"data": (0x1000,)}, "data must be (address, bytes) each"),
        ({"name": 5}, "name must be a text, not 5"),
        ({"config": "nano"}, "config must be a HardwareConfig, not 'nano'"),
        ({"timing_only": 1}, "timing_only must be True or False"),
        ({"periods": (Period(1, 1, 2),)}, "a period must lie between instructions 0 and 1, not from 1 to 2"),
        ({"periods": (Period(0, 1, 2),)}, "a period must be equal instructions but for DRAM addresses"),
        ({"periods": (Period(0, 0, 2),)}, "a period's length must be a whole number from 1"),
        ({"periods": ((0, 1, 2),)}, "a period must be a Period, not (0, 1, 2)"),
        ({"tensors": None}, "tensors must be name → Tensor, not None"),
        ({"tensors": [1]}, "tensors must be name → Tensor, not [1]"),
        ({"tensors": {"a": 1}}, "tensor 'a' must be a Tensor, not 1"),
        ({"choices": None}, "choices must be a tuple, not None"),
        ({"choices": (3,)}, "choices must be Choice each, not 3"),
        ({"choices": (Choice("a", 4),)}, "chosen of a choice must be a text, not 4"),
        ({"choices": (Choice(None, "b"),)}, "what of a choice must be a text, not None"),
        ({"choices": (Choice("a", "b", [1]),)}, "considered of a choice must be alternative → cycles, not [1]"),
        ({"choices": (Choice("a", "b", {1: 2}),)}, "an alternative of a choice must be a text, not 1"),
        ({"choices": (Choice("a", "b", {"b": 1.5}),)}, "'b' must be cycles, a whole number, or a text, not 1.5"),
        ({"tensors": {"y": tensor()}}, "tensor 'y' must have that name, not 'x'"),
        ({"tensors": held(tensor(kind="x"))}, "tensor 'x' must be one of input, output, constant, scratch, not 'x'"),
        ({"tensors": held(tensor(memory=Memory.PARAM))}, "tensor 'x' must be of ACT, WEIGHT, VALUE, INDEX, PAGE"),
        ({"tensors": held(tensor(rows=2.0))}, "tensor 'x': rows must be a whole number from 1"),
        ({"tensors": held(tensor(shape=(3, 4)))}, "as many elements in shape (3, 4) as in 2 rows of 4"),
        ({"tensors": held(tensor(row_bytes=4))}, "tensor 'x': row_bytes must be at least 8, not 4"),
        ({"tensors": held(tensor(address=0x2002))}, "tensor 'x': address must be a multiple of 4, a beat, not 8194"),
        ({"tensors": held(tensor(patch=2, shape=(1, 2, 4)))}, ""),
        ({"tensors": held(tensor(patch=3, shape=(1, 2, 4)))}, "whole patches of 3"),
        ({"tensors": held(tensor(limit=-1))}, "tensor 'x': limit must be a whole number from 0"),
    ],
)  # fmt: skip
def test_content_of_the_wrong_kind_or_size(options, message):
    if message:
        assert message in refusal_to_make(**options)
    else:
        replace(program(), **options).check()


def test_instructions_that_are_none_too_many_or_not_ended():
    strange = replace(program(), instructions=("halt", Halt()))
    assert "instructions must be those of the ISA, not str" in refusal(strange)
    assert "the last instruction must be halt" in refusal(replace(program(), instructions=()))
    most = program(*[LOAD] * ((1 << 20) - 1))
    check_content(most)
    assert "there must be at most 1048576 instructions, for an index has 20 bits" in refusal(
        replace(most, instructions=(LOAD, *most.instructions))
    )


def test_a_guard_that_reaches_past_the_end():
    program(Guard(count=2), LOAD).check()  # the halt is counted, and not made void
    assert "instruction 0: guard reaches instruction 3, but the last is 2" in refusal(program(Guard(count=3), LOAD))


def test_equal_stretches_are_periods():
    loads = [replace(LOAD, dram_address=0x1000 + 64 * place) for place in range(4)]
    program(*loads, periods=(Period(0, 2, 2),)).check()
    loads[2] = replace(LOAD, dram_address=0x1004)
    assert "these apart by whole bursts" in refusal(program(*loads, periods=(Period(0, 2, 2),)))


# -- files -------------------------------------------------------------------------------------------------------------


def whole():
    return program(
        LOAD, replace(LOAD, dram_address=0x1040), data=((0x1000, bytes(64)),),
        tensors=held(tensor(), tensor("i", address=0x2100, memory=Memory.INDEX, row_bytes=16, limit=7)),
        labels=("a", "b", "end"), registers=((1, 2),), cache_address=0x3000, cache_bytes=16, cache=bytes(16),
        attention_macs=((0, 3),), positions=(4,), periods=(Period(0, 1, 2),),
        scalars=(heddle.arch.scalars.Scalar(1, heddle.arch.scalars.ScalarKind.BLOCK),),
        choices=(Choice("a", "b", {"b": 7, "c": "too large"}),),
    )  # fmt: skip


def damaged(path, header):
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content["program.json"] = json.dumps(header).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "whole.heddle"
    whole().save(path)
    with zipfile.ZipFile(path) as archive:
        return path, json.loads(archive.read("program.json"))


def test_a_whole_file_is_read(saved):
    assert Program.load(saved[0]) == whole()


def places(content, path=()):
    """Every key and every element of a header, but for what means nothing to the machine."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield (*path, key)
            yield from places(value, (*path, key))
    elif isinstance(content, list) and content:
        yield from places(content[0], (*path, 0))


def test_every_key_that_is_missing_or_of_another_type_is_told(saved):
    path, header = saved
    for where in places(header):
        for wrong in (KeyError, None, "text", 1.5, -1, {}, [], [[]], True):
            changed = json.loads(json.dumps(header))
            at = changed
            for key in where[:-1]:
                at = at[key]
            if type(at[where[-1]]) is type(wrong) or at[where[-1]] in ([], {}, wrong):
                continue  # nothing that a check could see
            if wrong is KeyError:
                del at[where[-1]]
            else:
                at[where[-1]] = wrong
            damaged(path, changed)
            try:
                found = Program.load(path)
            except HeddleError:
                continue
            # What has a default may be missing, what is not looked at may be anything, and of an
            # alternative there may be cycles or a text.
            assert where[0] == "config" or where[-1] in ("b", "c") or (wrong is KeyError and len(where) > 1), (
                where, wrong, found
            )
