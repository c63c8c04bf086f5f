"""Whole models on the simulator against PyTorch, at the thresholds that the project promises."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from heddle.compiler.pipeline import compile
from heddle.models.registry import WORKLOADS
from heddle.sim.machine import simulate


def run(workload, config, count, precision=None):
    """(PyTorch's outputs, the accelerator's, labels) for the first `count` inputs."""
    samples = workload.load(count)
    model = workload.model()
    program = compile(model, workload.example_inputs(), config, name=workload.name, output=workload.output,
                      precision=precision)  # fmt: skip
    with torch.no_grad():
        golden = model(*samples.tensors()).numpy()
    result = simulate(program, samples.inputs, timing=False)
    return golden, result.outputs[workload.output].reshape(golden.shape), samples.labels


def sqnr_db(golden, outputs):
    return 10 * np.log10((golden.astype(np.float64) ** 2).sum() / ((golden - outputs).astype(np.float64) ** 2).sum())


@pytest.mark.parametrize("vector_format", ["float32", "tf32"])
def test_digits_vit_keeps_its_accuracy_over_the_whole_test_split(configs, vector_format):
    config = replace(configs["small"], vector_format=vector_format)
    golden, outputs, labels = run(WORKLOADS["digits-vit"], config, 540)
    accuracy_fp32, accuracy = (100 * (logits.argmax(-1) == labels).mean() for logits in (golden, outputs))
    assert accuracy_fp32 >= 97
    assert abs(accuracy - accuracy_fp32) <= 0.5
    assert sqnr_db(golden, outputs) >= 40


@pytest.mark.parametrize("config", ["nano", "odd", "base"])
@pytest.mark.parametrize("name", ["encoder-layer", "encoder-layer-post"])
def test_an_encoder_layer_is_close_to_pytorch_on_any_array(configs, name, config):
    golden, outputs, _ = run(WORKLOADS[name], configs[config], 8)
    assert sqnr_db(golden, outputs) >= 30


@pytest.mark.parametrize("pe, precision", [("int8", "w8a8"), ("int8", "w16a16"), ("bf16", "bf16")])
def test_an_encoder_layer_in_tf32_keeps_the_thresholds_of_float32(configs, pe, precision):
    config = replace(configs["small"], pe=pe, vector_format="tf32")
    golden, outputs, _ = run(WORKLOADS["encoder-layer"], config, 8, precision)
    assert sqnr_db(golden, outputs) >= 40


def test_bert_tiny_is_close_to_pytorch(configs):
    golden, outputs, _ = run(WORKLOADS["bert-tiny"], configs["small"], 8)
    assert sqnr_db(golden, outputs) >= 28
