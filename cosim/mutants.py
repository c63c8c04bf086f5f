"""Programs that are nearly legal: random ones with one or two things changed, down to single bits of their code.

What is to become of them, illegal_programs.py says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arch.config import FETCH_GROUP, INSTRUCTION_BITS, INSTRUCTION_BYTES, SCALAR_COUNT, HardwareConfig
from ..arch.encoding import OPCODE_BITS, OPCODES, decode, encode, encoding
from ..arch.errors import HeddleError
from ..arch.isa import Halt, Instruction
from ..arch.program import Program
from .random_programs import random_program

MUTANTS_OF_ONE = 16  # of each random program
INSTRUCTIONS = 10  # of each, and what fills and drains the memories
WILD = (0, 1, 2, 3, 7, 255, 4095, 65535, (1 << 20) - 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
FLOATS = (0x00000000, 0x80000000, 0x00000001, 0x807FFFFF, 0x00800000, 0x7F7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000,
          0x7F800001, 0xFFC12345, 0x3F800000)  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A changed program as the host hands it over: `code` is what stands at address 0 of DRAM, `groups` what the host
    writes to GROUPS, and `program` tells the rest; its instructions are those from which `code` was made."""

    number: int
    changes: tuple[str, ...]
    program: Program
    code: bytes
    groups: int
    refused: str = ""  # why such a program cannot even be made

    def instructions(self) -> list[Instruction | HeddleError]:
        """What stands in its groups: instructions, and why others are none."""
        found: list[Instruction | HeddleError] = []
        for start in range(0, self.groups * FETCH_GROUP * INSTRUCTION_BYTES, INSTRUCTION_BYTES):
            try:
                found.append(decode(self.code[start : start + INSTRUCTION_BYTES]))
            except HeddleError as error:
                found.append(HeddleError(f"instruction {start // INSTRUCTION_BYTES}: {error}"))
        return found

    def of(self, instructions: Sequence[Instruction]) -> Program:
        """A program of these instructions, all else being that of this one."""
        return replace(self.program, instructions=tuple(instructions), labels=(), periods=())

    def image(self) -> NDArray[np.uint8]:
        """All of DRAM before the run."""
        program = self.program
        image = np.zeros(program.dram_bytes, np.uint8)
        for address, content in ((0, self.code), *program.data, (program.cache_address, program.cache)):
            image[address : address + len(content)] = np.frombuffer(content, np.uint8)
        return image


