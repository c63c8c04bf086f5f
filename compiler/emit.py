"""From a schedule with addresses to a Program: instructions in order, DRAM laid out, semaphores set."""

from __future__ import annotations

from dataclasses import replace

from ..arch.config import FETCH_GROUP, INSTRUCTION_BYTES, HardwareConfig
from ..arch.isa import Halt, Instruction, Load, Store
from ..arch.program import Program
from .schedule import Schedule
from .synchronise import synchronise


def emit(schedule: Schedule, config: HardwareConfig, name: str) -> Program:
    """Code at address 0, data from the next burst on."""
    tiles = schedule.tiles
    groups = -(-(len(tiles.tasks) + 1) // FETCH_GROUP)
    base = -(-groups * FETCH_GROUP * INSTRUCTION_BYTES // config.burst_bytes) * config.burst_bytes
    instructions: list[Instruction] = []
    for slot in schedule.slots:
        instruction = tiles.buffers.place(tiles.tasks[slot.task].instruction, config)
        if isinstance(instruction, (Load, Store)):
            instruction = replace(instruction, dram_address=instruction.dram_address + base)
        instructions.append(instruction)
    labels = [tiles.tasks[slot.task].label for slot in schedule.slots]
    return Program(
        config=config,
        instructions=tuple(synchronise(config, [*instructions, Halt()])),
        dram_bytes=1 << (base + tiles.data_bytes - 1).bit_length(),
        data=tuple((address + base, content) for address, content in tiles.data),
        tensors={key: replace(tensor, address=tensor.address + base) for key, tensor in tiles.tensors.items()},
        labels=(*labels, "end"),
        name=name,
        useful_macs=tiles.useful_macs,
    )
