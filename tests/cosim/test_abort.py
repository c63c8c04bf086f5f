"""Runs that are aborted in any cycle: the run after them is, without a reset, as if they had never been."""

import random
from dataclasses import replace

import heddle
import numpy as np
import pytest
from heddle.cosim import lockstep as module
from heddle.cosim.engines import amaranth, verilator
from heddle.sim.machine import simulate

from .conftest import NANO


def assert_clean_after_aborts(program, given, aborts, engine=verilator):
    """`aborts` are those of each job: cycles in which runs are aborted, one after the other, before a whole one."""
    result = simulate(program, given)
    job = module.make_job(program, given, result)
    jobs = [replace(job, aborts=cycles) for cycles in aborts]
    tally = module.Tally()
    for number, outcome in enumerate(engine.run(program.config, jobs, module.trace_depth(program))):
        tally.add(number, result, outcome)
    assert tally.first is None, tally.first
    assert tally.runs == len(aborts)


def test_a_layer_runs_after_aborts_as_after_a_reset(layer):
    given = {"x": np.random.default_rng(1).integers(-128, 128, (5, 8))}
    cycles = simulate(layer, given).cycles
    chosen = random.Random(cycles).sample(range(1, cycles + 50), 6)
    assert_clean_after_aborts(layer, given, [(1,), *((cycle,) for cycle in chosen), tuple(chosen)])
    assert_clean_after_aborts(layer, given, [(chosen[0],)], amaranth)


def test_cached_tokens_run_after_aborts_as_after_a_reset(cached):
    cycles = simulate(cached).cycles
    chosen = random.Random(cycles).sample(range(1, cycles), 6)
    assert_clean_after_aborts(cached, {}, [(cycle,) for cycle in chosen])


@pytest.mark.long
def test_a_transformer_layer_runs_after_200_aborts_as_after_a_reset():
    workload = heddle.WORKLOADS["encoder-layer"]
    program = heddle.compile(
        workload.model(), workload.example_inputs(), NANO, name=workload.name, output=workload.output
    )
    given = {name: batch[0] for name, batch in workload.load(1).inputs.items()}
    cycles, numbers = simulate(program, given).cycles, random.Random(200)
    assert_clean_after_aborts(program, given, [(numbers.randrange(1, cycles + 50),) for _ in range(200)])