def mutants(config: HardwareConfig, seed: int = 0) -> Iterator[Mutant]:
    """Mutants without end, always the same for a seed. Few of them are legal."""
    program: Program | None = None
    for number in count():
        if number % MUTANTS_OF_ONE == 0 or program is None:
            program = random_program(config, seed * 1_000_003 + number // MUTANTS_OF_ONE, INSTRUCTIONS)
        yield _Mutation(program, Random(f"{config.fingerprint} {seed} {number}")).mutant(number)


class _Mutation:
    """Changes one or two things of a program."""

    def __init__(self, program: Program, random: Random) -> None:
        self.program, self.random = program, random
        self.words = [int.from_bytes(encode(each), "little") for each in program.instructions]
        self.groups: int | None = None
        self.refused = ""
        self.changes: list[str] = []

    def mutant(self, number: int) -> Mutant:
        """The changed program."""
        kinds: dict[Callable[[], str], int] = {
            self._field: 30, self._bits: 12, self._opcode: 3, self._header: 8, self._drop: 5, self._repeat: 4,
            self._swap: 6, self._halt: 2, self._group_count: 2, self._datum: 12, self._register: 5, self._place: 4,
            self._sizes: 3, self._fetched_beyond: 2,
        }  # fmt: skip
        for _ in range(self.random.choice([1, 1, 1, 2])):
            change = self.random.choices(list(kinds), list(kinds.values()))[0]
            self.changes.append(change())
        padding = -len(self.words) % FETCH_GROUP
        code = b"".join(word.to_bytes(INSTRUCTION_BYTES, "little") for word in self.words) + bytes(
            padding * INSTRUCTION_BYTES
        )  # a halt is zeros
        groups = len(code) // (FETCH_GROUP * INSTRUCTION_BYTES) if self.groups is None else self.groups
        return Mutant(number, tuple(self.changes), self.program, code, groups, self.refused)

    # -- instructions --------------------------------------------------------------------------------------------------

    def _some(self) -> tuple[int, type[Instruction]]:
        """Any instruction whose opcode is known."""
        known = [place for place, word in enumerate(self.words) if word & ((1 << OPCODE_BITS) - 1) in OPCODES]
        place = self.random.choice(known)
        return place, OPCODES[self.words[place] & ((1 << OPCODE_BITS) - 1)]

    def _field(self) -> str:
        place, kind = self._some()
        return self._set(place, kind, self.random.choice(list(encoding(kind))))

    def _header(self) -> str:
        place, kind = self._some()
        position, field = encoding(kind)[self.random.choice(["wait", "signal"])]
        bit = self.random.randrange(field.bits)
        self.words[place] ^= 1 << position + bit
        return f"instruction {place}: bit {bit} of the mask at {position}"

    def _set(self, place: int, kind: type[Instruction], name: str) -> str:
        position, field = encoding(kind)[name]
        mask = (1 << field.bits) - 1
        before = self.words[place] >> position & mask
        value = self.random.choice([
            before + self.random.choice([-1, 1]), before ^ 1 << self.random.randrange(field.bits), 0, mask,
            self.random.choice(FLOATS if field.kind is float else WILD), self.random.getrandbits(field.bits),
            before + self.random.randint(-8, 8),
        ]) & mask  # fmt: skip
        self.words[place] ^= (before ^ value) << position
        return f"instruction {place}: {kind.__name__.lower()}.{name} {before:#x} to {value:#x}"

    def _bits(self) -> str:
        place = self.random.randrange(len(self.words))
        flipped = sorted(self.random.sample(range(INSTRUCTION_BITS), self.random.choice([1, 1, 2, 3])))
        for bit in flipped:
            self.words[place] ^= 1 << bit
        return f"instruction {place}: bits {flipped}"

    def _opcode(self) -> str:
        place = self.random.randrange(len(self.words))
        opcode = self.random.choice([self.random.randrange(1 << OPCODE_BITS), self.random.choice(list(OPCODES))])
        self.words[place] = self.words[place] >> OPCODE_BITS << OPCODE_BITS | opcode
        return f"instruction {place}: opcode {opcode}"

    def _drop(self) -> str:
        place = self.random.randrange(len(self.words))
        del self.words[place]
        return f"without instruction {place}"

    def _repeat(self) -> str:
        place, to = self.random.randrange(len(self.words)), self.random.randrange(len(self.words))
        self.words.insert(to, self.words[place])
        return f"instruction {place} once more, at {to}"

    def _swap(self) -> str:
        place = self.random.randrange(len(self.words) - 1)
        other = self.random.choice([place + 1, self.random.randrange(len(self.words))])
        self.words[place], self.words[other] = self.words[other], self.words[place]
        return f"instructions {place} and {other} exchanged"

    def _halt(self) -> str:
        place = self.random.randrange(len(self.words) + 1)
        self.words.insert(place, int.from_bytes(encode(Halt()), "little"))
        return f"a halt at {place}"

    def _group_count(self) -> str:
        groups = -(-len(self.words) // FETCH_GROUP)
        self.groups = self.random.choice([0, groups - 1, self.random.randrange(groups)])
        return f"{self.groups} groups of {groups}"

    def _fetched_beyond(self) -> str:
        more = self.random.randint(1, 3 * FETCH_GROUP)
        self.words += [0] * more
        return f"{more} halts more"

    # -- what the host hands over --------------------------------------------------------------------------------------

    def _hand_over(self, **changes: Any) -> None:
        """Change fields of the program, if there can be such a program."""
        try:
            self.program = replace(self.program, **changes)
        except HeddleError as error:
            self.refused = str(error)

    def _datum(self) -> str:
        pieces = list(self.program.data)
        number = self.random.randrange(len(pieces))
        address, content = pieces[number]
        at = self.random.randrange(0, len(content) - 3, 4)
        value = self.random.choice([self.random.choice(WILD), self.random.choice(FLOATS), self.random.getrandbits(32)])
        count = self.random.choice([1, 1, 4, 64])  # as a whole word is wanted, or a page table
        changed = (value.to_bytes(4, "little") * count)[: len(content) - at]
        pieces[number] = address, content[:at] + changed + content[at + len(changed) :]
        self._hand_over(data=tuple(pieces))
        return f"data {number}: {len(changed)} bytes at {at} are of {value:#x}"

    def _register(self) -> str:
        registers = list(self.program.registers)
        place = self.random.randrange(len(registers))
        number, value = registers[place]
        registers[place] = self.random.choice([
            (number, self.random.choice(WILD)), (number, value ^ 1), (number, self.random.randrange(64)),
            (self.random.randrange(SCALAR_COUNT + 2), value), (number, 1 << 32),
        ])  # fmt: skip
        self._hand_over(registers=tuple(registers))
        return f"register {number} of {value} to {registers[place]}"

    def _place(self) -> str:
        pieces = list(self.program.data)
        number = self.random.randrange(len(pieces))
        address, content = pieces[number]
        to = self.random.choice([
            address + self.random.choice([-4, 4, 1, -64, 4096]), 0, -4, self.program.dram_bytes - 8,
            self.random.randrange(self.program.dram_bytes),
        ])  # fmt: skip
        pieces[number] = to, content
        self._hand_over(data=tuple(pieces))
        return f"data {number} from {address} to {to}"

    def _sizes(self) -> str:
        name = self.random.choice(["dram_bytes", "cache_bytes", "cache_address"])
        before = getattr(self.program, name)
        after = self.random.choice([before * 2, before // 2, before + 4, before - 4, before + 4096, 0, -4096])
        self._hand_over(**{name: after})
        return f"{name} {before} to {after}"
