"""Whole models on simulator and RTL: no byte and no cycle may differ."""

import pytest
from heddle.arch.dram import DRAM_PRESETS
from heddle.compiler.pipeline import compile
from heddle.cosim.lockstep import lockstep
from heddle.models.registry import WORKLOADS


def compare(name, config, engine, images=1):
    """Lock-step of a workload's first inputs."""
    workload = WORKLOADS[name]
    program = compile(workload.model(), workload.example_inputs(), config, name=name, output=workload.output)
    samples = workload.load(images).inputs
    inputs = [{key: array[i] for key, array in samples.items()} for i in range(images)]
    comparison = lockstep(program, inputs, engine)
    assert comparison.runs == images and comparison.instructions > 0 and comparison.cycles > 0
    return comparison


@pytest.mark.parametrize("engine", [pytest.param("icarus", marks=pytest.mark.long), "verilator"])
def test_an_encoder_layer_on_nano(configs, engine):
    assert compare("encoder-layer", configs["nano"], engine).first_difference is None


def test_digits_vit_on_small(configs):
    assert compare("digits-vit", configs["small"], "verilator", images=2).first_difference is None


def test_an_encoder_layer_on_an_odd_array(configs):
    assert compare("encoder-layer-post", configs["odd"], "verilator").first_difference is None


@pytest.mark.long
@pytest.mark.parametrize("name", ["encoder-layer", "digits-vit"])
def test_on_base(configs, name):
    assert compare(name, configs["base"], "verilator").first_difference is None


@pytest.mark.long
def test_bert_tiny_on_small(configs):
    assert compare("bert-tiny", configs["small"], "verilator", images=2).first_difference is None


@pytest.mark.long
@pytest.mark.parametrize("name", DRAM_PRESETS)
def test_digits_vit_on_nano_behind_memories_that_can_be_bought(configs, name):
    assert compare("digits-vit", configs["nano"].with_dram(name), "verilator").first_difference is None


def test_another_memory_changes_cycles_but_not_agreement(configs):
    slow = configs["nano"].with_dram(latency_cycles=90, cycles_per_beat=3)
    assert compare("encoder-layer", slow, "verilator").first_difference is None
