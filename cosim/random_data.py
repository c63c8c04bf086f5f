"""Random bytes of DRAM with the meaning of a memory: codes, values, (scale, offset) pairs, indices, pages."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..arch.config import HardwareConfig, Memory

# float32 bits: zeros, subnormals, the least normal, the largest, infinities, NaN, powers of two, ties of rounding
EDGES = np.array(
    [0x00000000, 0x80000000, 0x00000001, 0x80400000, 0x00800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000,
     0x7FC00000, 0x3F800000, 0xBF800000, 0x3F000000, 0x42FE0000, 0xC3000000, 0x3F808000, 0x3F818000, 0x21000000],
    np.uint32,
)  # fmt: skip
MILD_EDGES = EDGES[[0, 1, 10, 11, 12, 13, 14, 15, 16]]


def content(
    config: HardwareConfig, memory: Memory, size_bytes: int, random: np.random.Generator, index_limit: int,
    loud: bool = False,
) -> bytes:  # fmt: skip
    """`size_bytes` for a source area of `memory`; elements of INDEX and PAGE are below `index_limit`. If `loud`,
    codes are nearly all one, and large. Padding is random too."""
    words = size_bytes // config.dram_word_bytes(memory)
    elements = config.word_elements(memory)
    if memory in (Memory.ACT, Memory.WEIGHT):
        used = _codes(random, words * elements, loud) if config.pe == "int8" else _bf16_codes(random, words * elements)
    elif memory in (Memory.INDEX, Memory.PAGE):
        used = random.integers(0, index_limit, words * elements).astype("<u4")
    elif memory is Memory.PARAM:
        scale_spread, offset_spread = random.choice([2.0**-10, 2.0**-6, 1.0]), random.choice([0.1, 4.0])
        pairs = [_floats(random, words * elements, spread) for spread in (scale_spread, offset_spread)]
        used = _or_wilder(random, np.stack(pairs, axis=-1).astype("<u4"))
    else:
        # A mean far from zero makes LayerNorm cancel, so that the last bit of a sum shows.
        used = _floats(random, words * elements, 2.0, random.choice([0.0, 0.0, 8.0, -100.0])).astype("<u4")
        used = _or_wilder(random, used)
        if config.value_format == "bf16":
            used = (used >> 16).astype("<u2")
    out = random.integers(0, 256, (words, config.dram_word_bytes(memory)), np.uint8)
    raw = np.ascontiguousarray(used).reshape(words, -1).view(np.uint8)
    out[:, : raw.shape[1]] = raw
    return out.tobytes().ljust(size_bytes, b"\0")


def units(config: HardwareConfig) -> bytes:
    """Two words of VALUE: of ones, and of minus ones."""
    size = config.dram_word_bytes(Memory.VALUE)
    numbers = [np.full(config.columns, one, np.float32).view(np.uint32) for one in (1, -1)]
    if config.value_format == "bf16":
        numbers = [(bits >> 16).astype("<u2") for bits in numbers]
    return b"".join(bits.tobytes().ljust(size, b"\0") for bits in numbers)


def _codes(random: np.random.Generator, count: int, loud: bool) -> NDArray:
    codes = random.integers(-128, 128, count)
    if loud:
        return np.where(random.random(count) < 0.01, codes, random.choice([-128, 127])).astype(np.int8)
    if random.random() < 0.3:
        codes = random.choice([-128, -127, 127], count)
    return np.where(random.random(count) < 0.1, random.choice([-128, 0, 127, 1, -1], count), codes).astype(np.int8)


def _bf16_codes(random: np.random.Generator, count: int) -> NDArray[np.uint16]:
    """Mostly moderate; now and then with exponents so far apart that sums cancel or products leave the range."""
    spread = random.choice([1.0, 1.0, 2.0**20, 2.0**62, 2.0**-62])
    bits = _floats(random, count, spread) if random.random() < 0.95 else _any_bits(random, (count,))
    return (bits >> 16).astype("<u2")


def _or_wilder(random: np.random.Generator, numbers: NDArray) -> NDArray:
    """What is given, or float32 bits of more unlikely numbers."""
    which = random.random()
    if which < 0.1:
        return _any_magnitude(random, numbers.shape)
    return _any_bits(random, numbers.shape) if which < 0.3 else numbers


def _any_bits(random: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.uint32]:
    """Any bits at all, or of exponents so near to each other that results stay finite, some of few digits."""
    bits = random.integers(0, 1 << 32, shape, np.uint32)
    if random.random() < 0.7:
        return bits
    exponents = random.integers(100, 155, shape) if random.random() < 0.5 else random.integers(120, 136, shape)
    digits = random.choice(np.array([0x7FFFFF, 0x7F0000], np.uint32))
    return (bits & (0x80000000 | digits)) | (exponents.astype(np.uint32) << np.uint32(23))


def _any_magnitude(random: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.uint32]:
    """float32 bits of finite numbers, often of a narrow range where sums, products or squares overflow or are
    flushed."""
    low, high = [(-149, 128), (122, 128), (60, 70), (-70, -55)][random.integers(4)]
    numbers = random.uniform(1, 2, shape) * 2.0 ** random.integers(low, high, shape).astype(np.float64)
    numbers = np.minimum(numbers, np.finfo(np.float32).max)  # the greatest would round up to an infinity
    return (numbers * random.choice([-1, 1], shape)).astype(np.float32).view(np.uint32)


def _floats(random: np.random.Generator, count: int, spread: float, mean: float = 0.0) -> NDArray[np.uint32]:
    """float32 bits of moderate numbers, with edge cases: mild ones in one of fifty, any in one of some hundreds."""
    magnitude = spread * 2.0 ** random.uniform(-3, 1, count)
    numbers = (mean + random.normal(size=count) * magnitude).astype(np.float32).view(np.uint32)
    numbers = np.where(random.random(count) < 0.02, random.choice(MILD_EDGES, count), numbers)
    wild = random.choice([0.0, 0.0, 0.003, 0.02])
    return np.where(random.random(count) < wild, random.choice(EDGES, count), numbers).astype(np.uint32)
