"""How language models are trained: a loss of the next token, and one with an auxiliary objective beside it.

The loss of masked tokens is `bert_pretraining.PretrainingLoss`. A step of training, with derivatives and the update of
all weights, is what `heddle.Training` makes of any of these.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional


class NextToken(nn.Module):
    """Ids and the token after each, (B, T) int64 → the mean cross entropy (Radford et al., 2018, equation 1)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(self.model(ids).flatten(0, 1), targets.flatten())  # ()


class WithAuxiliary(nn.Module):
    """Ids (1, T), the token after each (1, T) and a class (1), int64 → L2 + λ·L1 (Radford et al., 2018, section 3.2).

    L2 is the loss of the task, read from the last token; L1 that of the language model, on the same text.
    """

    def __init__(self, model: Any, width: int, classes: int, weight: float = 0.5) -> None:
        super().__init__()
        self.model, self.weight = model, weight
        self.task = nn.Linear(width, classes)

    def forward(self, ids: Tensor, targets: Tensor, label: Tensor) -> Tensor:
        x = self.model.features(ids)  # (1, T, W)
        language = functional.cross_entropy(self.model.logits(x).flatten(0, 1), targets.flatten())  # ()
        return functional.cross_entropy(self.task(x[:, -1]), label) + self.weight * language  # ()
