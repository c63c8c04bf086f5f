"""The compiled event loop against the plain one: every cycle of every instruction, and the same errors."""

import random
import time
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from heddle.arch.config import PRESETS, Memory, Unit
from heddle.arch.dram import DRAM_PRESETS
from heddle.arch.errors import HeddleError
from heddle.arch.isa import Guard, Halt, Load, Map, Matmul, Source, Store
from heddle.arch.program import Period, Program
from heddle.compiler.builder import Tiling
from heddle.compiler.cache import CachePlan
from heddle.compiler.decoder import compile_decoder
from heddle.compiler.pipeline import compile
from heddle.compiler.synchronise import synchronise
from heddle.cosim.random_programs import random_program
from heddle.models.gpt2 import Gpt2, Gpt2Config
from heddle.models.llama import Llama, LlamaConfig
from heddle.models.registry import WORKLOADS
from heddle.sim import jit, machine
from heddle.sim.addresses import loaded_addresses
from heddle.sim.dispatch import dispatched_kinds
from heddle.sim.engine import timing_of
from heddle.sim.machine import Machine, simulate

from ..machines import ODD

NANO, SMALL = PRESETS["nano"], PRESETS["small"]
CONFIGS = {
    "nano": NANO,
    "odd": ODD,
    "small": SMALL,
    "hurried": replace(SMALL, name="hurried", queue_depth=2, load_outstanding=1, burst_beats=2),
    "server": PRESETS["server"],  # a port wider than an instruction
}
LOAD, STORE, KV, MATRIX, VECTOR, SOFTMAX, NORM = (1 << unit for unit in Unit)


def outcome(run):
    """The Timing, or the error."""
    try:
        return run()
    except HeddleError as error:
        return str(error)


def compare(program, free=()):
    """Run both engines. Returns what both gave."""
    config, scalars = program.config, program.scalar_values
    found = loaded_addresses(program) if config.dram.banked else {}
    work = dispatched_kinds(program.kinds, scalars, config)
    plain = outcome(Machine(config, program.instructions, program.groups, None, scalars, found, free).run)
    compiled = outcome(lambda: timing_of(config, work, program.groups, None, found, free))
    if isinstance(plain, str) or isinstance(compiled, str):
        assert plain == compiled
    else:
        for field in (each for each in fields(plain) if each.compare):
            assert getattr(plain, field.name) == getattr(compiled, field.name), field.name
    return plain


def with_memory(program, random):
    """Behind an ideal memory, or one with banks; now and then one that is refreshed all the time."""
    name = random.choice(["ideal", *DRAM_PRESETS])
    if name == "ideal":
        return program
    dram = program.config.with_dram(name).dram
    if random.random() < 0.5:
        hurried = dram.latency_cycles + dram.t_rfc + random.randint(1, 300)
        dram = replace(dram, t_refi=hurried, cycles_per_beat=random.choice([1, 2]))
    return replace(program, config=replace(program.config, dram=dram))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("block", range(5))
def test_random_programs_take_the_same_cycles(config, block):
    for seed in range(20 * block, 20 * block + 20):
        numbers = random.Random(seed)
        program = with_memory(random_program(config, seed), numbers)
        free = numbers.sample(list(Unit), numbers.choice([0, 0, 1, 2, 7]))
        assert compare(program, free).cycles > 0


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_programs_without_order_take_the_same_cycles_or_deadlock_alike(config):
    deadlocks = 0
    for seed in range(1000, 1040):
        numbers = random.Random(seed)
        program = with_memory(random_program(config, seed), numbers)
        instructions = list(program.instructions)
        for place in numbers.sample(range(len(instructions) - 1), numbers.choice([0, 1, 3])):
            change = numbers.choice([{"signal": 0}, {"wait": 0}, {"wait": numbers.randrange(128)}])
            instructions[place] = replace(instructions[place], **change)
        deadlocks += isinstance(compare(replace(program, instructions=tuple(instructions))), str)
    assert 4 <= deadlocks <= 36


@pytest.mark.long
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_thousands_of_random_programs_take_the_same_cycles(config):
    for seed in range(10_000, 11_000):
        compare(with_memory(random_program(config, seed, 100), random.Random(seed)))


