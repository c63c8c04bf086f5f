"""The workloads: names, inputs that fit the models."""

import numpy as np
import pytest
import torch
from heddle.models import registry
from heddle.models.registry import WORKLOADS


def test_names_are_their_keys():
    assert {"digits-vit", "bert-tiny", "encoder-layer", "encoder-layer-post"} <= WORKLOADS.keys()
    assert all(name == workload.name for name, workload in WORKLOADS.items())


@pytest.mark.parametrize("name", WORKLOADS)
def test_models_take_their_inputs(name):
    workload = WORKLOADS[name]
    samples = workload.load(3)
    model = workload.model()
    assert not model.training
    with torch.no_grad():
        assert model(*samples.tensors()).shape[0] == 3
        assert model(*workload.example_inputs()).shape[0] == 1
    assert samples.labels is None or samples.labels.shape == (3,)


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_larger_count_starts_with_the_same_inputs(name):
    few, many = WORKLOADS[name].load(2).inputs, WORKLOADS[name].load(5).inputs
    for key in few:
        np.testing.assert_array_equal(few[key], many[key][:2])


def test_missing_weights_say_how_to_make_them(monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "WEIGHTS", tmp_path)
    with pytest.raises(FileNotFoundError, match="digits-vit.safetensors is missing: make it with python -m heddle"):
        WORKLOADS["digits-vit"].model()
