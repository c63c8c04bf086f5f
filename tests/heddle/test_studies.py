"""heddle/studies.py: the figures of the pages in docs/zoo."""

import json

import pytest
from heddle import studies
from heddle.models import sparse


def test_a_layer_of_experts_loads_those_that_are_chosen():
    few, many = (next(iter(studies.experts([count]))) for count in (4, 16))
    assert few["load_bytes"] == many["load_bytes"] and many["all_weights"] == 4 * few["all_weights"]
    assert few["load_bytes"] >= 2 * few["chosen_weights"]


def test_cycles_in_proportion_to_live_blocks():
    exact = studies.proportion(1000 + 128 * 20, 20, 1000 + 128 * 64, 64)
    assert exact["over_proportional"] == 0 and exact["proportional"] == 1000 + 128 * 20
    assert studies.proportion(1000 + 128 * 22, 20, 1000 + 128 * 64, 64)["over_proportional"] == pytest.approx(0.1)


def test_the_attention_of_a_window_follows_its_live_blocks():
    dense, window = studies.sparse([512], ["window"])
    assert dense["over_proportional"] == 0 and window["live_blocks"] == sparse.live_blocks(sparse.window(512))
    assert window["over_proportional"] < 0.1 and window["cycles"] < dense["cycles"]


def test_the_encoder_decoder_answers_as_pytorch_does():
    figures = studies.letters(2)
    assert figures["exact_match"] == figures["exact_match_in_pytorch"] == figures["as_pytorch"] == 2


@pytest.mark.long
def test_two_hundred_held_out_sequences_and_five_on_the_rtl():
    figures = studies.letters(200, rtl=5)
    assert figures["as_pytorch"] == 200 and figures["exact_match"] == figures["exact_match_in_pytorch"]
    assert figures["rtl_runs"] == 60 and not figures["rtl_differences"]


@pytest.mark.long
def test_a_caption_is_that_of_pytorch():
    assert studies.caption()["matches_pytorch"]


@pytest.mark.long
def test_big_bird_is_five_times_sooner_than_everything():
    rows = list(studies.sparse([4096], ["big-bird"]))
    assert rows[1]["times_sooner"] >= 5


def test_a_study_is_printed_and_drawn(monkeypatch, tmp_path, capsys):
    rows = [{"r": 0, "accuracy": 99.0, "accuracy_in_pytorch": 99.1, "cycles": 10}]
    monkeypatch.setitem(studies.STUDIES, "merging", lambda: iter(rows))
    studies.main(["merging", "--plot", str(tmp_path / "plot.png")], standalone_mode=False)
    assert json.loads(capsys.readouterr().out) == rows[0] and (tmp_path / "plot.png").stat().st_size > 1000