def test_deadlocks_by_hand_give_the_same_error():
    def program(*instructions):
        return Program(NANO, instructions, 1 << 16)

    full_queue = [*[Map(columns=4, wait=LOAD)] * 5, Load(signal=VECTOR), Halt()]
    assert "for a place in its queue" in compare(program(*full_queue))
    assert "LOAD and MATRIX" in compare(program(Map(columns=4, wait=MATRIX | LOAD), Load(wait=VECTOR), Halt()))
    assert "which the program does not have" in compare(program(*[Map(columns=4, source=Source.VALUE)] * 8))
    assert compare(program(Guard(count=2), Map(columns=4, wait=LOAD), Halt())).startswith("deadlock")


# -- whole models ------------------------------------------------------------------------------------------------------


SIZES = {"vocabulary": 19, "context": 40, "width": 16}


def decoder(model, config, tokens):
    plan = CachePlan(40, 2 * config.columns)
    return compile_decoder(model.eval(), config, plan, tokens=tokens, tiling=Tiling())


@pytest.fixture(scope="module")
def programs():
    torch.manual_seed(1)
    llama = Llama(LlamaConfig(**SIZES, depth=1, heads=4, kv_heads=2, hidden=24))
    gpt2 = Gpt2(Gpt2Config(**SIZES, depth=2, heads=2))
    digits = WORKLOADS["digits-vit"]
    return {
        "digits-vit": compile(digits.model(), [torch.zeros(1, 1, 8, 8)], SMALL, tiling=Tiling()),
        "llama": decoder(llama, SMALL, 16).at(3),
        "llama decode": decoder(llama, NANO, 1).at(17),
        "gpt2": decoder(gpt2, NANO, 8).at(0),
    }


def repeated(program, copies, step):
    """The body of a program again and again, each LOAD and STORE `step` bytes further every time, but for those of
    numbers, which would then be others."""
    body = [replace(each, wait=0, signal=0) for each in program.instructions[:-1]]
    few = synchronise(program.config, body * 4)
    first, second, third, last = (few[start : start + len(body)] for start in range(0, len(few), len(body)))
    assert second == third, "tokens of a copy in the middle"
    moved = [
        replace(each, dram_address=each.dram_address + step * copy) if _moves(each) else each
        for copy in range(copies)
        for each in (first if copy == 0 else last if copy == copies - 1 else second)
    ]
    return replace(
        program, instructions=(*moved, Halt()), dram_bytes=1 << (program.dram_bytes + copies * step).bit_length(),
        periods=(Period(len(body), len(body), copies - 2),), labels=(),
    )  # fmt: skip


def _moves(instruction):
    return isinstance(instruction, (Load, Store)) and instruction.memory not in (Memory.INDEX, Memory.PAGE)


@pytest.mark.parametrize("name", ["digits-vit", "llama", "llama decode", "gpt2"])
def test_models_take_the_same_cycles(programs, name):
    compare(programs[name])
    compare(replace(programs[name], config=programs[name].config.with_dram("LPDDR4-3200")))


def test_layers_that_repeat_take_the_same_cycles(programs):
    program = repeated(programs["llama"], 12, 4096)
    one, all_ = compare(programs["llama"]).cycles, compare(program).cycles
    assert 8 * one < all_ < 13 * one
    compare(replace(program, config=program.config.with_dram("DDR4-2400")))
    assert len(program.kinds.examples) < 2 * len(programs["llama"].kinds.examples)


def test_the_compiled_loop_is_much_faster(programs):
    program = repeated(programs["gpt2"], 20, 4096)
    work = dispatched_kinds(program.kinds, program.scalar_values, program.config)
    run = Machine(program.config, program.instructions, program.groups, None, program.scalar_values).run
    plain = seconds(run)
    compiled = min(seconds(lambda: timing_of(program.config, work, program.groups)) for _ in range(3))
    assert plain > 30 * compiled, "numba's reference counts, say"


def seconds(run):
    begin = time.process_time()
    run()
    return time.process_time() - begin


# -- simulate ----------------------------------------------------------------------------------------------------------


