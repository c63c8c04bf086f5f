"""arch/fixed_functions.py is what the maker of tables makes."""

from pathlib import Path

import heddle.arch.fixed_functions as written
import pytest
from heddle.compiler.fixed_functions import FIXED, text
from heddle.compiler.functions import named


def test_the_file_is_what_the_maker_makes():
    assert Path(written.__file__).read_text(encoding="utf-8") == text()


@pytest.mark.parametrize("name, function", FIXED.items())
def test_each_is_the_table_of_its_function(name, function):
    assert getattr(written, name) == named(function)
