"""Panels, chunks, buffers and constants."""

import numpy as np
import pytest
from heddle.arch.config import Memory
from heddle.arch.errors import HeddleError
from heddle.compiler.builder import Rows, Tiles, Tiling, split_rows
from heddle.compiler.graph import Node
from heddle.compiler.tasks import Buffer


@pytest.mark.parametrize("rows", [1, 4, 5, 10, 17, 31, 64, 97])
@pytest.mark.parametrize("parts", [1, 2, 3, 8])
@pytest.mark.parametrize("longest", [4, 8, 32])
def test_panels_cover_all_rows_and_start_at_whole_words(rows, parts, longest):
    panels = split_rows(rows, parts, longest, 4)
    assert [row for start, count in panels for row in range(start, start + count)] == list(range(rows))
    assert all(count <= longest and start % 4 == 0 for start, count in panels)


def test_panels_by_hand():
    assert split_rows(17, 1, 64, 8) == [(0, 17)]
    assert split_rows(17, 2, 64, 8) == [(0, 8), (8, 9)]
    assert split_rows(10, 2, 32, 4) == [(0, 4), (4, 6)]
    assert split_rows(8, 1, 3, 4) == [(0, 3), (3, 3), (6, 2)]  # shorter than a word: nothing to align


def test_rows_are_found_by_number():
    first, second = Buffer("a", Memory.VALUE, 24, 100), Buffer("b", Memory.VALUE, 30, 200)
    rows = Rows(columns=9, words=3, pieces=[(0, 8, first, 0), (8, 9, second, 3)])
    assert rows.place(2, 6) == (106, 3)
    assert rows.place(8, 9) == (203, 3)
    with pytest.raises(AssertionError, match="not in one buffer"):
        rows.place(7, 2)
    part = rows.part(10, 2)
    assert part is not None and part.place(1, 1) == (212, 3)
    assert rows.part(7, 2) is None


def test_a_buffer_larger_than_its_memory_is_refused(nano):
    tiles = Tiles(nano, Tiling(), nano.panel_rows)
    tiles.node = Node("up", "linear", [], (1, 1), layer="mlp.up")
    with pytest.raises(HeddleError, match="mlp.up: sums needs 2049 words of ACC, but nano has 2048: choose a larger"):
        tiles.buffer(Memory.ACC, 2049, "sums")


def test_constants_are_aligned_to_bursts_and_named_once(nano):
    tiles = Tiles(nano, Tiling(), nano.panel_rows)
    first = tiles.constant_rows("w", np.ones((3, 6), np.float32))
    second = tiles.constant_rows("w", np.ones((1, 4), np.int8), Memory.WEIGHT)
    assert (first.name, second.name) == ("w", "w_2")
    assert (first.row_bytes, first.address, second.address) == (16, 0, 64)
    assert [len(content()) for _, content in tiles.data] == [48, 4]


def test_parameters_are_float_pairs_padded_to_dram_words(odd):
    tiles = Tiles(odd, Tiling(), odd.panel_rows)
    tiles.load_pairs("bias", np.arange(20, dtype=np.float32).reshape(2, 5, 2))
    (_, content), (task,) = tiles.data[0], tiles.tasks
    words = np.frombuffer(content(), "<f4").reshape(2, 16)  # 40 bytes in 64
    np.testing.assert_array_equal(words[:, :10], np.arange(20).reshape(2, 10))
    assert not words[:, 10:].any()
    assert task.instruction.words == 2 and str(task).endswith("; program: parameters")
