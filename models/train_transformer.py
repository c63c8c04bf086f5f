"""Trains the encoder–decoder that ships in models/weights: `python -m heddle.models.train_transformer` (minutes).

It learns to reverse and to sort ten letters, from sequences that are drawn anew in each step.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from .letters import START, held_out, sequences
from .transformer import Transformer, TransformerConfig

WEIGHTS = Path(__file__).parent / "weights" / "transformer-letters.safetensors"
SEED = 0
STEPS = 5000
BATCH = 128
LEARNING_RATE = 2e-3


def targets(answers: Tensor) -> Tensor:
    """What the decoder reads: START, then all of the answer but its last (N, T)."""
    return torch.cat([torch.full((len(answers), 1), START), answers[:, :-1]], 1)


def train(steps: int = STEPS, seed: int = SEED) -> Transformer:
    """A trained model in evaluation mode: AdamW and one learning-rate cycle.

    On one thread, so that the sums come in the same order on any machine with this torch.
    """
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = Transformer(TransformerConfig())
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        sources, answers = sequences(BATCH, step)
        logits = model(sources, targets(answers))  # (B, T, V)
        loss = functional.cross_entropy(logits.flatten(0, 1), answers.flatten())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 500 == 499:
            print(f"step {step + 1} of {steps}: loss {loss.item():.4f}", flush=True)
    return model.eval()


def trained() -> Transformer:
    """The model with the weights that ship, in evaluation mode. Raises FileNotFoundError where there are none."""
    if not WEIGHTS.is_file():
        raise FileNotFoundError(f"{WEIGHTS} is missing: make it with python -m heddle.models.train_transformer")
    model = Transformer(TransformerConfig())
    model.load_state_dict({name: each.float() for name, each in load_file(WEIGHTS).items()})
    return model.eval()


@torch.no_grad()
def answers(model: nn.Module, sources: Tensor, tokens: int) -> Tensor:
    """The likeliest tokens after START, one by one, (N, tokens)."""
    ids = torch.full((len(sources), 1), START)
    for _ in range(tokens):
        ids = torch.cat([ids, model(sources, ids)[:, -1:].argmax(-1)], 1)
    return ids[:, 1:]


def main() -> None:
    """Train, write the weights in float16, print how many held-out answers are right with what was written."""
    save_file({name: each.half() for name, each in train().state_dict().items()}, WEIGHTS)
    sources, expected = held_out()
    found = answers(trained(), sources, expected.shape[1])
    print(f"exact match on {len(sources)} held-out sequences: {100 * (found == expected).all(1).double().mean():.1f} %")
    print(f"wrote {WEIGHTS} ({WEIGHTS.stat().st_size / 1e6:.2f} MB)")


if __name__ == "__main__":
    main()
