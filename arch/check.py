"""What makes a program illegal as written: fields out of range, DRAM out of reach, tokens that nobody has sent.

Instructions of one kind whose addresses have equal remainders are legal or illegal together but for the end of DRAM, so
only the first of each is looked at, and the first that reaches too far or waits in vain.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .accesses import may_be_wrong
from .config import FETCH_GROUP, INSTRUCTION_BYTES, HardwareConfig, Unit
from .encoding import encoding, listing
from .errors import HeddleError
from .isa import Instruction
from .kinds import Kinds

ALIGNMENT = 4096  # a multiple of all that addresses must be multiples of


def check_instructions(
    config: HardwareConfig, instructions: Sequence[Instruction], kinds: Kinds, dram_bytes: int, cache_bytes: int
) -> None:
    """Raise HeddleError for the first instruction that does not fit the machine, writes where instructions stand, or
    waits without an earlier signal."""
    _check_encoding(instructions, kinds)
    reach = kinds.spread([_reach(each, config) for each in kinds.examples])
    beyond = np.flatnonzero((reach > 0) & (kinds.addresses + reach > dram_bytes))[:1].tolist()
    code_bytes = -(-len(instructions) // FETCH_GROUP) * FETCH_GROUP * INSTRUCTION_BYTES
    stores = kinds.spread([_writes_dram(each) for each in kinds.examples])
    over_code = np.flatnonzero(stores & (kinds.addresses < code_bytes))[:1].tolist()
    suspect = kinds.spread(may_be_wrong(kinds.examples, config))
    missing = first_missing_token(kinds)
    waiting = [] if missing is None else [missing[0]]
    for index in sorted({*kinds.first_of_each(ALIGNMENT), *beyond, *over_code, *waiting}):
        instruction = instructions[index]
        try:
            instruction.check_fields(config)
            if suspect[index]:
                instruction.check_accesses(config)
        except HeddleError as error:
            raise HeddleError(f"instruction {index}: {error}") from None
        if index in beyond:
            last = kinds.addresses[index] + reach[index] - 1
            raise HeddleError(f"instruction {index}: {instruction.name} reaches DRAM byte {last}, "
                              f"but the program has {dram_bytes}")  # fmt: skip
        if index in over_code:
            raise HeddleError(f"instruction {index}: store must write behind the code, which takes the bytes 0 to "
                              f"{code_bytes - 1} of DRAM, not from {kinds.addresses[index]} on")  # fmt: skip
        if instruction.unit is Unit.KV and not cache_bytes:
            raise HeddleError(f"instruction {index}: {instruction.name} needs a program with a cache region")
        if missing is not None and index == missing[0]:
            assert instruction.unit is not None
            raise HeddleError(f"instruction {index}: {listing(instruction)}: no earlier instruction of "
                              f"{missing[1].name} signals {instruction.unit.name}")  # fmt: skip


def _check_encoding(instructions: Sequence[Instruction], kinds: Kinds) -> None:
    """What `Instruction.check_encoding` says, of the first of each kind and of the first address that does not fit."""
    bits = [encoding(type(each))["dram_address"][1].bits if hasattr(each, "dram_address") else 1
            for each in kinds.examples]  # fmt: skip
    wrong = (kinds.addresses < 0) | (kinds.addresses >> kinds.spread(bits) != 0)
    firsts = np.unique(kinds.of, return_index=True)[1].tolist()
    for index in sorted({*firsts, *np.flatnonzero(wrong)[:1].tolist()}):
        try:
            instructions[index].check_encoding()
        except HeddleError as error:
            raise HeddleError(f"instruction {index}: {error}") from None


def _reach(instruction: Instruction, config: HardwareConfig) -> int:
    """Bytes of DRAM from its address to its end; 0 if that is not known (gather and scatter tell that of row 0)."""
    return instruction.transfer(config).span_bytes if instruction.dram and not instruction.dram.cache else 0


def _writes_dram(instruction: Instruction) -> bool:
    """Whether it writes DRAM outside the KV cache."""
    dram = instruction.dram
    return dram is not None and dram.write and not dram.cache


def first_missing_token(kinds: Kinds) -> tuple[int, Unit] | None:
    """The first instruction that waits for a token which no earlier one sends, and whose token that is."""
    units = kinds.spread([-1 if each.unit is None else each.unit for each in kinds.examples])
    wait = kinds.spread([each.wait for each in kinds.examples])
    signal = kinds.spread([each.signal for each in kinds.examples])
    found = []
    for unit in Unit:
        for source in Unit:
            takers = np.flatnonzero((units == unit) & (wait >> source & 1 == 1))
            if len(takers):
                senders = np.flatnonzero((units == source) & (signal >> unit & 1 == 1))
                sent_before = np.searchsorted(senders, takers)
                short = takers[sent_before <= np.arange(len(takers))]
                found += [(int(index), source) for index in short[:1]]
    return min(found, default=None)
