"""Nearly legal programs: each is refused, agrees with the RTL, or stops it with the error that stands for it."""

import json
from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from click.testing import CliRunner
from heddle.arch.config import Memory, Unit
from heddle.arch.errors import HeddleError
from heddle.arch.isa import Function, Halt, Load, Map, Source, Store, Tables
from heddle.arch.program import Program
from heddle.arch.registers import ErrorKind, Register
from heddle.cli.cosim import cosim
from heddle.cosim import illegal_programs
from heddle.cosim.engines.job import Outcome
from heddle.cosim.illegal_programs import Campaign, expectation, illegal
from heddle.cosim.mutants import Mutant, mutants
from heddle.cosim.random_configs import random_config

from ..machines import BF16, ROOMY
from .conftest import NANO

MACHINES = {"nano": NANO, "3x5": ROOMY, "nano, bf16": BF16}


def check(campaign, programs):
    assert campaign.programs == programs
    assert campaign.agrees, "\n".join(map(str, campaign.third[:20]))
    assert campaign.refused + campaign.agree + campaign.stopped == programs
    assert campaign.came_through <= campaign.refused and set(campaign.stopped_by) <= set(ErrorKind.__members__)
    assert campaign.came_through + sum(campaign.stopped_by.values()) + campaign.agree == campaign.ran
    assert campaign.refused > programs // 5 and campaign.agree > programs // 10, campaign.to_dict()


def test_sixty_illegal_programs_have_no_third_outcome():
    check(illegal(NANO, 60, seed=1), 60)


@pytest.mark.long
@pytest.mark.parametrize("part", range(10))
@pytest.mark.parametrize("config,count", [(NANO, 1400), (ROOMY, 300), (MACHINES["nano, bf16"], 300)], ids=MACHINES)
def test_twenty_thousand_illegal_programs_have_no_third_outcome(config, count, part):
    check(illegal(config, count, seed=100 + part), count)


def test_mutants_are_the_same_for_a_seed_and_change_everything():
    some, again = (list(islice(mutants(NANO, seed=3), 200)) for _ in range(2))
    assert [each.changes for each in some] == [each.changes for each in again]
    assert all(a.code == b.code for a, b in zip(some[:20], again, strict=False))
    words = Counter(change.split()[0] for each in some for change in each.changes)
    assert set(words) >= {"instruction", "instructions", "without", "data", "register", "a"}
    text = "\n".join(change for each in some for change in each.changes)
    for part in ("opcode", "bits [", "mask at", "once more", "exchanged", "groups of", "halts more", "dram_bytes"):
        assert part in text, part


@pytest.mark.parametrize("number", range(12))
def test_every_machine_has_mutants_and_no_exception_that_is_not_ours(number):
    for mutant in islice(mutants(random_config(number, most=8), seed=number), 16):
        found = expectation(mutant)
        assert found.outcome != "third", (mutant.changes, found.why)


# -- the judge, on outcomes made by hand -------------------------------------------------------------------------------

LOAD = Load(memory=Memory.ACT, dram_address=0x1000, words=4)


def mutant_of(*instructions, groups=1, code=None, data=()):
    program = Program(NANO, (*instructions, Halt()), 1 << 14, registers=((1, 1),), data=data)
    return Mutant(0, ("by hand",), program, program.code if code is None else code, groups)


def outcome(kind=None, finished=True, place=0, image=None, violation=False):
    registers = {each: 0 for each in range(0, 0x100, 4)}
    registers[Register.STATUS] = Register.STATUS.mask("error") if kind else Register.STATUS.mask("done")
    registers[Register.ERROR] = kind or 0
    registers[Register.ERROR_INSTRUCTIONS] = place
    image = np.zeros(1 << 14, np.uint8) if image is None else image
    return Outcome(finished, registers, {}, image, violation)


def counts(campaign):
    return campaign.refused, campaign.came_through, campaign.agree, campaign.stopped, len(campaign.third)


def judged(expected, found):
    campaign = Campaign("none", "nano", 0)
    illegal_programs._judge(campaign, expected, found)
    return campaign


@pytest.mark.parametrize("pieces,outcome", [(1, "agrees"), (65_535, "long")])
def test_what_would_take_the_rtl_long_is_not_run_on_it(pieces, outcome):
    assert expectation(mutant_of(replace(LOAD, segments=pieces))).outcome == outcome


def test_a_table_that_is_none_is_refused_by_the_simulator_alone():
    """A descriptor with a mode that there is not: no unit looks at what an entry of PARAM means."""
    found = expectation(mutant_of(
        Load(memory=Memory.PARAM, dram_address=0x1000, signal=1 << Unit.VECTOR),
        Tables(wait=1 << Unit.LOAD),
        Map(columns=4, source=Source.VALUE, function=Function.TABLE_0),
        data=((0x1000, b"\xff" * 64),),
    ))  # fmt: skip
    assert (found.outcome, found.runs) == ("refused", False)
    assert "no table of a function" in found.why


