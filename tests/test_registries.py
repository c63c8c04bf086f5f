"""Every instruction is in every table that one must be in; a failure names the file to write."""

from dataclasses import fields

import pytest
from amaranth import Signal
from heddle.arch.config import INSTRUCTION_BITS, PRESETS, Unit
from heddle.arch.document import document
from heddle.arch.errors import HeddleError
from heddle.arch.isa import INSTRUCTIONS, Guard, Instruction, Quantise
from heddle.arch.operands import address_names
from heddle.cosim.random_instructions import MAKERS
from heddle.hw.accelerator import UNIT_COMPONENTS, require_all_executed
from heddle.hw.instructions import fields_of
from heddle.hw.scalars import ADJUSTED, adjustments
from heddle.sim import kernels, units
from heddle.sim.engine_arrays import ROLES
from heddle.sim.machine import Machine

NANO = PRESETS["nano"]
EXECUTED = [each for each in INSTRUCTIONS if each.unit is not None]
each_instruction = pytest.mark.parametrize("kind", INSTRUCTIONS, ids=lambda kind: kind.__name__)
each_executed = pytest.mark.parametrize("kind", EXECUTED, ids=lambda kind: kind.__name__)


def declared(kind=Instruction):
    """All classes with an opcode of their own."""
    return [kind] * ("opcode" in vars(kind)) + [each for child in kind.__subclasses__() for each in declared(child)]


def test_the_instruction_set_is_all_that_has_an_opcode():
    mine = [each for each in declared() if each.__module__.startswith("heddle.arch.isa")]
    assert set(mine) == set(INSTRUCTIONS), "INSTRUCTIONS of its file in arch/isa must hold every instruction"
    assert len({each.opcode for each in INSTRUCTIONS}) == len(INSTRUCTIONS)


@each_executed
def test_the_simulator_executes_it_and_knows_its_cycles(kind):
    meaning = units.MEANING.get(kind)
    assert meaning, f"sim/units/{kind.unit.name.lower()}.py: MEANING must say what {kind.__name__} does and how long"
    assert (kind.dram is None) == (meaning.cycles is not None), f"{kind.__name__} has cycles, or what it moves of DRAM"
    assert (kind.dram is None) == (meaning.segments is None)


def test_the_simulator_knows_no_other():
    assert set(units.MEANING) == set(EXECUTED)


@each_executed
def test_it_is_compiled_or_said_not_to_be(kind):
    file = f"sim/kernels/{kind.unit.name.lower()}.py"
    assert units.MEANING[kind].kernel == (kind in kernels.EXECUTE), (
        f"{file}: EXECUTE must hold a kernel for {kind.__name__}, or MEANING in sim/units say that there is none"
    )


def test_the_event_loop_and_the_machine_have_a_client_for_each_that_uses_dram():
    moving = {each for each in INSTRUCTIONS if each.dram}
    assert set(ROLES) == moving | {each for each in INSTRUCTIONS if each.unit is None}, "sim/engine_arrays.py: ROLES"
    assert set(Machine(NANO, [], 0).requests) == moving, "sim/machine.py: requests"


@each_instruction
def test_random_programs_draw_it_or_say_that_they_do_not(kind):
    assert kind in MAKERS, f"cosim/random_instructions.py: MAKERS must say how a random {kind.__name__} is drawn"
    assert (MAKERS[kind] is None) == (kind.unit is None)


def test_the_rtl_of_each_unit_executes_all_that_the_unit_has():
    require_all_executed(UNIT_COMPONENTS)
    assert all(hasattr(each, "executes") for each in UNIT_COMPONENTS.values())


def test_an_instruction_that_the_rtl_does_not_execute_is_named_with_its_file():
    class Vector:
        executes = tuple(each for each in INSTRUCTIONS if each.unit is Unit.VECTOR and each is not Quantise)

    with pytest.raises(HeddleError, match=r"hw/units/vector\.py and arch/isa do not agree on Quantise"):
        require_all_executed({**UNIT_COMPONENTS, Unit.VECTOR: Vector})


@each_instruction
def test_the_rtl_looks_up_its_registers(kind):
    named = [each.name for each in fields(kind) if each.name.endswith("register")]
    word = Signal(INSTRUCTION_BITS)
    changes = adjustments(NANO, kind, word) if kind in (Guard, *ADJUSTED) else []
    looked_up = {repr(each.register) for each in changes}
    expected = {repr(getattr(fields_of(kind, word), name)) for name in named}
    assert looked_up == expected, f"hw/scalars.py: adjustments must look up the registers of {kind.__name__}"


@each_instruction
def test_every_address_is_that_of_an_operand(kind):
    """So no field is left where a compiler finds it: `table` is the one address that is not called so."""
    called_so = {each.name for each in fields(kind) if each.name.endswith("address")}
    assert called_so <= address_names(kind) <= called_so | {"table"}, f"{kind.__name__}: operands"


@each_executed
def test_its_operands_stand_in_the_manual(kind):
    section = document().split(f"\n## {kind.__name__.lower()}\n")[1].split("\n## ")[0]
    for each in kind.operands:
        assert f"`{each.at}`" in section and ("writes" if each.write else "reads") in section


def test_what_is_no_instruction_is_refused_by_every_table():
    class Unknown(Instruction):
        opcode, unit = 63, Unit.VECTOR

    with pytest.raises(KeyError):
        units.execute(Unknown(), None, NANO)
    with pytest.raises(KeyError):
        units.cycles(Unknown(), NANO)
    with pytest.raises(KeyError):
        kernels.execute(Unknown(), None, NANO)
    with pytest.raises(HeddleError, match="unknown moves nothing to or from DRAM"):
        Unknown().transfer(NANO)
