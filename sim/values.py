"""Runs a program for what it computes: instruction by instruction in program order, for a batch of inputs at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ..arch.config import HardwareConfig, Memory
from ..arch.errors import HeddleError
from ..arch.isa import Halt, Instruction, Store
from ..arch.program import Program
from . import units
from .dispatch import Dispatched, dispatched
from .state import State, Words

CHUNK = 64  # inputs that go through the program together: enough to be fast, few enough to stay in the caches
STATE_BYTES = 1 << 31  # memories of the inputs of one chunk may take at most so many


def run_values(
    program: Program,
    inputs: Any,
    progress: Callable[[int, int], None] | None = None,
    cache: Any = None,
    watch: Callable[[int, Instruction, State], None] | None = None,
    compiled: bool = False,
) -> Words:
    """DRAM after the program has run, for each set of inputs; arguments as for `simulate`.

    `watch` is called with (place, instruction, state) before each instruction is executed, for the first inputs.
    """
    config = program.config
    execute = units.execute
    if compiled:
        from .kernels import execute  # numba takes half a second to load
    _require_cache_in_dram(program)
    contents = [program.input_bytes(each) for each in input_sets(program, inputs)]
    cached = None if cache is None else _cache_beats(program, cache, len(contents))
    base = program.image.reshape(-1, config.axi_bytes)
    instructions = [
        each
        for each in dispatched(program.instructions, program.scalar_values, config)
        if not isinstance(each.instruction, Halt)
    ]
    window = _window(program)
    final = Words(len(base), (config.axi_bytes,), np.uint8, len(contents), window=window, base=base)
    size = -(-len(contents) // -(-len(contents) // chunk_size(config)))  # all chunks alike
    chunks = [range(begin, min(begin + size, len(contents))) for begin in range(0, len(contents), size)]
    state: State | None = None
    written = []  # what differs in each chunk: page tables may be data
    for number, chunk in enumerate(chunks):
        dram = Words(len(base), (config.axi_bytes,), np.uint8, len(chunk), window=window, base=base,
                     own=final.own[chunk.start : chunk.stop])  # fmt: skip
        if cached is not None:
            dram.write(program.cache_address // config.axi_bytes, 0, cached[chunk.start : chunk.stop, None])
        for place, (address, _) in enumerate(contents[0]):
            raw = np.stack([np.frombuffer(contents[i][place][1], np.uint8) for i in chunk])
            dram.write(address // config.axi_bytes, 0, raw.reshape(len(chunk), 1, -1, config.axi_bytes))
        if state is None or state.batch != len(chunk):
            state = State(config, len(chunk), dram, (program.cache_address, program.cache_bytes))
        else:
            state.restart(dram)
        with threadpool_limits(1, "blas"):  # products of panels are too small to be worth waking threads for
            for index, each in enumerate(instructions):
                if watch and number == 0 and not each.void:
                    watch(index, each.instruction, state)
                _execute(index, each, state, config, execute)
                if progress:
                    progress(number * len(instructions) + index + 1, len(chunks) * len(instructions))
        written.append(dram.differs)
    final.differs = np.logical_or.reduce(written)
    for chunk, differs in zip(chunks, written, strict=True):
        (words,) = np.nonzero(final.differs[0] & ~differs[0])
        final.own[chunk.start : chunk.stop, words - final.low] = base[words]
    return final


def _execute(
    index: int,
    dispatched: Dispatched,
    state: State,
    config: HardwareConfig,
    execute: Callable[[Instruction, State, HardwareConfig], None],
) -> None:
    if dispatched.void:
        return
    try:
        execute(dispatched.instruction, state, config)
    except HeddleError as error:
        raise HeddleError(f"instruction {index}: {error}") from None


def chunk_size(config: HardwareConfig) -> int:
    """Inputs that go through a program together on this machine."""
    bits = sum(max(config.word_bits(memory), 32) * config.words(memory) for memory in Memory)
    return max(1, min(CHUNK, STATE_BYTES * 8 // (2 * bits)))  # twice: bf16 is kept as float32


def input_sets(program: Program, inputs: Any) -> list[dict[str, NDArray]]:
    """One dictionary of arrays for each input of the batch. Raises HeddleError if the batch is not clear."""
    if isinstance(inputs, (list, tuple)):
        if not inputs:
            raise HeddleError("inputs must be (batch, *shape) with one batch of at least 1, not an empty list")
        return list(inputs)
    shapes = {tensor.name: tensor.shape for tensor in program.inputs()}
    arrays = {name: np.asarray(array) for name, array in (inputs or {}).items()}
    for name, array in arrays.items():
        if name in shapes and array.shape == shapes[name]:
            arrays[name] = array[None]
    batches = {array.shape[0] if array.ndim else 0 for array in arrays.values()} or {1}
    if len(batches) > 1 or 0 in batches:
        found = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise HeddleError(f"inputs must be (batch, *shape) with one batch of at least 1, not {found}")
    return [{name: array[i] for name, array in arrays.items()} for i in range(batches.pop())]


def _window(program: Program) -> tuple[int, int]:
    """The first and one past the last AXI beat of DRAM that inputs, STORE or Append write."""
    config = program.config
    ranges = [(tensor.address, tensor.address + tensor.size_bytes) for tensor in program.inputs()]
    if program.cache_bytes:
        ranges.append((program.cache_address, program.cache_address + program.cache_bytes))
    for each in program.instructions:
        if isinstance(each, Store):
            length = each.words * config.dram_word_bytes(each.memory)
            ranges.append((each.dram_address, each.dram_address + (each.segments - 1) * each.dram_stride + length))
    low, high = min((r[0] for r in ranges), default=0), max((r[1] for r in ranges), default=0)
    return low // config.axi_bytes, -(-high // config.axi_bytes)


def _require_cache_in_dram(program: Program) -> None:
    start, size, beat = program.cache_address, program.cache_bytes, program.config.axi_bytes
    if start + size > program.dram_bytes or start % beat or size % beat:
        raise HeddleError(f"{program.name}: the KV cache must be whole beats of {beat} bytes within the "
                          f"{program.dram_bytes} bytes of DRAM, not {size} bytes from {start}")  # fmt: skip


def _cache_beats(program: Program, cache: Any, batch: int) -> NDArray[np.uint8]:
    """The cache region at the start for each input, (batch, beats, axi_bytes)."""
    content = np.asarray(cache, np.uint8)
    if content.shape not in ((program.cache_bytes,), (batch, program.cache_bytes)):
        raise HeddleError(f"cache must be bytes ({program.cache_bytes},) or ({batch}, {program.cache_bytes}), not "
                          f"{content.shape}")  # fmt: skip
    content = np.broadcast_to(content, (batch, program.cache_bytes))
    return content.reshape(batch, -1, program.config.axi_bytes)
