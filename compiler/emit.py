"""From a schedule with addresses to a Program: instructions in order, DRAM laid out, semaphores set."""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile

from ..arch.config import FETCH_GROUP, INSTRUCTION_BYTES, HardwareConfig
from ..arch.isa import Guard, Halt, Instruction, Load, Store
from ..arch.program import Program
from .schedule import Schedule
from .synchronise import synchronise


def emit(schedule: Schedule, config: HardwareConfig, name: str) -> Program:
    """Code at address 0, data from the next burst on."""
    tiles = schedule.tiles
    conditional = sum(task.condition is not None for task in tiles.tasks)  # at most so many guards
    groups = -(-(len(tiles.tasks) + conditional + 1) // FETCH_GROUP)
    base = -(-groups * FETCH_GROUP * INSTRUCTION_BYTES // config.burst_bytes) * config.burst_bytes
    instructions: list[Instruction] = []
    labels: list[str] = []
    conditions = [tiles.tasks[slot.task].condition for slot in schedule.slots]
    for number, slot in enumerate(schedule.slots):
        condition = conditions[number]
        if condition and (number == 0 or conditions[number - 1] != condition):
            reach = len(list(takewhile(lambda each: each == condition, conditions[number:])))  # noqa: B023
            instructions.append(Guard(register=condition.register, threshold=condition.threshold, count=reach))
            labels.append(tiles.tasks[slot.task].label)
        labels.append(tiles.tasks[slot.task].label)
        instruction = tiles.buffers.place(tiles.tasks[slot.task].instruction, config)
        if isinstance(instruction, (Load, Store)):
            instruction = replace(instruction, dram_address=instruction.dram_address + base)
        instructions.append(instruction)
    cache = -(-(base + tiles.data_bytes) // 4096) * 4096 if tiles.decoder else base + tiles.data_bytes
    cache_bytes = tiles.decoder.layout.size_bytes if tiles.decoder else 0
    return Program(
        config=config,
        instructions=tuple(synchronise(config, [*instructions, Halt()])),
        dram_bytes=1 << (cache + cache_bytes - 1).bit_length(),
        data=tuple((address + base, content) for address, content in tiles.data),
        tensors={key: replace(tensor, address=tensor.address + base) for key, tensor in tiles.tensors.items()},
        labels=(*labels, "end"),
        name=name,
        useful_macs=tiles.useful_macs,
        attention_macs=tiles.attention_macs,
        tokens=tiles.decoder.tokens if tiles.decoder else 0,
        scalars=tiles.decoder.registers.scalars() if tiles.decoder else (),
        cache_address=cache if tiles.decoder else 0,
        cache_bytes=cache_bytes,
        timing_only=tiles.timing_only,
        choices=schedule.choices,
    )
