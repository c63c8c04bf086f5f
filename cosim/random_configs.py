"""Random legal accelerators: odd arrays, the least memories, one bank or many, queues of two. A seed gives one."""

from __future__ import annotations

from random import Random

from ..arch.config import HardwareConfig, Memory
from ..arch.errors import HeddleError

BANKED = (Memory.ACT, Memory.WEIGHT, Memory.PARAM, Memory.VALUE, Memory.ACC, Memory.ROW)
ATTEMPTS = 10_000


def random_config(seed: int, most: int = 40) -> HardwareConfig:
    """A machine that `HardwareConfig` takes, of at most `most` rows and columns."""
    random = Random(f"config {seed}")
    for _ in range(ATTEMPTS):
        try:
            return HardwareConfig(name=f"random-{seed}", **_fields(random, most))
        except HeddleError:
            continue
    raise AssertionError(f"seed {seed}: no legal machine in {ATTEMPTS} attempts")


def _fields(random: Random, most: int) -> dict:
    """Any fields within their ranges: often the least, and sizes that fit each other often enough."""
    rows, columns = (random.choice([2, 3, 4, 5, 8, random.randint(2, most)]) for _ in range(2))
    found: dict = {"rows": rows, "columns": columns, "vector_lanes": random.choice([1, 1, 2, 4, 8, 16])}
    for memory in BANKED:
        words = 1 << random.choice([2, 3, random.randint(2, 12), random.randint(7, 12)])
        found[f"{memory.name.lower()}_words"] = words
        found[f"{memory.name.lower()}_banks"] = 1 << random.choice([0, random.randint(0, 6)])
    found["value_format"], found["pe"] = random.choice(["bf16", "float32"]), random.choice(["int8", "int8", "bf16"])
    found["vector_format"] = random.choice(["float32", "tf32"])
    return found | {
        "index_words": 1 << random.choice([2, random.randint(2, 8)]),
        "page_words": 1 << random.choice([2, random.randint(2, 8)]),
        "panel_rows": 1 << random.choice([1, random.randint(1, 8)]),
        "queue_depth": 1 << random.choice([1, random.randint(1, 6)]),
        "axi_bytes": 1 << random.choice([2, 2, random.randint(2, 7)]),
        "burst_beats": 1 << random.choice([1, random.randint(1, 8)]),
        "load_outstanding": 1 << random.choice([0, random.randint(0, 6)]),
    }
