"""The corpus: its alphabet, its cleaning, its split."""

import pytest
from heddle.models import docstrings
from heddle.models.docstrings import ALPHABET, MODULES, SEPARATOR, clean, decode, encode, load_text


def test_the_alphabet_is_newline_and_printable_ascii():
    assert len(ALPHABET) == len(set(ALPHABET)) == 96
    assert ALPHABET[0] == "\n" and all(character.isprintable() and character.isascii() for character in ALPHABET[1:])
    assert encode("\n ~") == [0, 1, 95]


def test_decode_undoes_encode():
    assert decode(encode(ALPHABET)) == ALPHABET
    assert encode("") == [] and decode([]) == ""


@pytest.mark.parametrize("character", ["é", "\t", "\r", "\x7f", "→"])
def test_an_unknown_character_is_named(character):
    with pytest.raises(ValueError, match="character 2 of the text is .*allowed are printable ASCII .* and the newline"):
        encode("ab" + character)


def test_cleaning_keeps_lines_and_indentation():
    assert clean("\n    One  two\tthree. \n\n\n\n      * é four\n    ") == "One two three.\n\n  *  four"


def test_modules_are_distinct():
    assert len(set(MODULES)) == len(MODULES)


def test_a_missing_module_is_named():
    with pytest.raises(FileNotFoundError, match="standard library's module no.such.module is missing"):
        docstrings._source("no.such.module")


def test_the_split_is_of_known_characters_and_does_not_overlap():
    train, test = load_text("train"), load_text("test")
    assert set(train + test) <= set(ALPHABET)
    assert len(train) > 800_000 and 0.05 < len(test) / len(train) < 0.2
    seen, held_out = train.split(SEPARATOR)[:-1], test.split(SEPARATOR)[:-1]
    assert not set(seen) & set(held_out)
    assert len(set(seen)) == len(seen) and len(set(held_out)) == len(held_out)
    assert all(text and text == text.strip("\n") for text in seen + held_out)


def test_the_split_has_a_name():
    with pytest.raises(ValueError, match="split must be 'train' or 'test', not 'all'"):
        load_text("all")
