"""The vision transformer and its weights."""

import pytest
import torch
from heddle.models.digits import load_images
from heddle.models.registry import WEIGHTS, WORKLOADS
from heddle.models.train_vit import SHIFTED, accuracy, augment, train
from heddle.models.vit import Vit, VitConfig
from torch.nn import functional


def test_shapes_follow_the_configuration():
    model = Vit(VitConfig(image_size=6, channels=3, patch_size=3, width=12, depth=2, heads=3, classes=7))
    assert model(torch.zeros(5, 3, 6, 6)).shape == (5, 7)
    assert model.positions.shape == (1, 5, 12)


def test_every_patch_and_cls_reach_the_logits():
    torch.manual_seed(0)
    model = Vit(VitConfig(depth=1))
    images = torch.zeros(1, 1, 8, 8, requires_grad=True)
    model(images).square().sum().backward()
    assert images.grad is not None and (images.grad != 0).all()
    assert model.cls_token.grad is not None and (model.positions.grad != 0).any(dim=-1).all()


def test_the_shipped_weights_are_small_and_good():
    assert (WEIGHTS / "digits-vit.safetensors").stat().st_size < 1_000_000
    assert accuracy(WORKLOADS["digits-vit"].model(), "test") >= 97


@pytest.fixture
def threads():
    """Training leaves torch on one thread."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_training_is_repeatable_and_learns(threads):
    first, second = train(epochs=1), train(epochs=1)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    images, labels = load_images("train")
    torch.manual_seed(0)
    with torch.no_grad():
        before, after = (functional.cross_entropy(model(images), labels) for model in (Vit(VitConfig()), first))
    assert after < before and not first.training


def test_augmented_images_are_shifted_by_at_most_a_pixel():
    image = torch.full((200, 1, 8, 8), -1.0)
    image[:, :, 4, 4] = 1.0
    moved = augment(image, torch.Generator().manual_seed(0))
    brightest = moved.flatten(1).argmax(1)
    rows, columns = brightest // 8, brightest % 8
    assert (rows - 4).abs().max() == 1 and (columns - 4).abs().max() == 1
    stayed = ((rows == 4) & (columns == 4)).double().mean().item()
    assert stayed == pytest.approx(1 - SHIFTED * 8 / 9, abs=0.1)


def test_augmentation_does_not_change_its_input():
    images, _ = load_images("train")
    before = images[:4].clone()
    augment(images[:4], torch.Generator().manual_seed(0))
    assert torch.equal(images[:4], before)
