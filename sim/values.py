"""Runs a program for what it computes: instruction by instruction in program order, for a batch of inputs at once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from ..arch.config import HardwareConfig, Memory, Unit
from ..arch.errors import HeddleError, require_type
from ..arch.isa import Halt, Instruction
from ..arch.program import Program
from . import units
from .dispatch import Dispatched, dispatched, dispatched_kinds
from .state import State, Words

COMPILED_FROM = 60_000_000  # elements moved: numpy takes as long for so many as the kernels to load
CHUNK = 192  # inputs that go through the program together: enough to be fast, few enough for memory
STATE_BYTES = 1 << 31  # memories of the inputs of one chunk may take at most so many

Executor = Callable[[Instruction, State, HardwareConfig], None]


def run_values(
    program: Program,
    inputs: Any,
    progress: Callable[[int, int], None] | None = None,
    cache: Any = None,
    watch: Callable[[int, Instruction, State], None] | None = None,
    engine: str = "auto",
) -> Words:
    """DRAM after the program has run, for each set of inputs; arguments as for `simulate`.

    `watch` is called with (place, instruction, state) before each instruction is executed, for the first inputs.
    """
    config = program.config
    _require_cache_in_dram(program)
    sets = input_sets(program, inputs)
    execute = _executor(program, len(sets), engine)
    contents, batch = program.input_batch(sets), len(sets)
    cached = None if cache is None else _cache_beats(program, cache, batch)
    base = program.image.reshape(-1, config.axi_bytes)
    instructions = [
        each
        for each in dispatched(program.instructions, program.scalar_values, config)
        if not isinstance(each.instruction, Halt)
    ]
    window = _window(program)
    final = Words(len(base), (config.axi_bytes,), np.uint8, batch, window=window, base=base)
    size = -(-batch // -(-batch // chunk_size(config)))  # chunks alike
    chunks = [range(begin, min(begin + size, batch)) for begin in range(0, batch, size)]
    state: State | None = None
    written = []  # what differs in each chunk: page tables may be data
    for number, chunk in enumerate(chunks):
        dram = Words(len(base), (config.axi_bytes,), np.uint8, len(chunk), window=window, base=base,
                     own=final.own[chunk.start : chunk.stop])  # fmt: skip
        if cached is not None:
            dram.write(program.cache_address // config.axi_bytes, 0, cached[chunk.start : chunk.stop, None])
        for address, content in contents:
            raw = content[chunk.start : chunk.stop]
            dram.write(address // config.axi_bytes, 0, raw.reshape(len(chunk), 1, -1, config.axi_bytes))
        if state is None or state.batch != len(chunk):
            state = State(config, len(chunk), dram, (program.cache_address, program.cache_bytes))
        else:
            state.restart(dram)
        with _thread_pools().limit(limits=1, user_api="blas"):  # panels are too small to be worth waking threads for
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


def _execute(index: int, dispatched: Dispatched, state: State, config: HardwareConfig, execute: Executor) -> None:
    if dispatched.void:
        return
    try:
        execute(dispatched.instruction, state, config)
    except HeddleError as error:
        raise HeddleError(f"instruction {index}: {error}") from None


def _executor(program: Program, batch: int, engine: str) -> Executor:
    """What executes instructions: `units.execute`, or the same compiled."""
    few = not kernels_are_loaded() and elements_moved(program, batch) < COMPILED_FROM
    if engine == "plain" or engine == "auto" and few:
        return units.execute
    from .kernels import execute  # numba and the kernels take a second to load

    return execute


def kernels_are_loaded() -> bool:
    """Whether compiled kernels may be used without loading them."""
    return f"{__package__}.kernels" in sys.modules


def require_engine(engine: str) -> None:
    """Raise HeddleError for the name of an engine that there is not."""
    if engine not in ("auto", "plain", "compiled"):
        raise HeddleError(f"engine must be 'auto', 'plain' or 'compiled', not {engine!r}")


def elements_moved(program: Program, batch: int) -> int:
    """Elements that the units read and write for so many inputs, DRAM aside; weights and parameters count once."""
    config = program.config
    work = dispatched_kinds(program.kinds, program.scalar_values, config)
    total = 0
    for each, count in zip(work.examples, work.counts.tolist(), strict=True):
        if each.unit in (Unit.MATRIX, Unit.VECTOR, Unit.SOFTMAX, Unit.NORM):
            for access in each.accesses(config):
                inputs = 1 if access.memory in (Memory.WEIGHT, Memory.PARAM) else batch
                total += count * inputs * access.count * access.length * config.word_elements(access.memory)
    return total


@cache
def _thread_pools() -> ThreadpoolController:
    """Of the libraries that are loaded: to look for them takes some milliseconds."""
    return ThreadpoolController()


def chunk_size(config: HardwareConfig) -> int:
    """Inputs that go through a program together on this machine."""
    bits = sum(max(config.word_bits(memory), 32) * config.words(memory) for memory in Memory)
    return max(1, min(CHUNK, STATE_BYTES * 8 // (2 * bits)))  # twice: bf16 is kept as float32


def input_sets(program: Program, inputs: Any) -> list[dict[str, NDArray]]:
    """One dictionary of arrays for each input of the batch. Raises HeddleError if the batch is not clear."""
    if isinstance(inputs, (list, tuple)):
        if not inputs:
            raise HeddleError("inputs must be (batch, *shape) with one batch of at least 1, not an empty list")
        for each in inputs:
            require_type("each set of inputs", each, Mapping, "name → array")
        return list(inputs)
    require_type("inputs", inputs, (Mapping, type(None)), "name → array, or a list of such")
    shapes = program.takes()
    arrays = {name: _array(name, array) for name, array in (inputs or {}).items()}
    for name, array in arrays.items():
        if name in shapes and array.shape == shapes[name]:
            arrays[name] = array[None]
    batches = {array.shape[0] if array.ndim else 0 for array in arrays.values()} or {1}
    if len(batches) > 1 or 0 in batches:
        found = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise HeddleError(f"inputs must be (batch, *shape) with one batch of at least 1, not {found}")
    return [{name: array[i] for name, array in arrays.items()} for i in range(batches.pop())]


def _array(name: str, content: Any) -> NDArray:
    """As an array; numbers of a format that numpy lacks, such as those of bf16 tensors, in float32."""
    try:
        return np.asarray(content.float() if "bfloat16" in str(getattr(content, "dtype", "")) else content)
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        raise HeddleError(f"input {name!r} must be an array of numbers: {error}") from None


def _window(program: Program) -> tuple[int, int]:
    """The first and one past the last AXI beat of DRAM that inputs, STORE or Append write."""
    config = program.config
    ranges = [(tensor.address, tensor.address + tensor.size_bytes) for tensor in program.inputs()]
    if program.cache_bytes:
        ranges.append((program.cache_address, program.cache_address + program.cache_bytes))
    for each in program.instructions:
        if each.dram and each.dram.write and not each.dram.cache:
            moved = each.transfer(config)
            ranges.append((moved.address, program.dram_bytes if moved.chosen else moved.stop))
    low, high = min((r[0] for r in ranges), default=0), max((r[1] for r in ranges), default=0)
    return low // config.axi_bytes, -(-high // config.axi_bytes)


def _require_cache_in_dram(program: Program) -> None:
    start, size, beat = program.cache_address, program.cache_bytes, program.config.axi_bytes
    if start + size > program.dram_bytes or start % beat or size % beat:
        raise HeddleError(f"{program.name}: the KV cache must be whole beats of {beat} bytes within the "
                          f"{program.dram_bytes} bytes of DRAM, not {size} bytes from {start}")  # fmt: skip


def _cache_beats(program: Program, cache: Any, batch: int) -> NDArray[np.uint8]:
    """The cache region at the start for each input, (batch, beats, axi_bytes)."""
    content = np.frombuffer(cache, np.uint8) if isinstance(cache, bytes) else np.asarray(cache)
    if content.shape not in ((program.cache_bytes,), (batch, program.cache_bytes)):
        raise HeddleError(f"cache must be bytes ({program.cache_bytes},) or ({batch}, {program.cache_bytes}), not "
                          f"{content.shape}")  # fmt: skip
    if content.dtype != np.uint8:
        raise HeddleError(f"cache must be bytes (uint8), not {content.dtype}")
    content = np.broadcast_to(content, (batch, program.cache_bytes))
    return content.reshape(batch, -1, program.config.axi_bytes)
