"""Trains a language model that ships in models/weights: `python -m heddle.models.train_text gpt2` (or llama, deepseek).

About ten minutes each on one core. Weight decay on every matrix and small initial weights are there to keep activations
without outliers, for 8-bit codes. Most steps see many short windows: in the same time, that taught more than few long
ones.
"""

import argparse
import math

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from .docstrings import encode, load_text
from .text import LANGUAGE_MODELS, LanguageModel

SEED = 0
STEPS = 3500
BATCH_CHARACTERS = 1024
SHORT_WINDOW = 64  # characters
SHORT_SHARE = 0.6  # of the steps, the first, see windows of SHORT_WINDOW; the others see windows of the whole context
LEARNING_RATE = 4e-3
WEIGHT_DECAY = 0.1
DEVIATION = 0.06  # of initial weights


def initialise(model: nn.Module) -> None:
    """Matrices from a normal distribution; those that end a residual branch smaller with depth (GPT-2, section 2.3)."""
    branches = 2 * len(model.get_submodule("layers")._modules)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            ends_branch = name.split(".")[-2] in ("output", "down")
            nn.init.normal_(parameter, std=DEVIATION / math.sqrt(branches) if ends_branch else DEVIATION)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)


def load_ids(split: str) -> Tensor:
    """The text of `split` as ids (N)."""
    return torch.tensor(encode(load_text(split)))


def loss_of(model: nn.Module, windows: Tensor) -> Tensor:
    """Mean cross entropy, in nats, of each character after the first of windows (B, T + 1)."""
    logits = model(windows[:, :-1])  # (B, T, V)
    return functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())


def train(language_model: LanguageModel, steps: int = STEPS, seed: int = SEED) -> nn.Module:
    """A trained model in evaluation mode: AdamW and one learning-rate cycle over windows drawn at random.

    On one thread, so that the sums come in the same order on any machine with this torch.
    """
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    ids, context = load_ids("train"), language_model.context  # (N)
    model = language_model.architecture(language_model.config)
    initialise(model)
    matrices = [parameter for parameter in model.parameters() if parameter.dim() == 2]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() != 2]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.99), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        length = min(SHORT_WINDOW, context) if step < SHORT_SHARE * steps else context
        windows = ids.unfold(0, length + 1, 1)  # (N − T, T + 1), a view
        chosen = torch.randint(len(windows), (BATCH_CHARACTERS // length,), generator=generator)
        loss = loss_of(model, windows[chosen])
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1} of {steps}: loss {loss.item():.3f}", flush=True)
    return model.eval()


@torch.no_grad()
def evaluate(model: nn.Module, ids: Tensor, context: int) -> float:
    """Mean cross entropy, in nats, over ids (N) in windows of `context` characters, each read from an empty context."""
    count = (len(ids) - 1) // context
    starts = torch.arange(count) * context
    windows = ids[starts[:, None] + torch.arange(context + 1)]  # (count, context + 1)
    losses = [loss_of(model, part).item() * len(part) for part in windows.split(16)]
    return sum(losses) / count


def main() -> None:
    """Train, write the weights in float16, print how well what was written predicts."""
    parser = argparse.ArgumentParser(description="Train a language model on the standard library's docstrings.")
    parser.add_argument("name", choices=LANGUAGE_MODELS)
    language_model = LANGUAGE_MODELS[parser.parse_args().name]
    trained = train(language_model)
    path = language_model.weights
    path.parent.mkdir(exist_ok=True)
    save_file({name: tensor.half() for name, tensor in trained.state_dict().items()}, path)
    print(f"wrote {path} ({path.stat().st_size / 1e6:.2f} MB)")
    model = language_model.model()
    test = load_ids("test")
    for split, ids in ("train", load_ids("train")[: len(test)]), ("test", test):
        loss = evaluate(model, ids, language_model.context)
        print(f"{split} split, {len(ids)} characters: loss {loss:.4f}, perplexity per character {math.exp(loss):.3f}")


if __name__ == "__main__":
    main()
