"""heddle embed: sentences in, embeddings out, and how near they are to PyTorch's."""

import sys
import time
from importlib import import_module
from typing import Any

import click
import heddle
import numpy as np

from .cosim import print_comparison
from .generate import sum_comparisons
from .shared import (
    at_precision,
    command,
    config_option,
    console,
    json_option,
    load_config,
    precision_option,
    print_json,
    print_table,
    progress,
    require_engine,
)  # fmt: skip


@command(
    short_help="Embeddings of sentences by a trained MiniLM.",
    epilog='Example: heddle embed "A cat sits on a mat." "A kitten lies on a rug." --precision w16a16 --config base',
)
@click.argument("sentences", nargs=-1, metavar="[SENTENCE]...")
@config_option
@precision_option
@click.option("--engine", default="sim", show_default=True, metavar="sim|verilator|icarus|amaranth",
              help="sim: the simulator alone; else each run is compared with the RTL on that engine.")  # fmt: skip
@click.option("--plain", is_flag=True, help="Quantise without SmoothQuant.")
@json_option
def embed(
    sentences: tuple[str, ...], config_name: str, precision: tuple[str, ...], engine: str, plain: bool, as_json: bool
) -> None:
    """Embed SENTENCEs (or fifty that come with Heddle) by MiniLM on an accelerator, and compare with PyTorch.

    Prints for each its tokens, its cycles and how near it is to PyTorch's; and for each but the first how alike it is
    to the one before, by both. This needs the extra demo. Exits with 1 if an RTL engine differs from the simulator.
    """
    begin = time.perf_counter()
    config, rule = at_precision(load_config(config_name), precision)
    require_engine(engine, "sim")
    embedding = import_module("heddle.embedding")  # loads PyTorch, which takes a second
    texts = sentences or import_module("heddle.models.minilm").SENTENCES
    with progress("Loading MiniLM", None):
        model = embedding.Sentences(config, rule, not plain, None if engine == "sim" else engine)
    for text in texts:
        model.encode(text)
    found = []
    with progress(f"Embedding {len(texts)} sentences on {config.title}", len(texts), "sentence") as advance:
        for text in texts:
            found.append(model.embed(text))
            advance()
    figures = _figures(found, rule, not plain, embedding.cosines)
    comparison = sum_comparisons([each.comparison for each in found]) if engine != "sim" else None
    if comparison is not None:
        figures["rtl"] = comparison.to_dict()
    figures["seconds"] = time.perf_counter() - begin
    if as_json:
        print_json(figures, config)
    else:
        _print(figures, config)
        if comparison is not None:
            print_comparison(comparison)
    if comparison is not None and not comparison.agrees:
        sys.exit(1)


def _figures(found: list[Any], precision: Any, smooth: bool, cosines: Any) -> dict[str, Any]:
    """What --json prints."""
    ours, golden = (cosines([getattr(each, name) for each in found]) for name in ("found", "golden"))
    rows = [
        {
            "text": each.text, "tokens": len(each.ids), "cycles": each.result.cycles, "cosine": each.cosine,
            "sqnr_db": each.sqnr_db,
            "to_the_one_before": float(ours[i, i - 1]) if i else None,
            "to_the_one_before_in_pytorch": float(golden[i, i - 1]) if i else None,
            "embedding": each.found.tolist(),
        }
        for i, each in enumerate(found)
    ]  # fmt: skip
    means = {f"mean_{name}": float(np.mean([row[name] for row in rows])) for name in ("cosine", "sqnr_db", "cycles")}
    return {"precision": str(precision), "smooth": smooth, **means, "sentences": rows}


def _print(figures: dict[str, Any], config: heddle.HardwareConfig) -> None:
    rows = [
        (
            row["text"], row["tokens"], f"{row['cycles']:,}", f"{row['cosine']:.5f}", f"{row['sqnr_db']:.1f}",
            *(f"{row[name]:.3f}" if row[name] is not None else "·"
              for name in ("to_the_one_before", "to_the_one_before_in_pytorch")),
        )
        for row in figures["sentences"]
    ]  # fmt: skip
    title = f"MiniLM on {config.title}, {figures['precision']}{', SmoothQuant' if figures['smooth'] else ''}"
    columns = ["sentence", "tokens", "cycles", "cosine with PyTorch", "SQNR, dB", "like the one before", "in PyTorch"]
    print_table(title, columns, rows)
    console.print(f"mean cosine {figures['mean_cosine']:.5f}, mean SQNR {figures['mean_sqnr_db']:.1f} dB, "
                  f"mean cycles {figures['mean_cycles']:,.0f}; {figures['seconds']:.1f} s")  # fmt: skip
