"""A model of one's own: from PyTorch to cycles, and how far the numbers are from PyTorch's."""

import heddle
import torch
from torch import nn
from torch.nn import functional


class Reader(nn.Module):
    """To which of four kinds a sequence of 16 vectors belongs."""

    def __init__(self, width: int = 32, heads: int = 2) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.head = nn.Linear(width, 4)

    def forward(self, x):  # (1, 16, width)
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        x = x + self.down(functional.gelu(self.up(x)))
        return self.head(x.mean(1))  # (1, 4)


def main() -> None:
    torch.manual_seed(0)
    model, x = Reader().eval(), torch.randn(1, 16, 32)
    for precision in ("w8a8", "w16a16"):
        program = heddle.compile(model, (x,), "nano", precision=precision)
        result = heddle.simulate(program, {"x": x[0].numpy()})
        error = abs(result.outputs["output"] - model(x).detach().numpy()).max()
        print(f"{precision}: {result.cycles:,} cycles, {result.mac_utilisation:.0%} of the array, error {error:.4f}")
        assert error < 0.01


if __name__ == "__main__":
    main()
