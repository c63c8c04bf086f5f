"""Trains the digits ViT that ships in models/weights: `python -m heddle.models.train_vit` (about a minute on one core).

Label smoothing keeps the logits small, and shifted and noisy copies of the images keep 1,257 of them from being learned
by heart; both also leave a model that loses little to 8-bit codes.
"""

import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from .digits import load_images
from .vit import Vit, VitConfig

WEIGHTS = Path(__file__).parent / "weights" / "digits-vit.safetensors"
SEED = 0
EPOCHS = 100
BATCH = 64
LEARNING_RATE = 2e-3
SHIFTED = 0.5  # share of training images moved by up to one pixel each way
NOISE = 0.1  # standard deviation added to pixels in [−1, 1]


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Noisy copies of images (B, 1, 8, 8); SHIFTED of them moved by −1, 0 or 1 pixels, blank where nothing was."""
    count, _, height, width = images.shape
    padded = functional.pad(images, (1, 1, 1, 1), value=-1.0)  # (B, 1, 10, 10)
    down, right = torch.randint(0, 3, (2, count), generator=generator)
    stay = torch.rand(count, generator=generator) >= SHIFTED
    down, right = down.masked_fill(stay, 1), right.masked_fill(stay, 1)
    rows = (down[:, None] + torch.arange(height))[:, None, :, None]  # (B, 1, 8, 1)
    columns = (right[:, None] + torch.arange(width))[:, None, None, :]  # (B, 1, 1, 8)
    moved = padded[torch.arange(count)[:, None, None, None], 0, rows, columns]  # (B, 1, 8, 8)
    return moved + NOISE * torch.randn(moved.shape, generator=generator)


def train(epochs: int = EPOCHS, seed: int = SEED) -> Vit:
    """A trained model in evaluation mode: AdamW, one learning-rate cycle, label smoothing.

    On one thread, so that the sums come in the same order on any machine with this torch.
    """
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    images, labels = load_images("train")
    model = Vit(VitConfig())
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.05, betas=(0.9, 0.98))
    steps = epochs * math.ceil(len(images) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    for _ in range(epochs):
        for chosen in torch.randperm(len(images), generator=generator).split(BATCH):
            logits = model(augment(images[chosen], generator))  # (B, 10)
            loss = functional.cross_entropy(logits, labels[chosen], label_smoothing=0.1)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
    return model.eval()


def accuracy(model: Vit, split: str) -> float:
    """Percentage of the images of `split` that the model names rightly."""
    images, labels = load_images(split)
    with torch.no_grad():
        return 100 * (model(images).argmax(1) == labels).double().mean().item()


def main() -> None:
    """Train, print the accuracy, write the weights."""
    model = train()
    for split in ("train", "test"):
        print(f"accuracy on the {split} split: {accuracy(model, split):.2f} %")
    WEIGHTS.parent.mkdir(exist_ok=True)
    save_file(model.state_dict(), WEIGHTS)
    print(f"wrote {WEIGHTS} ({WEIGHTS.stat().st_size / 1e6:.2f} MB)")


if __name__ == "__main__":
    main()