def test_simulate_gives_the_same_result_with_either_engine(programs):
    plain, compiled = (simulate(programs["llama"], values=False, engine=name) for name in ("plain", "compiled"))
    assert plain.timing == compiled.timing
    assert plain.to_dict() == compiled.to_dict()
    assert plain.trace == compiled.trace


def test_large_programs_are_compiled_unless_told(programs, monkeypatch):
    used = []
    monkeypatch.setattr(
        "heddle.sim.engine.timing_of", lambda *arguments: used.append("compiled") or timing_of(*arguments)
    )
    monkeypatch.setattr(machine, "loop_is_loaded", lambda: False)
    simulate(programs["gpt2"], values=False)
    assert used == []
    monkeypatch.setattr(machine, "COMPILED_FROM", 100)
    simulate(programs["gpt2"], values=False)
    assert used == ["compiled"]
    simulate(programs["gpt2"], values=False, engine="plain")
    assert used == ["compiled"]
    monkeypatch.undo()
    assert machine.loop_is_loaded()


def test_an_unknown_engine_is_refused(programs):
    with pytest.raises(HeddleError, match="engine must be 'auto', 'plain' or 'compiled', not 'fast'"):
        simulate(programs["gpt2"], values=False, engine="fast")


@pytest.mark.parametrize("engine", ["plain", "compiled"])
def test_a_free_unit_takes_one_cycle_and_no_dram_time(engine):
    # As in test_machine.py: d(i) = 42 + 8·i. Without the time of LOAD, MATRIX starts as soon as it is dispatched.
    instructions = (
        Load(memory=Memory.ACT, words=4, dram_address=1024),
        Load(memory=Memory.WEIGHT, words=8, dram_address=2048, signal=MATRIX),
        Matmul(rows=4, acc_stride=1, wait=LOAD, signal=VECTOR),
        Map(rows=4, columns=4, source_stride=1, stride=1, wait=MATRIX, signal=STORE),
        Store(memory=Memory.VALUE, words=4, dram_address=4096, wait=VECTOR),
        Halt(),
    )
    program = Program(NANO, instructions, 1 << 13)
    result = simulate(program, values=False, engine=engine, free=(Unit.LOAD,))
    matrix = 4 + 1 + 4 + NANO.matrix_drain_cycles
    assert result.timing.start[:3] == [43, 51, 59]
    assert result.timing.retire[:3] == [43, 51, 59 + matrix]
    assert result.timing.cycles < simulate(program, values=False).cycles
    assert sum(result.stalls["load"].values()) == result.cycles and result.stalls["load"]["executing"] == 2
    result = simulate(program, values=False, engine=engine, free=tuple(Unit))
    assert result.timing.start[:5] == result.timing.retire[:5] == [43, 51, 59, 67, 75]
    assert result.cycles == 82, "the dispatch of halt"


@pytest.mark.parametrize("engine", ["plain", "compiled"])
def test_what_cannot_run_for_real_may_run_with_free_units(engine):
    # Without its time, LOAD does not wait for VECTOR to be done with the bank: only a real run is checked.
    maps = [Map(columns=4, source=Source.VALUE, address=512)] * 2
    program = Program(NANO, (*maps, Load(memory=Memory.VALUE, words=2, address=600), Halt()), 1 << 13)
    with pytest.raises(HeddleError, match="bank conflict"):
        simulate(program, values=False, engine=engine)
    assert simulate(program, values=False, engine=engine, free=(Unit.LOAD,)).cycles


# -- compiled code on disk ---------------------------------------------------------------------------------------------


def test_compiled_code_is_kept_where_the_user_says(tmp_path, monkeypatch):
    monkeypatch.setenv("HEDDLE_CACHE", str(tmp_path))
    assert jit.cache_folder(Path(__file__).parent).parent == tmp_path / "numba"
    assert jit.entry(one_more)(1) == 2
    assert list(jit.cache_folder(Path(__file__).parent).rglob("*.nbc"))


def test_without_a_place_to_write_to_code_is_compiled_each_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HEDDLE_CACHE", str(tmp_path / "file"))
    assert jit.entry(one_more)(1) == 2


def one_more(number):
    return number + 1
