"""The list of registers: no two at one place, fields apart, capabilities as the configuration says."""

from dataclasses import replace
from itertools import pairwise

import pytest
from heddle.arch import encoding
from heddle.arch.config import PRESETS, Memory, Unit
from heddle.arch.registers import ErrorKind, Register, error_text


def test_no_two_registers_share_an_address_and_all_are_words_within_the_port():
    offsets = [offset for each in Register for offset in each.offsets]
    assert len(offsets) == len(set(offsets))
    assert all(offset % 4 == 0 and 0 <= offset < 4096 for offset in offsets)


def test_fields_lie_apart_and_hold_what_they_stand_for():
    for each in Register:
        fields = sorted(each.fields, key=lambda field: field.low)
        assert all(first.low + first.bits <= second.low for first, second in pairwise(fields)), each.name
        assert each.bits <= 32
        for field in fields:
            assert all(value < 1 << field.bits for value in field.values or ()), (each.name, field.name)
            assert field.of(field.mask) == (1 << field.bits) - 1


def test_places_that_hosts_know_do_not_move():
    known = {"CONTROL": 0, "STATUS": 4, "INTERRUPT": 8, "ERROR": 12, "PROGRAM_LOW": 16, "GROUPS": 24, "VERSION": 28,
             "CYCLES_LOW": 32, "BUSY": 64, "WAITING": 96, "SCALAR": 128, "KV_BASE_LOW": 256, "DRAM_BASE_LOW": 272,
             "DRAM_BYTES_HIGH": 284}  # fmt: skip
    assert {name: Register[name].value for name in known} == known
    assert [Register.CONTROL.mask(name) for name in ("start", "clear", "abort")] == [1, 2, 4]
    assert [Register.STATUS.mask(name) for name in ("busy", "done", "error", "aborted")] == [1, 2, 4, 8]


def test_capabilities_are_those_of_the_configuration():
    config = replace(PRESETS["small"], pe="bf16", value_format="float32", vector_format="tf32")

    def value(name: str, number: int = 0) -> int:
        value_of = Register[name].value_of
        assert value_of is not None
        return value_of(config, number)

    assert value("FINGERPRINT_HIGH") << 32 | value("FINGERPRINT_LOW") == int(config.fingerprint, 16)
    assert value("VERSION").to_bytes(4, "big") == b"HDL\1"
    assert value("FORMATS") == 7
    assert [value(name) for name in ("ROWS", "COLUMNS", "LANES")] == [config.rows, config.columns, config.vector_lanes]
    assert value("MEMORY_WORDS", Memory.VALUE) == config.value_words
    assert value("MEMORY_BANKS", Memory.PAGE) == 1
    assert value("PAGE_ENTRIES") == config.page_words * config.axi_bytes // 4


def test_the_instruction_set_has_another_fingerprint_when_a_field_moves(monkeypatch):
    before = encoding.instruction_set_fingerprint()
    shorter = encoding.INSTRUCTIONS[:-1]
    encoding.instruction_set_fingerprint.cache_clear()
    monkeypatch.setattr(encoding, "INSTRUCTIONS", shorter)
    assert encoding.instruction_set_fingerprint() != before
    encoding.instruction_set_fingerprint.cache_clear()
    monkeypatch.undo()
    assert encoding.instruction_set_fingerprint() == before


@pytest.mark.parametrize(
    ("content", "instructions", "text"),
    [
        (1 | Memory.VALUE << 4 | (1 << Unit.STORE | 1 << Unit.VECTOR) << 8, (3, 1),
         "bank conflict: two units used one port of a memory bank in one cycle "
         "(memory VALUE; units STORE, VECTOR; instructions 3, 1)"),
        (ErrorKind.UNKNOWN_OPCODE, (7, 7),
         "unknown opcode: an instruction whose opcode the machine does not know (instructions 7)"),
    ],
)  # fmt: skip
def test_an_error_reads_as_a_line(content, instructions, text):
    assert error_text(content, instructions) == text
