"""Patches, [CLS] and positions."""

import pytest
import torch
from heddle.compiler.builder import Tiling
from torch import nn


class Patches(nn.Module):
    def __init__(self, channels=2, width=9, size=2, cls=1, positions=True, bias=True):
        super().__init__()
        self.convolution = nn.Conv2d(channels, width, size, stride=size, bias=bias)
        self.cls = nn.Parameter(torch.randn(1, cls, width))
        self.positions = nn.Parameter(torch.randn(1, 12 + cls, width) if positions else torch.zeros(1, 1, width))

    def forward(self, images):
        x = self.convolution(images).flatten(2).transpose(1, 2)
        return torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1) + self.positions


@pytest.mark.parametrize(
    ("options", "parts"),
    [({}, 1), ({"channels": 1, "bias": False}, 3), ({"cls": 3}, 3), ({"positions": False}, 2), ({"cls": 5}, 3)],
)
def test_it_is_close_to_pytorch(run, odd, options, parts):
    model = Patches(**options)
    found = run(model, odd, torch.randn(3, options.get("channels", 2), 6, 8), tiling=Tiling(parts))
    assert found.sqnr_db > 40


def test_positions_can_come_before_cls(run, nano):
    class Before(Patches):
        def forward(self, images):
            x = self.convolution(images).permute(0, 2, 3, 1).reshape(len(images), 12, -1) + self.positions[:, 1:]
            return torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1)

    assert run(Before(), nano, torch.randn(2, 2, 6, 8)).sqnr_db > 40


def test_patches_alone_will_do(run, nano):
    class Alone(Patches):
        def forward(self, images):
            return self.convolution(images).flatten(2).transpose(1, 2)

    found = run(Alone(size=4), nano, torch.randn(2, 2, 8, 8))
    assert found.sqnr_db > 40
    tensor = found.program.inputs()[0]
    assert (tensor.name, tensor.shape, tensor.patch) == ("images", (2, 8, 8), 4)


def test_patches_that_two_layers_read(run, nano):
    class Both(Patches):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(8, 5), nn.Linear(8, 5)

        def forward(self, images):
            patches = images.unfold(2, 2, 2).unfold(3, 2, 2).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
            return self.first(patches) * self.second(patches)

    assert run(Both(), nano, torch.randn(1, 2, 6, 8)).sqnr_db > 30


def test_an_image_that_is_read_twice(run, nano):
    class Twice(Patches):
        def forward(self, images):
            return super().forward(images) + super().forward(images)

    assert run(Twice(), nano, torch.randn(1, 2, 6, 8)).sqnr_db > 30
