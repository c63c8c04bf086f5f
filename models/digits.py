"""The handwritten digits that come with scikit-learn: 1,797 images of 8 × 8 pixels, split once and for all."""

import numpy as np
import torch
from torch import Tensor

TEST_IMAGES = 540
SPLIT_SEED = 0


def load_images(split: str) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 8, 8) float32 in [−1, 1] and labels (N) of "train" (1,257 images) or "test" (540).

    The images in the order of `RandomState(SPLIT_SEED).permutation` (a generator that numpy keeps for ever): the first
    TEST_IMAGES are the test split, the others the training split.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', not {split!r}")
    from sklearn.datasets import load_digits  # brings all of scikit-learn, 70 MB: only where digits are wanted

    pixels, labels = load_digits(return_X_y=True)  # (1797, 64) from 0 to 16, (1797)
    order = np.random.RandomState(SPLIT_SEED).permutation(len(labels))
    chosen = order[:TEST_IMAGES] if split == "test" else order[TEST_IMAGES:]
    images = torch.tensor(pixels[chosen], dtype=torch.float32).reshape(-1, 1, 8, 8)
    return images / 8 - 1, torch.tensor(labels[chosen])
