"""Runs a program for what it computes: instruction by instruction in program order, for a batch of inputs at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arch.config import HardwareConfig, Memory
from ..arch.errors import HeddleError
from ..arch.isa import Halt, Instruction, Store
from ..arch.program import Program
from .state import State, Words
from .units import execute

CHUNK = 64  # inputs that go through the program together: enough to be fast, few enough to stay in the caches
STATE_BYTES = 1 << 31  # memories of the inputs of one chunk may take at most so many


def run_values(program: Program, inputs: Any, progress: Callable[[int, int], None] | None = None) -> Words:
    """DRAM after the program has run, for each set of inputs (see `simulate`)."""
    config = program.config
    contents = [program.input_bytes(each) for each in input_sets(program, inputs)]
    base = program.image.reshape(-1, config.axi_bytes)
    window = _window(program)
    final = Words(len(base), (config.axi_bytes,), np.uint8, len(contents), window=window, base=base)
    instructions = _until_halt(program.instructions)
    size = chunk_size(config)
    chunks = range(0, len(contents), size)
    for number, begin in enumerate(chunks):
        chunk = contents[begin : begin + size]
        dram = Words(len(base), (config.axi_bytes,), np.uint8, len(chunk), window=window, base=base,
                     own=final.own[begin : begin + size])  # fmt: skip
        for (address, _), pieces in zip(chunk[0], zip(*chunk, strict=True), strict=True):
            raw = np.stack([np.frombuffer(content, np.uint8) for _, content in pieces])
            dram.write(address // config.axi_bytes, 0, raw.reshape(len(chunk), 1, -1, config.axi_bytes))
        state = State(config, len(chunk), dram)
        for index, instruction in enumerate(instructions):
            try:
                execute(instruction, state, config)
            except HeddleError as error:
                raise HeddleError(f"instruction {index}: {error}") from None
            if progress:
                progress(number * len(instructions) + index + 1, len(chunks) * len(instructions))
        final.differs = dram.differs  # the same in all chunks: it follows from the instructions alone
    return final


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
    """The first and one past the last AXI beat of DRAM that inputs or STORE write."""
    config = program.config
    ranges = [(tensor.address, tensor.address + tensor.size_bytes) for tensor in program.inputs()]
    for each in program.instructions:
        if isinstance(each, Store):
            length = each.words * config.dram_word_bytes(each.memory)
            ranges.append((each.dram_address, each.dram_address + (each.segments - 1) * each.dram_stride + length))
    low, high = min((r[0] for r in ranges), default=0), max((r[1] for r in ranges), default=0)
    return low // config.axi_bytes, -(-high // config.axi_bytes)


def _until_halt(instructions: Sequence[Instruction]) -> list[Instruction]:
    """What is dispatched before the first halt."""
    stop = next((i for i, each in enumerate(instructions) if isinstance(each, Halt)), len(instructions))
    return list(instructions[:stop])
