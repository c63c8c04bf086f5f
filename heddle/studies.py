"""Studies of the zoo, each a table that a page of docs/zoo shows: `python -m heddle.studies NAME [--plot FILE]`.

letters  the trained encoder–decoder answers held-out sequences token by token, from both caches
sparse   cycles of an attention layer against the blocks that its pattern has in sight
merging  accuracy and cycles of the trained digits ViT against the tokens that each layer joins
caption  LLaVA tells of an image token by token, and PyTorch does
lengths  cycles of a ViT with and without merging, for more and more tokens
experts  bytes that a layer of experts loads, against all its weights
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import heddle
import numpy as np
import torch
from heddle.layers import write_picture

Rows = list[dict[str, Any]]


def models(name: str) -> Any:
    """A module of models."""
    return import_module(f"heddle.models.{name}")


def letters(count: int = 200, rtl: int = 0, config: str = "small", precision: str = "w16a16") -> dict[str, Any]:
    """How many of `count` held-out answers are right, here and in PyTorch, how many are the same, and the cycles of a
    source and of a token. The first `rtl` go through the RTL too."""
    task, training = models("letters"), models("train_transformer")
    sources, expected = task.held_out(count)
    model = training.trained()
    theirs = training.answers(model, sources, expected.shape[1])
    options = {"source": {"source": sources[:1]}, "precision": precision}
    session = heddle.Session(model, heddle.get_config(config), heddle.CachePlan(16), chunk=1, options=options)
    found = []
    for number, source in enumerate(sources):
        session.engine = "verilator" if number < rtl else None
        session.encode(source=source[None].numpy())
        ids = [task.START]
        for _ in range(expected.shape[1]):
            ids.append(int(session.step(ids[-1:]).next[-1]))
        found.append(ids[1:])
    ours = torch.tensor(found)
    compared = [run.comparison for run in session.runs if run.comparison]
    return {
        "inputs": count, "exact_match": int((ours == expected).all(1).sum()),
        "exact_match_in_pytorch": int((theirs == expected).all(1).sum()),
        "as_pytorch": int((ours == theirs).all(1).sum()), "source_cycles": session.runs[0].cycles,
        "token_cycles": session.runs[-1].cycles, "rtl_runs": len(compared),
        "rtl_differences": sum(each.different_bytes + each.different_cycles for each in compared),
    }  # fmt: skip


def caption(tokens: int = 8, config: str = "small", precision: str = "w16a16", seed: int = 3) -> dict[str, Any]:
    """The greedy text after a prompt of 3 ids on an image, here and in PyTorch. One program, for all tokens: those that
    are not there yet are hidden by causality. Weights are from a seed, spread so that no two logits are near."""
    module = models("llava")
    torch.manual_seed(seed)
    model = module.Llava(module.LlavaConfig()).eval()
    for each in model.parameters():
        if each.ndim > 1:
            torch.nn.init.normal_(each, std=0.3)
    image, prompt = torch.randn(1, 1, 8, 8), [5, 9, 2]
    ids = torch.zeros(1, len(prompt) + tokens - 1, dtype=torch.int64)
    program = heddle.compile(model, (image, ids), config, name="llava", precision=precision)
    takes, ours, theirs, margin = program.takes(), list(prompt), list(prompt), float("inf")
    for _ in range(tokens):
        ids[0, : len(ours)] = torch.tensor(ours)
        given = {"images": image.numpy().reshape(takes["images"]), "ids": ids.numpy().reshape(takes["ids"])}
        result = heddle.simulate(program, given)
        logits = next(iter(result.outputs.values())).reshape(ids.shape[1], -1)[len(ours) - 1]
        ours.append(int(logits.argmax()))
        with torch.no_grad():
            best = model(image, torch.tensor([theirs]))[0, -1].topk(2)
        theirs.append(int(best.indices[0]))
        margin = min(margin, float(best.values[0] - best.values[1]))
    return {"prompt": prompt, "ours": ours[3:], "in_pytorch": theirs[3:], "matches_pytorch": ours == theirs,
            "least_margin": margin, "cycles": result.cycles}  # fmt: skip


def sparse(tokens: Sequence[int] = (1024, 4096), patterns: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Of a layer with one head of 64 features on `base`: live blocks of 16 × 16 and cycles.

    proportional       what the layer takes without a mask, less BLOCK_CYCLES for each block that is not live
    over_proportional  by how much the part of the attention is more than BLOCK_CYCLES for each live block
    """
    module, config = models("sparse"), heddle.get_config("base")
    for count in tokens:
        whole, blocks = 0, (count // 16) ** 2
        for name in ["dense", *(patterns or [each for each in module.PATTERNS if each != "dense"])]:
            mask = module.PATTERNS[name](count)
            layer = module.SparseAttention(mask).eval() if name != "dense" else _without_mask(module, count)
            program = heddle.compile(layer, (torch.zeros(1, count, 64),), config, name=f"{name}-{count}")
            cycles, live = heddle.simulate(program, values=False).cycles, module.live_blocks(mask)
            whole = whole or cycles
            yield {"tokens": count, "pattern": name, "live_blocks": live, "cycles": cycles,
                   **proportion(cycles, live, whole, blocks)}  # fmt: skip


BLOCK_CYCLES = 2 * 64  # of scores and of P·V for 16 × 16 tokens: 64 features, 16 × 16 PEs


def proportion(cycles: int, live: int, whole: int, blocks: int) -> dict[str, float]:
    """How the cycles of a layer follow its live blocks: see `sparse`."""
    rest = whole - BLOCK_CYCLES * blocks  # projections, and what begins and ends
    attention = BLOCK_CYCLES * live
    return {"times_sooner": whole / cycles, "proportional": rest + attention,
            "over_proportional": (cycles - rest) / attention - 1}  # fmt: skip


def _without_mask(module: Any, tokens: int) -> Any:
    layer = module.SparseAttention(module.dense(tokens)).eval()
    layer.mask = None
    return layer


def merging(most: int = 4, count: int = 540) -> Iterator[dict[str, Any]]:
    """The digits ViT with r tokens joined in each of its three layers, on `small` at w8a8."""
    workload, merged = heddle.WORKLOADS["digits-vit"], models("token_merging").MergingVit
    samples = workload.load(count)
    images = torch.from_numpy(samples.inputs["images"])
    for r in range(most + 1):
        model = merged(workload.model(), r).eval()
        program = heddle.compile(model, (images[:1],), "small", name=f"merging-{r}", precision="w8a8")
        result = heddle.simulate(program, {"images": samples.inputs["images"]})
        ours = next(iter(result.outputs.values())).reshape(count, -1).argmax(-1)
        with torch.no_grad():
            theirs = model(images).argmax(-1).numpy()
        right = 100 * np.array([(each == samples.labels).mean() for each in (theirs, ours)])
        yield {"r": r, "tokens": 17 - 3 * r, "accuracy_in_pytorch": float(right[0]), "accuracy": float(right[1]),
               "cycles": heddle.simulate(program, values=False).cycles}  # fmt: skip


def lengths(sides: Sequence[int] = (16, 22), width: int = 128) -> Iterator[dict[str, Any]]:
    """Two layers of a ViT over images of so many pixels a side, patches of 2 × 2, on `base`: cycles without merging,
    and where each layer joins an eighth of the tokens."""
    vit, merged, config = models("vit"), models("token_merging").MergingVit, heddle.get_config("base")
    for side in sides:
        shape = vit.VitConfig(image_size=side, width=width, depth=2, heads=2)
        image, tokens = torch.zeros(1, 1, side, side), 1 + shape.patches
        programs = [heddle.compile(merged(vit.Vit(shape), r).eval(), (image,), config) for r in (0, tokens // 8)]
        without, cycles = (heddle.simulate(each, values=False).cycles for each in programs)
        yield {"tokens": tokens, "r": tokens // 8, "cycles_without": without, "cycles": cycles}


def experts(counts: Sequence[int] = (4, 8, 16, 32)) -> Iterator[dict[str, Any]]:
    """Bytes that LOAD moves for a token in a layer of so many experts, of which two are chosen; what their weights take
    and what those of all do."""
    module, config = models("experts"), heddle.get_config("base")
    for sigmoid in (False, True):
        for count in counts:
            shape = module.ExpertsConfig(64, 128, count, shared=int(sigmoid), sigmoid=sigmoid)
            layer = module.Experts(shape).eval()
            program = heddle.compile(layer, (torch.zeros(1, 1, 64),), config)
            one = 3 * shape.width * shape.hidden
            yield {"router": "sigmoid" if sigmoid else "softmax", "experts": count, "chosen": shape.chosen,
                   "load_bytes": heddle.simulate(program, values=False).bytes["load"],
                   "chosen_weights": shape.chosen * one, "all_weights": count * one}  # fmt: skip


STUDIES = {
    "letters": lambda: [letters(rtl=5)],
    "caption": lambda: [caption()],
    "sparse": sparse,
    "merging": merging,
    "lengths": lengths,
    "experts": experts,
}


def draw(path: Path, name: str, rows: Rows) -> None:
    """A picture of `sparse` (cycles against live blocks) or `merging` (accuracy and cycles against r)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    if name == "sparse":
        for place, tokens in zip(axes, sorted({row["tokens"] for row in rows}), strict=False):
            some = [row for row in rows if row["tokens"] == tokens]
            ordered = sorted(some, key=lambda row: row["live_blocks"])
            place.plot([row["live_blocks"] for row in ordered], [row["proportional"] for row in ordered], color="0.7")
            for row in some:
                place.plot(row["live_blocks"], row["cycles"], marker="o", linestyle="", label=row["pattern"])
            place.set(title=f"T = {tokens:,}", xlabel="live blocks of 16 × 16", ylabel="cycles")
        axes[0].legend(fontsize=7)
    else:
        for place, keys in zip(axes, (("accuracy", "accuracy_in_pytorch"), ("cycles",)), strict=True):
            for key in keys:
                place.plot([row["r"] for row in rows], [row[key] for row in rows], marker="o", label=key)
            place.set(xlabel="r: tokens joined in each layer")
            place.legend()
    write_picture(path, lambda: figure)


@click.command()
@click.argument("name", type=click.Choice([*STUDIES]))
@click.option("--plot", type=click.Path(path_type=Path), help="A picture, of sparse and merging.")
def main(name: str, plot: Path | None) -> None:
    """Print the rows of the study NAME as JSON."""
    rows: Rows = []
    for row in STUDIES[name]():
        click.echo(json.dumps(row))
        rows.append(row)
    if plot:
        draw(plot, name, rows)


if __name__ == "__main__":
    main()
