"""From schedules with addresses to a Program: segments in order, DRAM laid out, semaphores set.

DRAM holds the code at address 0, then what all segments share, then the constants of each segment, then the KV cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, takewhile

from ..arch.config import FETCH_GROUP, INSTRUCTION_BYTES, HardwareConfig
from ..arch.errors import HeddleError
from ..arch.isa import Guard, Halt, Instruction, KvInstruction
from ..arch.program import Choice, Period, Program, Tensor
from .builder import SHARED, Decoder, SharedDram, Tiles
from .schedule import Schedule
from .synchronise import synchronise_runs

_ALIGNMENT = 4096  # bytes, of the constants of a segment and of the cache


@dataclass(frozen=True)
class Step:
    """A segment in the program: the schedule of all that equal it, and its own tiles (with constants and labels)."""

    schedule: Schedule
    tiles: Tiles
    layer: int = 0  # the first layer of the cache that is its own
    lowered_layer: int = 0  # that of the segment the schedule was made for
    names: Mapping[str, str] = field(default_factory=dict)  # what in labels is called otherwise here

    def named(self, text: str) -> str:
        """A label or the name of a tensor, of this segment."""
        if not self.names:
            return text
        name, colon, rest = text.partition(":")
        for end in (len(name), *(at for at in range(len(name) - 1, 0, -1) if name[at] == ".")):
            if name[:end] in self.names:
                return self.names[name[:end]] + name[end:] + colon + rest
        return text


@dataclass(frozen=True)
class _Body:
    """The instructions of a schedule, with addresses on chip, and the task of each. DRAM addresses count from the start
    of the segment's constants, from SHARED on or from the start of the cache."""

    instructions: list[Instruction]
    tasks: list[int]


