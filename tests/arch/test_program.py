"""Program files and tensor layouts; every way a file can be wrong."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from heddle.arch.config import PRESETS, Memory, Unit
from heddle.arch.errors import HeddleError
from heddle.arch.isa import Halt, Load, Map, Source, Store
from heddle.arch.program import Period, Program, Tensor
from heddle.arch.scalars import Scalar, ScalarKind

from ..machines import ODD

NANO = PRESETS["nano"]


def tensor(config, name="x", rows=3, columns=7, segment=0, memory=Memory.VALUE, address=1024, **changes):
    per_segment = -(-(segment or columns) // config.word_elements(memory)) * config.dram_word_bytes(memory)
    row_bytes = per_segment * -(-columns // (segment or columns))
    values = {"kind": "input", "shape": (rows, columns), **changes}
    return Tensor(name, values.pop("kind"), memory, address, rows, columns, row_bytes, segment=segment, **values)


def example(config=NANO):
    instructions = (
        Load(memory=Memory.VALUE, dram_address=1024, words=4, signal=1 << Unit.VECTOR),
        Map(columns=8, source=Source.VALUE, address=64, wait=1 << Unit.LOAD, signal=1 << Unit.STORE),
        Store(address=64, words=2, dram_address=2048, wait=1 << Unit.VECTOR),
        Halt(),
    )
    return Program(config, instructions, 4096, data=((512, b"weights"),), tensors={"x": tensor(config)},
                   labels=("load", "map", "store", "halt"), name="example", useful_macs=7,
                   part="1 of 2 layers")  # fmt: skip


def test_it_shows_itself_in_a_line():
    assert repr(example()) == "<Program example for nano: 4 instructions, 4,096 bytes of DRAM>"


@pytest.mark.parametrize("config", [NANO, ODD, replace(NANO, value_format="float32")])
@pytest.mark.parametrize("segment", [0, 3])
def test_unpack_is_the_inverse_of_pack(config, segment):
    layout = tensor(config, segment=segment)
    array = np.arange(21, dtype=np.float32).reshape(3, 7) / 4
    image = np.zeros(4096, np.uint8)
    content = layout.pack(array, config)
    image[1024 : 1024 + len(content)] = np.frombuffer(content, np.uint8)
    assert np.array_equal(layout.unpack(image, config), array)
    assert np.array_equal(layout.unpack(np.stack([image, image]), config)[1], array)


def test_values_rest_as_bf16_little_endian():
    content = tensor(NANO, rows=1, columns=1, shape=(1, 1)).pack(np.array([[1.0 + 2**-8]]), NANO)
    assert content[:2] == (0x3F80).to_bytes(2, "little")  # a tie, to even


def test_patches_are_rows_in_the_order_of_a_convolution_kernel():
    layout = tensor(NANO, rows=4, columns=8, shape=(2, 4, 4), patch=2)
    image = np.arange(32).reshape(2, 4, 4)
    rows = np.frombuffer(layout.pack(image, NANO), "<u2").astype(np.uint32) << 16
    rows = rows.view(np.float32).reshape(4, 8)
    assert rows[1].tolist() == [2, 3, 6, 7, 18, 19, 22, 23]


def test_inputs_that_do_not_fit_are_refused():
    layout = tensor(NANO)
    with pytest.raises(HeddleError, match=r"input 'x' must have shape \(3, 7\), not \(3, 8\)"):
        layout.pack(np.zeros((3, 8)), NANO)
    with pytest.raises(HeddleError, match="must be finite"):
        layout.pack(np.full((3, 7), np.nan), NANO)
    index = tensor(NANO, memory=Memory.INDEX)
    with pytest.raises(HeddleError, match="whole numbers from 0"):
        index.pack(np.full((3, 7), -1), NANO)
    with pytest.raises(HeddleError, match=r"takes the inputs \['x'\], not \['y'\]"):
        example().input_bytes({"y": np.zeros((3, 7))})


def test_save_and_load_keep_everything(tmp_path):
    path = tmp_path / "example.heddle"
    program = example()
    program.save(path)
    assert Program.load(path) == program
    assert [each.name for each in tmp_path.iterdir()] == ["example.heddle"]


def test_numbers_of_numpy_make_the_same_program(tmp_path):
    i = np.int64
    config = replace(NANO, queue_depth=i(4), clock_mhz=i(1000))
    numbers = {"rows": i(3), "columns": i(7), "row_bytes": i(16), "address": i(1024), "shape": (i(3), i(7))}
    given = example(config)
    given = replace(
        given, dram_bytes=i(4096), useful_macs=i(7), registers=((i(1), i(5)),), positions=(i(2),), tokens=i(1),
        attention_macs=((i(0), i(9)),), periods=(Period(i(0), i(1), i(1)),), scalars=(Scalar(i(1), ScalarKind.SLOT),),
        tensors={"x": replace(given.tensors["x"], **numbers)},
    )  # fmt: skip
    plain = replace(
        example(), registers=((1, 5),), positions=(2,), tokens=1, attention_macs=((0, 9),), periods=(Period(0, 1, 1),),
        scalars=(Scalar(1, ScalarKind.SLOT),),
    )  # fmt: skip
    assert repr(given) == repr(plain)
    given.save(tmp_path / "given.heddle")
    plain.save(tmp_path / "plain.heddle")
    assert (tmp_path / "given.heddle").read_bytes() == (tmp_path / "plain.heddle").read_bytes()
    assert Program.load(tmp_path / "given.heddle") == plain
    plain.require_config(config)


def test_the_image_holds_code_then_constants():
    program = example()
    assert program.image[:256].tobytes() == program.code
    assert program.image[512:519].tobytes() == b"weights"
    assert program.groups == 1


def test_truncated_foreign_and_altered_files_are_refused(tmp_path):
    path = tmp_path / "example.heddle"
    example().save(path)
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:size])
        with pytest.raises(HeddleError, match="not a Heddle program, or is truncated"):
            Program.load(path)
    path.write_text("something else")
    with pytest.raises(HeddleError, match="not a Heddle program"):
        Program.load(path)
    with pytest.raises(HeddleError, match="cannot read"):
        Program.load(tmp_path / "none.heddle")


def rewrite_header(path, **changes):
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content["program.json"] = json.dumps({**json.loads(content["program.json"]), **changes}).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def test_another_format_or_configuration_is_refused(tmp_path):
    path = tmp_path / "example.heddle"
    example().save(path)
    rewrite_header(path, fingerprint="0" * 16)
    with pytest.raises(HeddleError, match="does not have the fingerprint 0000"):
        Program.load(path)
    rewrite_header(path, format="heddle-program-0")
    with pytest.raises(HeddleError, match="has format 'heddle-program-0'"):
        Program.load(path)
    with pytest.raises(HeddleError, match=r"compiled for nano \(.*\), not for small"):
        example().require_config(PRESETS["small"])


def test_illegal_programs_are_refused():
    program = replace(example(), labels=())
    with pytest.raises(HeddleError, match="last instruction must be halt"):
        replace(program, instructions=program.instructions[:-1]).check()
    waiting = (Map(wait=1 << Unit.LOAD), Halt())
    with pytest.raises(HeddleError, match="no earlier instruction of LOAD signals VECTOR"):
        replace(program, instructions=waiting).check()
    beyond = (Load(memory=Memory.VALUE, dram_address=4096), Halt())
    with pytest.raises(HeddleError, match="reaches DRAM byte 4103, but the program has 4096"):
        replace(program, instructions=beyond).check()


def test_a_failed_save_leaves_nothing(tmp_path):
    with pytest.raises(HeddleError, match="cannot write"):
        example().save(tmp_path / "none" / "example.heddle")
    assert list(tmp_path.iterdir()) == []


def test_two_saves_are_the_same_bytes_whenever_they_are_made(tmp_path, monkeypatch):
    example().save(tmp_path / "first.heddle")
    monkeypatch.setattr("zipfile.time.time", lambda: 2_000_000_000.0)
    example().save(tmp_path / "second.heddle")
    assert (tmp_path / "first.heddle").read_bytes() == (tmp_path / "second.heddle").read_bytes()


def test_a_constant_may_hide_by_minus_infinity_and_an_input_may_not():
    array = np.zeros((3, 7), np.float32)
    array[1, 2] = -np.inf
    constant = tensor(NANO, kind="constant")
    image = np.zeros(4096, np.uint8)
    content = constant.pack(array, NANO)
    image[1024 : 1024 + len(content)] = np.frombuffer(content, np.uint8)
    assert np.array_equal(constant.unpack(image, NANO), array)
    with pytest.raises(HeddleError, match="must be finite"):
        tensor(NANO).pack(array, NANO)
    with pytest.raises(HeddleError, match="must be finite"):
        constant.pack(-array, NANO)


def test_a_number_that_bf16_rounds_to_infinity_is_refused():
    array = np.full((3, 7), np.finfo(np.float32).max)
    with pytest.raises(HeddleError, match=r"it holds 3.40282e\+38, which bf16 does not hold"):
        tensor(NANO).pack(array, NANO)
    assert tensor(replace(NANO, value_format="float32")).pack(array, replace(NANO, value_format="float32"))


def test_refusals_say_that_a_machine_is_not_the_preset_of_its_name():
    small = PRESETS["small"]
    changed = replace(small, queue_depth=4, panel_rows=8)
    program = Program(changed, (Halt(),), 4096, name="p")
    with pytest.raises(HeddleError, match=r"p was compiled for small \(changed\) \(.*\), not for small \("):
        program.require_config(small)
    with pytest.raises(HeddleError, match=r"map: rows must be at most 8 on small \(changed\), not 9"):
        Map(rows=9, columns=8).check(changed)
