"""A machine of one's own: what lanes of VECTOR, SOFTMAX and NORM bring for one model, in cycles."""

from dataclasses import replace

import heddle
import torch
from torch import nn


def main() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 2, 64, batch_first=True, norm_first=True).eval()
    x = torch.randn(1, 16, 32)
    cycles = {}
    for lanes in (1, 2, 4):
        config = replace(heddle.get_config("nano"), name=f"nano-{lanes}", vector_lanes=lanes)
        result = heddle.simulate(heddle.compile(layer, (x,), config), values=False)  # cycles alone
        cycles[lanes] = result.cycles
        print(f"{lanes} lanes: {result.cycles:,} cycles, MATRIX busy {result.busy['matrix'] / result.cycles:.0%}")
    assert cycles[1] > cycles[2] > cycles[4]
    for memory in ("ideal", "DDR4-2400"):
        print(f"behind {memory}: {heddle.simulate(result.program, values=False, dram=memory).cycles:,} cycles")


if __name__ == "__main__":
    main()
