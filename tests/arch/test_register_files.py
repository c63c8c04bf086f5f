"""What is generated from the list of registers: the page is current, C compiles, SystemRDL and JSON say the same."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from heddle.arch.config import PRESETS, Memory
from heddle.arch.register_files import REGISTER_FILES, as_json, c_header, markdown, systemrdl
from heddle.arch.registers import Register
from systemrdl import RDLCompiler

NANO = PRESETS["nano"]


def test_the_page_of_registers_is_current():
    page = Path(__file__).parents[2] / "docs" / "registers.md"
    assert page.read_text() == markdown(), "docs/registers.md is out of date: run make docs"


def test_with_a_configuration_the_page_says_what_its_constants_read():
    assert "| 0x190 | ROWS | constant | rows of PEs: 4 |" in markdown(NANO)
    assert "| 0x190 | ROWS | constant | rows of PEs |" in markdown()
    assert all(write("nano") == write(NANO) for write in REGISTER_FILES.values())


CHECKS = """
#include "registers.h"
#include <stdio.h>
int main(void) {
    printf("%u %u %u %u %u %u %u\\n", HEDDLE_STATUS, HEDDLE_CONTROL_ABORT_MASK, HEDDLE_ERROR_UNITS_SHIFT,
           HEDDLE_ERROR_KIND_DEADLOCK, HEDDLE_SCALAR(31), HEDDLE_SCALAR_COUNT, HEDDLE_MEMORY_WORDS_VALUE(2));
    return 0;
}
"""


@pytest.mark.parametrize("config", [None, NANO], ids=["any", "nano"])
def test_the_c_header_compiles_without_a_warning_and_holds_the_numbers(tmp_path, config):
    if not (compiler := shutil.which("gcc") or shutil.which("cc")):
        pytest.skip("no C compiler")
    (tmp_path / "registers.h").write_text(c_header(config))
    expected = "4 4 8 10 252 32"
    checks = CHECKS
    if config is None:
        checks = checks.replace(" %u\\n", "\\n").replace(", HEDDLE_MEMORY_WORDS_VALUE(2)", "")
    else:
        checks = checks.replace("HEDDLE_MEMORY_WORDS_VALUE(2)", f"HEDDLE_MEMORY_WORDS_VALUE_{Memory.PARAM.value}")
        expected += f" {NANO.param_words}"
    (tmp_path / "main.c").write_text(checks)
    command = [compiler, "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "main.c", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout.strip() == expected


@pytest.mark.parametrize("config", [None, NANO], ids=["any", "nano"])
def test_systemrdl_is_read_as_the_same_registers(tmp_path, config):
    path = tmp_path / "registers.rdl"
    path.write_text(systemrdl(config))
    compiler = RDLCompiler()
    compiler.compile_file(str(path))
    found = {}
    for node in compiler.elaborate().top.registers(unroll=True):
        for field in node.fields():
            found[node.absolute_address, field.low] = (field.high, field.is_sw_readable, field.is_sw_writable,
                                                       field.get_property("reset"))  # fmt: skip
    expected = {}
    for each in Register:
        for number, offset in enumerate(each.offsets):
            places = [(field.low, field.low + field.bits - 1) for field in each.fields] or [(0, each.bits - 1)]
            for low, high in places:
                reset = None if each.access == "R" and each.value_of else 0
                if config and each.value_of:
                    reset = (each.value_of(config, number) & (2 << high) - 1) >> low
                expected[offset, low] = (high, "R" in each.access, "W" in each.access, reset)
    assert found == expected


def test_json_states_every_register_with_its_values():
    content = {each["name"]: each for each in json.loads(as_json(NANO))}
    assert set(content) == set(Register.__members__)
    assert content["MEMORY_WORDS"]["reads"] == [NANO.words(memory) for memory in Memory]
    assert content["STATUS"]["fields"][3] == {"name": "aborted", "low": 3, "bits": 1, "values": {},
                                              "meaning": Register.STATUS.field("aborted").meaning}  # fmt: skip
    assert "reads" not in json.loads(as_json())[-1]
