"""What makes a program unsound, whatever its instructions do: content of the wrong kind, places in DRAM that overlap.

`check_content` comes first: what else looks at a program may take types and ranges for granted after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .config import DRAM_LIMIT, INDEX_BITS, SCALAR_COUNT, SCALAR_LIMIT, HardwareConfig, Memory
from .encoding import OPCODES
from .errors import HeddleError
from .host import Argument, Step
from .isa import Guard, Halt
from .ranges import is_whole, require_power_of_two, require_range
from .scalars import Scalar

if TYPE_CHECKING:
    from .program import Program, Tensor

TENSOR_KINDS = ("input", "output", "constant", "scratch")
TENSOR_MEMORIES = (Memory.ACT, Memory.WEIGHT, Memory.VALUE, Memory.INDEX, Memory.PAGE)
MOST_MACS = 1 << 62


# -- content -----------------------------------------------------------------------------------------------------------


def check_numbers(program: Program) -> None:
    """Raise HeddleError unless the sizes and registers of a program are those of a machine: quick, whatever its
    length."""
    _require(isinstance(program.name, str), "name must be a text", program.name)
    try:
        _require(isinstance(program.config, HardwareConfig), "config must be a HardwareConfig", program.config)
        _check_sizes(program)
        _check_registers(program)
    except HeddleError as error:
        raise HeddleError(f"{program.name}: {error}") from None


def check_content(program: Program) -> None:
    """Raise HeddleError unless the other fields of a program hold what they should, except periods."""
    from .program import Tensor  # late: it is made of what is here

    try:
        _check_instructions(program.instructions)
        _check_labels(program)
        _require(isinstance(program.part, str), "part must be a text", program.part)
        _check_data(program)
        _check_choices(program)
        _require(isinstance(program.tensors, dict), "tensors must be name → Tensor", program.tensors)
        for kind, name in ((Argument, "arguments"), (Step, "host")):
            found = getattr(program, name)
            _require(isinstance(found, tuple) and all(isinstance(each, kind) for each in found),
                     f"{name} must be a tuple of {kind.__name__}", found)  # fmt: skip
        for key, tensor in program.tensors.items():
            _require(isinstance(tensor, Tensor), f"tensor {key!r} must be a Tensor", tensor)
            _check_tensor(key, tensor, program.config)
    except HeddleError as error:
        raise HeddleError(f"{program.name}: {error}") from None


def _require(condition: bool, what: str, found: object) -> None:
    if not condition:
        raise HeddleError(f"{what}, not {found!r}")


def _check_sizes(program: Program) -> None:
    config = program.config
    require_range("dram_bytes", program.dram_bytes, config.axi_bytes, DRAM_LIMIT)
    require_power_of_two("dram_bytes", program.dram_bytes)
    require_range("cache_address", program.cache_address, 0, program.dram_bytes)
    require_range("cache_bytes", program.cache_bytes, 0, program.dram_bytes)
    if program.cache_address % 4096 or program.cache_address + program.cache_bytes > program.dram_bytes:
        raise HeddleError(f"the cache region must start at a multiple of 4096 and lie within the {program.dram_bytes} "
                          f"bytes of DRAM, not be {program.cache_bytes} from {program.cache_address}")  # fmt: skip
    if program.cache_bytes % config.axi_bytes:
        raise HeddleError(f"the cache region must be whole beats of {config.axi_bytes} bytes, "
                          f"not {program.cache_bytes} bytes")  # fmt: skip
    _require(isinstance(program.cache, bytes), "cache must be bytes", type(program.cache).__name__)
    if program.cache and len(program.cache) != program.cache_bytes:
        raise HeddleError(f"cache must hold {program.cache_bytes} bytes or none, not {len(program.cache)}")
    for name in ("useful_macs", "tokens", "cache_tokens"):
        require_range(name, getattr(program, name), 0, MOST_MACS)
    for pair in _list("attention_macs", program.attention_macs):
        _require(isinstance(pair, tuple) and len(pair) == 2, "attention_macs must be (window, macs) each", pair)
        for number in pair:
            require_range("attention_macs", number, 0, MOST_MACS)
    _require(isinstance(program.timing_only, bool), "timing_only must be True or False", program.timing_only)


def _list(name: str, found: Any) -> Any:
    _require(isinstance(found, (tuple, list)), f"{name} must be a tuple", found)
    return found


def _check_instructions(instructions: Any) -> None:
    _list("instructions", instructions)
    wrong = {type(each) for each in instructions} - set(OPCODES.values())
    if wrong:
        raise HeddleError(f"instructions must be those of the ISA, not {', '.join(sorted(w.__name__ for w in wrong))}")
    if not instructions or not isinstance(instructions[-1], Halt):
        raise HeddleError("the last instruction must be halt")
    if len(instructions) > 1 << INDEX_BITS:
        raise HeddleError(f"there must be at most {1 << INDEX_BITS} instructions, for an index has {INDEX_BITS} bits, "
                          f"not {len(instructions)}: compile fewer layers or rows at a time")  # fmt: skip


def _check_registers(program: Program) -> None:
    seen = set()
    for pair in _list("registers", program.registers):
        _require(isinstance(pair, tuple) and len(pair) == 2, "registers must be (number, value) each", pair)
        number, value = pair
        require_range("the number of a scalar register", number, 0, SCALAR_COUNT - 1)
        require_range(f"scalar register {number}", value, 0, SCALAR_LIMIT if number else 0)
        if number in seen:
            raise HeddleError(f"scalar register {number} must be given once, not several times")
        seen.add(number)
    for each in _list("scalars", program.scalars):
        _require(isinstance(each, Scalar), "scalars must be Scalar each", each)
    for position in _list("positions", program.positions):
        require_range("a position", position, 0, SCALAR_LIMIT)


def _check_labels(program: Program) -> None:
    labels, count = _list("labels", program.labels), len(program.instructions)
    if labels and len(labels) != count:
        raise HeddleError(f"there must be a label for each of the {count} instructions or none, not {len(labels)}")
    wrong = next((each for each in labels if not isinstance(each, str)), None)
    _require(wrong is None, "labels must be texts", wrong)


def _check_data(program: Program) -> None:
    for piece in _list("data", program.data):
        _require(isinstance(piece, tuple) and len(piece) == 2, "data must be (address, bytes) each", piece)
        address, content = piece
        require_range("the address of data", address, 0, program.dram_bytes)
        _require(isinstance(content, bytes), "data must be (address, bytes) each", type(content).__name__)


def _check_choices(program: Program) -> None:
    from .program import Choice

    for each in _list("choices", program.choices):
        _require(isinstance(each, Choice), "choices must be Choice each", each)
        for name in ("what", "chosen"):
            _require(isinstance(getattr(each, name), str), f"{name} of a choice must be a text", getattr(each, name))
        considered = each.considered
        _require(isinstance(considered, dict), "considered of a choice must be alternative → cycles", considered)
        for what, cycles in considered.items():
            _require(isinstance(what, str), "an alternative of a choice must be a text", what)
            right = isinstance(cycles, str) or is_whole(cycles)
            _require(right, f"what is said of {what!r} must be cycles, a whole number, or a text", cycles)


def _check_tensor(key: Any, tensor: Tensor, config: HardwareConfig) -> None:
    name = f"tensor {key!r}"
    _require(tensor.name == key and isinstance(key, str), f"{name} must have that name", tensor.name)
    _require(tensor.kind in TENSOR_KINDS, f"{name} must be one of {', '.join(TENSOR_KINDS)}", tensor.kind)
    _require(isinstance(tensor.memory, Memory) and tensor.memory in TENSOR_MEMORIES,
             f"{name} must be of {', '.join(memory.name for memory in TENSOR_MEMORIES)}", tensor.memory)  # fmt: skip
    require_range(f"{name}: address", tensor.address, 0, DRAM_LIMIT)
    for field in ("rows", "columns", "row_bytes"):
        require_range(f"{name}: {field}", getattr(tensor, field), 1, DRAM_LIMIT)
    for field in ("segment", "patch", "limit"):
        require_range(f"{name}: {field}", getattr(tensor, field), 0, DRAM_LIMIT)
    _require(isinstance(tensor.made, bool), f"{name}: made must be True or False", tensor.made)
    for size in _list(f"{name}: shape", tensor.shape):
        require_range(f"{name}: sizes in shape", size, 1, DRAM_LIMIT)
    if prod(tensor.shape) != tensor.rows * tensor.columns:
        raise HeddleError(f"{name} must have as many elements in shape {tensor.shape} as in {tensor.rows} rows of "
                          f"{tensor.columns}")  # fmt: skip
    if tensor.patch and (len(tensor.shape) != 3 or any(size % tensor.patch for size in tensor.shape[1:])):
        raise HeddleError(f"{name} must have the shape (channels, height, width) of whole patches of {tensor.patch}, "
                          f"not {tensor.shape}")  # fmt: skip
    least = tensor.content_bytes(config)
    if tensor.row_bytes < least:
        raise HeddleError(f"{name}: row_bytes must be at least {least}, not {tensor.row_bytes}")
    if tensor.kind in ("input", "output") and tensor.address % config.axi_bytes:
        raise HeddleError(f"{name}: address must be a multiple of {config.axi_bytes}, a beat, not {tensor.address}")
    if tensor.kind == "input" and tensor.size_bytes % config.axi_bytes:
        raise HeddleError(f"{name} must be whole beats of {config.axi_bytes} bytes, not {tensor.size_bytes} bytes")


# -- what repeats, and what is skipped ---------------------------------------------------------------------------------


def check_reach(program: Program) -> None:
    """Raise HeddleError for a guard that reaches past the end, and for periods that are none. What instructions hold
    must have been checked."""
    from .program import Period

    count, kinds = len(program.instructions), program.kinds
    for kind, each in enumerate(kinds.examples):
        if isinstance(each, Guard) and each.count:
            last = int(np.flatnonzero(kinds.of == kind)[-1])
            if last + each.count >= count:
                raise HeddleError(f"instruction {last}: guard reaches instruction {last + each.count}, but the last is "
                                  f"{count - 1}")  # fmt: skip
    reached = 0
    for period in _list(f"{program.name}: periods", program.periods):
        name = f"{program.name}: a period"
        _require(isinstance(period, Period), f"{name} must be a Period", period)
        require_range(f"{name}'s start", period.start, 0, count)
        require_range(f"{name}'s length", period.length, 1, count)
        require_range(f"{name}'s count", period.count, 1, count)
        stop = period.start + period.length * period.count
        if period.start < reached or stop > count:
            raise HeddleError(f"{name} must lie between instructions {reached} and {count - 1}, "
                              f"not from {period.start} to {stop - 1}")  # fmt: skip
        of, address = (each[period.start : stop].reshape(period.count, -1) for each in (kinds.of, kinds.addresses))
        if (of != of[0]).any() or ((address - address[0]) % program.config.burst_bytes).any():
            raise HeddleError(f"{name} must be equal instructions but for DRAM addresses, and these apart by whole "
                              f"bursts: those from {period.start} to {stop - 1} are not")  # fmt: skip
        reached = stop


# -- places in DRAM ----------------------------------------------------------------------------------------------------


class Span(NamedTuple):
    """Bytes [start, stop) of DRAM."""

    start: int
    stop: int
    what: str

    def __str__(self) -> str:
        return f"{self.what} (bytes {self.start} to {self.stop - 1})"


def check_dram(program: Program) -> None:
    """Raise HeddleError where something lies outside DRAM, or over something that it would destroy."""
    code = Span(0, program.code_bytes, "the code")
    data = [Span(start, start + len(content), f"data {number}")
            for number, (start, content) in enumerate(program.data) if content]  # fmt: skip
    cache = Span(program.cache_address, program.cache_address + program.cache_bytes, "the KV cache")
    tensors = {kind: list(_tensors(program, kind)) for kind in TENSOR_KINDS}
    every = [code, *data, cache, *(each for some in tensors.values() for each in some)]
    beyond = next((each for each in every if each.stop > program.dram_bytes), None)
    if beyond:
        raise HeddleError(f"{program.name}: {beyond} must lie within the {program.dram_bytes} bytes of DRAM")
    # What is there before the run is there once. The cache may be filled by data, or by content of its own.
    before = [code, *data, *tensors["input"]]
    whole = [cache] if program.cache_bytes else []
    for together in (
        [*before, *(whole if program.cache else [])],
        [code, *tensors["input"], *whole],
    ):
        _require_apart(together, program.name)
    for kind in ("output", "scratch", "constant"):
        for each in tensors[kind]:
            _require_apart([code, each], program.name)
    for each in tensors["input"] if tensors["constant"] else ():
        over = next((one for one in tensors["constant"] if one.start < each.stop and each.start < one.stop), None)
        if over:
            raise HeddleError(f"{program.name}: {each} must not lie over {over}")


def _tensors(program: Program, kind: str) -> Iterator[Span]:
    for each in program.tensors.values():
        if each.kind == kind:
            yield Span(each.address, each.address + each.size_bytes, f"{kind} {each.name!r}")


def _require_apart(spans: list[Span], name: str) -> None:
    last: Span | None = None
    for each in sorted(spans):
        if last is not None and each.start < last.stop:
            raise HeddleError(f"{name}: {each} must not lie over {last}")
        if last is None or each.stop > last.stop:
            last = each

