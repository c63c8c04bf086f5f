"""The data set and its split."""

import pytest
import torch
from heddle.models.digits import load_images


def test_the_split_has_540_test_images_and_no_image_twice():
    (train, train_labels), (test, test_labels) = load_images("train"), load_images("test")
    assert train.shape == (1257, 1, 8, 8) and test.shape == (540, 1, 8, 8)
    assert len(train_labels) == 1257 and len(test_labels) == 540
    assert sorted(torch.bincount(torch.cat([train_labels, test_labels])).tolist())[0] == 174
    assert torch.bincount(test_labels).min() > 40


def test_pixels_are_exact_steps_from_minus_one_to_one():
    images, _ = load_images("test")
    assert images.dtype == torch.float32 and images.min() == -1 and images.max() == 1
    assert torch.equal((images + 1) * 8, ((images + 1) * 8).round())


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="split must be 'train' or 'test', not 'all'"):
        load_images("all")
