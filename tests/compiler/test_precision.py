"""Which precision a layer gets, and what passes it takes."""

from dataclasses import replace

import pytest
from heddle.arch.errors import HeddleError
from heddle.compiler.precision import Precision, PrecisionRule


def test_passes_add_up_powers_of_256():
    assert Precision.W8A8.passes == [(0, 0, 0)]
    assert Precision.W8A16.passes == [(0, 0, 0), (1, 1, 0)]
    assert Precision.W16A16.passes == [(0, 0, 0), (1, 0, 1), (1, 1, 0), (2, 1, 1)]
    assert [each.planes for each in Precision] == [0, 1, 2, 0]


def test_the_first_pattern_that_fits_counts(nano):
    rule = PrecisionRule({"layers.0.*": "w16a16", "layers.*": "w8a16"}, nano)
    assert rule.of("layers.0.mlp") is Precision.W16A16
    assert rule.of("layers.1.mlp") is Precision.W8A16
    assert rule.of("head") is Precision.W8A8
    assert PrecisionRule(None, replace(nano, pe="bf16")).of("head") is Precision.BF16


def test_the_pes_must_be_able_to(nano):
    with pytest.raises(HeddleError, match="the int8 PEs of nano compute in w8a8, w8a16 or w16a16, not bf16"):
        PrecisionRule("bf16", nano)
    with pytest.raises(HeddleError, match=r"the bf16 PEs of nano \(changed\) compute in bf16, not w8a16"):
        PrecisionRule("w8a16", replace(nano, pe="bf16"))