@pytest.mark.parametrize("pieces,outcome", [(1, "stops"), (65_535, "long")])
def test_what_the_rtl_would_be_long_in_stopping_at_is_not_run_on_it(pieces, outcome):
    """A LOAD of so many pieces stands before a gather of a row beyond DRAM."""
    mutant = mutant_of(
        replace(LOAD, segments=pieces),
        Load(memory=Memory.INDEX, dram_address=0x1000),
        Load(memory=Memory.ACT, gather=1, address=64, words=16, dram_address=0x2000, dram_stride=64),
        data=((0x1000, np.array([1 << 20], "<i4").tobytes()),),
    )
    assert expectation(mutant).outcome == outcome


def test_a_program_without_halt_must_stop_with_that_error():
    code = mutant_of(*[LOAD] * 8).code[:256]
    expected = expectation(mutant_of(*[LOAD] * 8, code=code))
    assert expected.outcome == "refused" and expected.errors == (ErrorKind.NO_HALT,)
    assert judged(expected, outcome(ErrorKind.NO_HALT)).agrees
    others = outcome(), outcome(finished=False), outcome(ErrorKind.DEADLOCK), outcome(ErrorKind.NO_HALT, violation=True)
    for other in others:
        assert not judged(expected, other).agrees
    assert "hangs, and should stop with NO_HALT" in str(judged(expected, outcome(None, finished=False)).third[0])
    none = expectation(mutant_of(LOAD, groups=0))
    assert none.errors == (ErrorKind.NO_PROGRAM,)


def test_what_does_not_decode_must_stop_at_its_place():
    code = bytearray(mutant_of(LOAD, LOAD).code)
    code[32] |= 63  # the opcode of the second
    expected = expectation(mutant_of(LOAD, LOAD, code=bytes(code)))
    assert expected.outcome == "refused" and expected.place == 1 and "unknown opcode 63" in expected.why
    assert judged(expected, outcome(ErrorKind.UNKNOWN_OPCODE, place=1)).stopped_by == {"UNKNOWN_OPCODE": 1}
    assert counts(judged(expected, outcome(ErrorKind.UNKNOWN_OPCODE, place=1))) == (1, 0, 0, 0, 0)
    assert counts(judged(expected, outcome(ErrorKind.UNKNOWN_OPCODE, place=0))) == (0, 0, 0, 0, 1)
    assert "stops at instruction 0" in str(judged(expected, outcome(ErrorKind.UNKNOWN_OPCODE, place=0)).third[0])
    assert "came to its end" in str(judged(expected, outcome()).third[0])


def test_a_bank_conflict_may_pass_unseen_by_the_rtl_but_not_another_error():
    clash = Store(memory=Memory.VALUE, dram_address=0x2000, words=4)
    expected = expectation(mutant_of(clash, LOAD))
    assert expected.outcome == "agrees"
    expected = illegal_programs.Expectation(expected.mutant, "stops", "it", errors=(ErrorKind.BANK_CONFLICT,))
    assert judged(expected, outcome()).agrees and judged(expected, outcome(ErrorKind.BANK_CONFLICT)).agrees
    # What the simulator refuses and the RTL does not stop is refused, and no error of the RTL.
    assert counts(judged(expected, outcome())) == (1, 1, 0, 0, 0) and not judged(expected, outcome()).stopped_by
    assert counts(judged(expected, outcome(ErrorKind.BANK_CONFLICT))) == (0, 0, 0, 1, 0)
    assert not judged(expected, outcome(ErrorKind.AXI_RESPONSE)).agrees
    assert not judged(expected, outcome(finished=False)).agrees


def test_a_byte_that_differs_is_a_third_outcome():
    expected = expectation(mutant_of(LOAD))
    assert expected.outcome == "agrees"
    assert not judged(expected, outcome(image=np.ones(1 << 14, np.uint8))).agrees


def test_what_the_simulator_says_without_an_error_for_it_is_a_third_outcome(monkeypatch):
    def strange(program):
        raise HeddleError("the moon is full")

    monkeypatch.setattr(illegal_programs, "simulate", strange)
    found = expectation(mutant_of(LOAD))
    assert found.outcome == "third" and "the moon is full" in found.why
    monkeypatch.setattr(illegal_programs, "simulate", lambda program: 1 // 0)
    assert "ZeroDivisionError" in expectation(mutant_of(LOAD)).why


def test_the_command(monkeypatch):
    found = Campaign("verilator", "nano", 7, programs=5, refused=3, came_through=1, agree=1, stopped=1, ran=2)
    found.stopped_by["NO_HALT"] += 1
    asked = []
    monkeypatch.setattr(illegal_programs, "illegal", lambda *given, progress: asked.append(given) or found)
    command = ["illegal", "--config", "nano", "--programs", "5", "--seed", "7"]
    result = CliRunner().invoke(cosim, command)
    assert result.exit_code == 0 and "5 illegal programs on nano, 2 of them on verilator" in result.output
    assert "no halt" in result.output and "bank conflict: refused" in result.output
    assert asked == [(NANO, 5, 7, "verilator")]
    found.third.append(illegal_programs.ThirdOutcome(4, ("instruction 3: opcode 9",), "it hangs"))
    result = CliRunner().invoke(cosim, [*command, "--json"])
    assert result.exit_code == 1
    told = json.loads(result.output)
    counted = [told[name] for name in ("refused", "came_through", "stopped_alike", "stopped_by")]
    assert counted == [3, 1, 1, {"NO_HALT": 1}]
    assert told["third_outcomes"] == ["mutant 4 (instruction 3: opcode 9): it hangs"]
