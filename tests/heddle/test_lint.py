"""heddle lint: exit codes, findings in words and as JSON."""

import json
from dataclasses import replace

import pytest
from heddle.arch.program import Program


@pytest.fixture
def program_file(heddle, tmp_path):
    code, _, error = heddle("compile", "encoder-layer", "--config", "nano", "-o", "layer.heddle")
    assert code == 0, error
    return tmp_path / "layer.heddle"


def test_a_compiled_program_is_clean(heddle, program_file):
    code, output, _ = heddle("lint", program_file)
    assert code == 0 and "nothing depends on timing" in output
    code, output, _ = heddle("lint", program_file, "--json")
    assert code == 0 and json.loads(output)["clean"] and json.loads(output)["findings"] == []


@pytest.fixture
def bare_file(program_file):
    """The same without tokens."""
    right = Program.load(program_file)
    bare = replace(right, instructions=tuple(replace(each, wait=0, signal=0) for each in right.instructions))
    bare.save(program_file)
    return program_file


def test_a_program_without_tokens_races(heddle, bare_file):
    code, output, _ = heddle("lint", bare_file)
    assert code == 1 and "no token orders them" in output and "of kind race" in output and "--all" in output
    code, output, _ = heddle("lint", bare_file, "--json")
    figures = json.loads(output)
    assert code == 1 and not figures["clean"] and figures["counts"]["race"] > 10
    assert {"kind", "message", "indices", "memory", "first", "last", "token"} == set(figures["findings"][0])
    assert heddle("lint", bare_file, "--all")[1].count("race: ") == figures["counts"]["race"]


@pytest.mark.parametrize("command", ["simulate", "report", "cosim"])
def test_a_program_that_races_is_refused(heddle, bare_file, command):
    code, _, error = heddle(command, bare_file)
    message = " ".join(error.split())
    assert code == 2 and "has a race: instruction" in message and "no token orders them" in message
    assert "has a race" not in heddle(command, bare_file, "--races")[2]


def test_a_bad_file_is_a_mistake(heddle, program_file):
    program_file.write_bytes(b"not a program")
    code, _, error = heddle("lint", program_file)
    assert code == 2 and "not a Heddle program" in error
