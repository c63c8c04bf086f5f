"""Words that are shared by a batch until they differ."""

import numpy as np
import pytest
from heddle.arch.errors import HeddleError
from heddle.sim.state import Words, in_words


def words(batch=3, **options):
    return Words(16, (2,), np.int8, batch, **options)


def test_what_is_the_same_for_all_inputs_is_kept_once():
    memory = words()
    data = np.arange(8, dtype=np.int8).reshape(1, 2, 2, 2)
    memory.write(4, 3, data)  # words 4, 5 and 7, 8
    assert np.array_equal(memory.read(4, 3, 2, 2), data)
    assert memory.read(0, 0, 1, 16).shape == (1, 1, 16, 2)
    assert memory.read(6, 0, 1, 1).tolist() == [[[[0, 0]]]]


def test_reading_across_shared_and_differing_words_gives_each_its_own():
    memory = words()
    memory.write(0, 0, np.full((1, 1, 16, 2), 9, np.int8))
    own = np.arange(6, dtype=np.int8).reshape(3, 1, 1, 2)
    memory.write(5, 0, own)
    assert np.array_equal(memory.read(5, 0, 1, 1), own)
    mixed = memory.read(4, 1, 2, 2)  # words 4, 5 and 5, 6
    assert mixed.shape == (3, 2, 2, 2)
    assert np.array_equal(mixed[:, 0, 1], own[:, 0, 0]) and np.array_equal(mixed[:, 1, 0], own[:, 0, 0])
    assert (mixed[:, 0, 0] == 9).all() and (mixed[:, 1, 1] == 9).all()
    assert np.array_equal(memory.gather(np.array([[4, 5]]))[:, 1], own[:, 0, 0])


def test_words_written_alike_again_are_shared_again():
    memory = words()
    memory.write(5, 0, np.ones((3, 1, 1, 2), np.int8))
    memory.write(5, 0, np.full((1, 1, 1, 2), 7, np.int8))
    assert memory.read(5, 0, 1, 1).tolist() == [[[[7, 7]]]]


def test_a_base_is_never_written():
    base = np.zeros((16, 2), np.int8)
    base.setflags(write=False)
    memory = words(base=base, window=(4, 10))
    memory.write(4, 0, np.full((1, 1, 3, 2), 5, np.int8))
    assert not base.any()
    found = memory.read(0, 0, 1, 16)
    assert (found[:, 0, 4:7] == 5).all() and found.sum() == 3 * 6 * 5


def test_the_last_of_overlapping_blocks_stays():
    memory = words(batch=1)
    memory.write(0, 1, np.arange(4, dtype=np.int8).repeat(2).reshape(1, 2, 2, 2))  # blocks (0, 1) and (2, 3) at 0 and 1
    assert memory.read(0, 0, 1, 3)[0, 0, :, 0].tolist() == [0, 2, 3]
    memory.write(4, 0, np.arange(8, dtype=np.int8).repeat(2).reshape(1, 4, 2, 2))  # all blocks at 4
    assert memory.read(4, 0, 1, 3)[0, 0, :, 0].tolist() == [6, 7, 0]


def test_parts_of_words_keep_the_rest():
    memory = words()
    memory.write(2, 0, np.full((1, 1, 2, 2), 4, np.int8))
    memory.part(2, 2, 1)[..., 0] = 5
    assert memory.read(2, 0, 1, 2).tolist() == [[[[5, 4], [5, 4]]]]
    memory.part(2, 1, 3)[..., 1] = np.array([[1], [2], [3]])
    assert memory.read(2, 0, 1, 2)[:, 0].tolist() == [[[5, n], [5, 4]] for n in (1, 2, 3)]
    memory.part(3, 1, 1)[..., 0] = 6  # shared, beside a word that differs
    assert memory.read(2, 0, 1, 2)[:, 0].tolist() == [[[5, n], [6, 4]] for n in (1, 2, 3)]


@pytest.mark.parametrize("region", [(15, 0, 1, 2), (0, 8, 3, 1), (-1, 0, 1, 1)])
def test_nothing_beyond_a_memory_is_touched(region):
    with pytest.raises(HeddleError, match="the memory has 16"):
        words().read(*region)


def test_rows_fill_whole_words_with_zeros():
    panel = np.ones((2, 3, 5), np.int8)
    filled = in_words(panel, 4)
    assert filled.shape == (2, 3, 2, 4)
    assert filled[..., 1, 1:].sum() == 0 and filled.sum() == panel.sum()
