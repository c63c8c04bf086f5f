"""Pictures: what they name, and colours that can be told apart."""

from itertools import combinations

import numpy as np
import pytest
from heddle.arch.config import Unit, get_config
from heddle.arch.isa import Halt, Load, Map, Matmul, Norm, Source
from heddle.arch.program import Program
from heddle.sim import roofline as rooflines
from heddle.sim.machine import simulate
from heddle.sim.picture import COLOURS
from heddle.sim.roofline import Point, Roofline, roofline_figure
from heddle.sim.timeline import COLOURS as KINDS
from heddle.sim.timeline import timeline
from matplotlib.colors import to_rgb


@pytest.fixture
def result():
    values = {"rows": 32, "columns": 4, "source_stride": 1, "stride": 1}
    instructions = (
        Load(words=8, signal=1 << Unit.MATRIX), Matmul(rows=8, act_stride=1, acc_stride=1, wait=1 << Unit.LOAD,
               signal=1 << Unit.NORM),
        Norm(**values, address=1024, wait=1 << Unit.MATRIX, signal=1 << Unit.VECTOR),
        Map(source=Source.VALUE, **values, source_address=512, address=1536, wait=1 << Unit.NORM), Halt(),
    )  # fmt: skip
    labels = "layers.0.up: weights", "layers.0.up", "layers.1.norm", "layers.1.add", "end"
    program = Program(get_config("nano"), instructions, 4096, labels=labels)
    return simulate(program, values=False)


def drawn(result, labels):
    return timeline(result.trace, result.program.instructions, "title", labels)


def test_the_legend_of_a_timeline_has_what_is_in_it(result):
    (legend,) = drawn(result, ()).legends
    assert [each.get_text() for each in legend.get_texts()] == ["load", "matmul", "map", "norm"]


def test_layers_are_bands_with_names(result):
    (axes,) = drawn(result, result.program.labels).axes
    assert [each.get_text() for each in axes.texts] == ["0", "layers.1"]  # the first is too narrow for its whole name
    assert not drawn(result, ()).axes[0].texts
    assert "cycles" in axes.get_xlabel()


@pytest.mark.parametrize("colours", [COLOURS, list(KINDS.values())])
def test_colours_can_be_told_apart(colours):
    for one, other in combinations(colours, 2):
        assert np.linalg.norm(np.subtract(to_rgb(one), to_rgb(other))) > 0.25, (one, other)
        assert np.linalg.norm(np.subtract(to_rgb(one), (1, 1, 1))) > 0.4


def test_points_of_a_roofline_are_named(monkeypatch):
    points = [Point(f"operator {n}", 100 - n, 10, 10, 2.0 + n, 1.0 + n, 16.0) for n in range(5)]
    whole = Point("whole run", 100, 10, 20, 3, 2, 16)
    figure = roofline_figure(Roofline("title", 16, 4.0, whole, points))
    named = [each.get_text() for each in figure.legends[0].get_texts()]
    assert named[2:] == [*(f"{n + 1}  operator {n}: {(1 + n) / 16:.0%} of its roof" for n in range(5)),
                         "whole run: 12% of its roof"]  # fmt: skip
    (axes,) = figure.axes
    assert [each.get_text() for each in axes.texts] == ["1", "2", "3", "4", "5"]
    assert "per byte" in axes.get_xlabel() and "per cycle" in axes.get_ylabel()
    monkeypatch.setattr(rooflines, "NAMED", 3)
    named = [each.get_text() for each in roofline_figure(Roofline("", 16, 4.0, None, points)).legends[0].get_texts()]
    assert named[-1] == "2 others, each with less work" and len(named) == 2 + 3 + 1
