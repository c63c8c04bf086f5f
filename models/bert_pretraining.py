"""BERT as it is pre-trained and fine-tuned (Devlin et al., 2019, section 3.1, appendix A): padding, two heads, a loss.

A pair of sentences is [CLS] first [SEP] second [SEP] [PAD]…; segments say which is which, and no token attends to
padding. The masked-LM head reads every token through the token embeddings; the next-sentence head reads [CLS].
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from .bert import Bert, BertConfig

PAD, CLS, SEP, MASK = 0, 1, 2, 3  # ids; words begin after them
IGNORED = -100  # the target of a token that was not masked


def pair(first: list[int], second: list[int], tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, segments and truth for what is no padding, each (1, tokens), of two sentences. Raises ValueError where they
    are too long."""
    ids = [CLS, *first, SEP, *second, SEP]
    if len(ids) > tokens:
        raise ValueError(f"two sentences of {len(first)} and {len(second)} words take {len(ids)} tokens, not {tokens}")
    padding = [PAD] * (tokens - len(ids))
    segments = [0] * (len(first) + 2) + [1] * (len(second) + 1)
    seen = [True] * len(ids) + [False] * len(padding)
    return torch.tensor([ids + padding]), torch.tensor([segments + padding]), torch.tensor([seen])


class BertForPretraining(nn.Module):
    """Ids, segments (B, T) int64 and `seen` (B, T) bool → masked-LM logits (B, T, V), next-sentence logits (B, 2)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.bert = Bert(config)
        self.transform = nn.Linear(config.width, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.epsilon)
        self.bias = nn.Parameter(torch.zeros(config.vocabulary))
        self.next_sentence = nn.Linear(config.width, 2)

    def forward(self, ids: Tensor, segments: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        x = self.bert.features(ids, segments, seen)  # (B, T, W)
        words = self.norm(functional.gelu(self.transform(x)))  # (B, T, W)
        words = functional.linear(words, self.bert.embeddings.tokens.weight, self.bias)  # (B, T, V)
        return words, self.next_sentence(self.bert.pooled(x))  # (B, T, V), (B, 2)


class PretrainingLoss(nn.Module):
    """Ids, segments, seen, the words under masks (B, T; IGNORED elsewhere) and whether B follows A (B) → the loss."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.model = BertForPretraining(config)

    def forward(self, ids: Tensor, segments: Tensor, seen: Tensor, words: Tensor, follows: Tensor) -> Tensor:
        logits, next_sentence = self.model(ids, segments, seen)  # (B, T, V), (B, 2)
        masked = functional.cross_entropy(logits.flatten(0, 1), words.flatten(), ignore_index=IGNORED)  # ()
        return masked + functional.cross_entropy(next_sentence, follows)  # ()


class PairClassifier(nn.Module):
    """Ids, segments (B, T) int64 and `seen` (B, T) bool of two sentences → logits (B, classes): read from [CLS]."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.bert = Bert(config)

    def forward(self, ids: Tensor, segments: Tensor, seen: Tensor) -> Tensor:
        x = self.bert.features(ids, segments, seen)  # (B, T, W)
        return self.bert.classifier(self.bert.pooled(x))  # (B, classes)