def emit(
    steps: Sequence[Step], config: HardwareConfig, name: str, shared: SharedDram, decoder: Decoder | None = None,
    choices: Sequence[Choice] = (), macs: tuple[int, Mapping[int, int]] = (0, {}),
    part: str = "",
) -> Program:  # fmt: skip
    """One program. `decoder` has the registers and the layout of the cache, if there is one; `macs` are those of
    `count_macs`; `part` says what of the model it is."""
    schedules = {id(step.schedule): step.schedule for step in steps}
    bodies = {key: _body(each, config) for key, each in schedules.items()}
    count = sum(len(bodies[id(step.schedule)].instructions) for step in steps) + 1
    groups = -(-count // FETCH_GROUP)
    base = _aligned(groups * FETCH_GROUP * INSTRUCTION_BYTES, config.burst_bytes)
    end = base + shared.size_bytes
    instructions: list[Instruction] = []
    labels: list[str] = []
    data = [(address - SHARED + base, content()) for address, content in shared.data]
    tensors = {key: _moved(tensor, base) for key, tensor in shared.tensors.items()}
    runs: list[Period] = []
    for schedule_id, equal in groupby(steps, lambda step: id(step.schedule)):
        copies, body = list(equal), bodies[schedule_id]
        if len(copies) > 1:
            runs.append(Period(len(instructions), len(body.instructions), len(copies)))
        for step in copies:
            tiles, start = step.tiles, end if len(steps) == 1 else _aligned(end, _ALIGNMENT)
            instructions += _copy(body, start, base, _cache_shift(step, decoder))
            names = {label: step.named(label) for label in {task.label for task in tiles.tasks}}
            labels += [names[tiles.tasks[task].label] for task in body.tasks]
            data += [(address + start, content()) for address, content in tiles.data]
            for key, tensor in tiles.tensors.items():
                tensors[_free(step.named(key), tensors)] = replace(tensor, address=tensor.address + start)
            end = start + tiles.data_bytes
    cache = _aligned(end, _ALIGNMENT) if decoder else end
    cache_bytes = decoder.layout.size_bytes if decoder else 0
    synchronised, periods = synchronise_runs(config, [*instructions, Halt()], runs)
    return Program(
        config=config,
        instructions=tuple(synchronised),
        dram_bytes=1 << (cache + cache_bytes - 1).bit_length(),
        data=tuple(data),
        tensors={key: replace(tensor, name=key) for key, tensor in tensors.items()},
        labels=(*labels, "end"),
        name=name,
        useful_macs=macs[0],
        attention_macs=tuple(sorted(macs[1].items())),
        tokens=decoder.tokens if decoder and not decoder.fixed else 0,
        cache_tokens=decoder.layout.plan.tokens if decoder and not decoder.fixed else 0,
        scalars=decoder.registers.scalars() if decoder else (),
        cache_address=cache if decoder else 0,
        cache_bytes=cache_bytes,
        choices=tuple(choices),
        periods=tuple(periods),
        timing_only=any(step.tiles.timing_only for step in steps),
        part=part,
    )


def _body(schedule: Schedule, config: HardwareConfig) -> _Body:
    tiles, tasks = schedule.tiles, schedule.order.tolist()
    placed = tiles.buffers.place([tiles.tasks[task].instruction for task in tasks], config)
    body = _Body([], [])
    conditions = [tiles.tasks[task].condition for task in tasks]
    for number, task in enumerate(tasks):
        condition = conditions[number]
        if condition and (number == 0 or conditions[number - 1] != condition):
            reach = len(list(takewhile(lambda each: each == condition, conditions[number:])))  # noqa: B023
            body.instructions.append(Guard(register=condition.register, threshold=condition.threshold, count=reach))
            body.tasks.append(task)
        body.instructions.append(placed[number])
        body.tasks.append(task)
    return body


def _copy(body: _Body, constants: int, shared: int, cache_shift: int) -> list[Instruction]:
    """The instructions with DRAM addresses, of a segment whose constants are at `constants`."""
    found: list[Instruction] = []
    for each in body.instructions:
        if each.dram and not each.dram.cache:
            address = each.dram_address  # type: ignore[attr-defined]
            address += shared - SHARED if address >= SHARED else constants
            each = each.changed(dram_address=address)
        elif each.dram and cache_shift:
            each = each.changed(dram_address=each.dram_address + cache_shift)  # type: ignore[attr-defined]
        found.append(each)
    return found


def _cache_shift(step: Step, decoder: Decoder | None) -> int:
    """Bytes from the cache of the layers that the schedule was made for to that of this segment's."""
    if decoder is None or step.layer == step.lowered_layer or step.layer == len(decoder.layers):  # behind the last one
        return 0
    starts = decoder.layout.starts
    return starts[decoder.place(step.layer)] - starts[decoder.place(step.lowered_layer)]


def require_equal(tiles: Tiles, other: Tiles) -> None:
    """Raise HeddleError unless two segments that are to share a schedule differ in nothing but what DRAM holds."""
    mine, others = ([_without_cache(task.instruction) for task in each.tasks] for each in (tiles, other))
    if mine != others:
        places = (place for place, (a, b) in enumerate(zip(mine, others, strict=False)) if a != b)
        place = next(places, min(len(mine), len(others)) - 1)
        raise HeddleError(f"two segments were taken for equal, but are not: {tiles.tasks[place]} and "
                          f"{other.tasks[place]}")  # fmt: skip


def _without_cache(instruction: Instruction) -> Instruction:
    return replace(instruction, dram_address=0) if isinstance(instruction, KvInstruction) else instruction


def _moved(tensor: Tensor, base: int) -> Tensor:
    return replace(tensor, address=tensor.address - SHARED + base)


def _free(key: str, tensors: dict[str, Tensor]) -> str:
    """The name itself, or with a number behind it if it is taken."""
    name, number = key, 1
    while name in tensors:
        number += 1
        name = f"{key}_{number}"
    return name


def _aligned(size: int, unit: int) -> int:
    return -(-size // unit) * unit
