"""The control and status registers: each is defined here once, with its offset, access, bits and meaning.

From this come the RTL's decode (hw/csr.py), the bench of lock-step, docs/registers.md, a C header and SystemRDL
(register_files.py). What happens when stands in docs/architecture.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum, unique

from .config import PAGE_LIMIT, SCALAR_COUNT, HardwareConfig, Memory, Unit
from .encoding import instruction_set_fingerprint

VERSION = 0x48444C01  # "HDL", and in the lowest byte the version of this layout


class ErrorKind(IntEnum):
    """What stopped a run: the field `kind` of ERROR."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> ErrorKind:
        self = int.__new__(cls, code)
        self._value_, self.meaning = code, meaning
        return self

    NONE = 0, "no error"
    BANK_CONFLICT = 1, "two units used one port of a memory bank in one cycle"
    SEMAPHORE_OVERFLOW = 2, "more tokens than a semaphore counts"
    UNKNOWN_OPCODE = 3, "an instruction whose opcode the machine does not know"
    AXI_RESPONSE = 4, "a response on the DRAM port that was not OKAY"
    BEYOND_CACHE = 5, "a burst beyond the KV cache, or a page number that is not one"
    BEYOND_DRAM = 6, "a burst beyond the DRAM region"
    ILLEGAL_INSTRUCTION = 7, "a field that no unit can execute: a size of 0, a value or unit that does not exist"
    NO_HALT = 8, "the last of GROUPS groups was dispatched, and no halt was among them"
    NO_PROGRAM = 9, "GROUPS was 0"
    DEADLOCK = 10, "all that is dispatched waits for tokens, nothing runs, and nothing more can be dispatched"


class PeKind(IntEnum):
    """Operands of the array: the field `pe` of FORMATS."""

    INT8 = 0
    BF16 = 1


class ValueFormat(IntEnum):
    """How VALUE stores numbers: the field `value` of FORMATS."""

    BF16 = 0
    FLOAT32 = 1


class VectorFormat(IntEnum):
    """How VECTOR, SOFTMAX and NORM compute: the field `vector` of FORMATS."""

    FLOAT32 = 0
    TF32 = 1


@dataclass(frozen=True)
class BitField:
    """`bits` bits of a register from bit `low` on, and the enumeration that they stand for, if any."""

    name: str
    low: int
    bits: int
    meaning: str
    values: type[IntEnum] | None = None

    @property
    def mask(self) -> int:
        """The bits of this field in the register."""
        return ((1 << self.bits) - 1) << self.low

    def of(self, content: int) -> int:
        """What this field holds in a register that reads `content`."""
        return (content & self.mask) >> self.low


Value = Callable[[HardwareConfig, int], int]  # of a constant register of a machine; number i of those of that name


def _register(
    offset: int, access: str, meaning: str, *fields: BitField, bits: int = 32, count: int = 1,
    each: type[IntEnum] | None = None, value: Value | None = None,
) -> tuple:  # fmt: skip
    """Access: R, W or RW. `count` registers of one meaning, or one for `each` of an enumeration, stand 4 bytes apart.
    Only the lowest `bits` bits are there, the others read as 0. `value`: a constant of the machine. All others are 0
    after reset."""
    bits = max((field.low + field.bits for field in fields), default=bits)
    return offset, access, meaning, fields, bits, len(each) if each else count, each, value


def _formats(config: HardwareConfig) -> int:
    """The content of FORMATS."""
    vector = VectorFormat[config.vector_format.upper()]
    return PeKind[config.pe.upper()] | ValueFormat[config.value_format.upper()] << 1 | vector << 2


@unique
class Register(IntEnum):
    """A register, as a number its byte offset. `Register.BUSY + 4 * u` is number u of those that BUSY stands for."""

    access: str
    meaning: str
    fields: tuple[BitField, ...]
    bits: int
    count: int
    each: type[IntEnum] | None
    value_of: Value | None

    def __new__(
        cls, offset: int, access: str, meaning: str, fields: tuple[BitField, ...], bits: int, count: int,
        each: type[IntEnum] | None, value_of: Value | None,
    ) -> Register:  # fmt: skip
        self = int.__new__(cls, offset)
        self._value_ = offset
        self.access, self.meaning, self.fields, self.bits, self.count = access, meaning, fields, bits, count
        self.each, self.value_of = each, value_of
        return self

    CONTROL = _register(
        0x00, "W", "commands; a 1 in a bit is one, and nothing is kept",
        BitField("start", 0, 1, "begin a run, once nothing of an earlier one is under way; ignored during a run"),
        BitField("clear", 1, 1, "forget done, error and aborted, and zero the counters"),
        BitField("abort", 2, 1, "end the run: dispatch nothing more, let what has started run out"),
    )  # fmt: skip
    STATUS = _register(
        0x04, "R", "where the machine stands",
        BitField("busy", 0, 1, "a run, or what an earlier one left under way; also while a start waits for that"),
        BitField("done", 1, 1, "the last run came to its halt"),
        BitField("error", 2, 1, "the last run was stopped by an error"),
        BitField("aborted", 3, 1, "the last run was aborted, and nothing of it is under way"),
    )  # fmt: skip
    INTERRUPT = _register(
        0x08, "RW", "the `interrupt` line is enable and (done or error or aborted)",
        BitField("enable", 0, 1, "whether the line may rise"),
    )  # fmt: skip
    ERROR = _register(
        0x0C, "R", "the first error of the run",
        BitField("kind", 0, 4, "what stopped it", ErrorKind),
        BitField("memory", 4, 3, "of a bank conflict", Memory),
        BitField("units", 8, 8, "units involved: bit u is unit u"),
    )  # fmt: skip
    PROGRAM_LOW = _register(0x10, "RW", "DRAM address of the program, a multiple of 256")
    PROGRAM_HIGH = _register(0x14, "RW", "its upper bits", bits=8)
    GROUPS = _register(0x18, "RW", "groups of 8 instructions in the program")
    VERSION = _register(
        0x1C, "R", "what is behind this port",
        BitField("layout", 0, 8, "version of this layout of registers"),
        BitField("magic", 8, 24, "0x48444c, \"HDL\""),
        value=lambda config, _: VERSION,
    )  # fmt: skip
    CYCLES_LOW = _register(0x20, "R", "cycles of the last or current run; a read latches the upper bits")
    CYCLES_HIGH = _register(0x24, "R", "its upper bits", bits=8)
    INSTRUCTIONS = _register(0x28, "R", "instructions retired")
    READ_BEATS = _register(0x2C, "R", "beats read on the DRAM port")
    WRITE_BEATS = _register(0x30, "R", "beats written on it")
    ERROR_INSTRUCTIONS = _register(
        0x34, "R", "places in the program of the instructions at fault: of the lowest and of the highest unit involved",
        bits=20, count=2,
    )  # fmt: skip
    BUSY = _register(0x40, "R", "cycles each unit was executing", each=Unit)
    WAITING = _register(0x60, "R", "cycles each unit had an instruction but not its tokens", each=Unit)
    SCALAR = _register(0x80, "RW", "scalar registers; number 0 reads as 0", count=SCALAR_COUNT)
    KV_BASE_LOW = _register(0x100, "RW", "DRAM address of the cache region, a multiple of 4096")
    KV_BASE_HIGH = _register(0x104, "RW", "its upper bits", bits=8)
    KV_BYTES_LOW = _register(0x108, "RW", "size of the cache region in bytes")
    KV_BYTES_HIGH = _register(0x10C, "RW", "its upper bits", bits=8)
    DRAM_BASE_LOW = _register(0x110, "RW", "DRAM address of the region that a run may touch, a multiple of 4096")
    DRAM_BASE_HIGH = _register(0x114, "RW", "its upper bits", bits=8)
    DRAM_BYTES_LOW = _register(0x118, "RW", "size of that region in bytes")
    DRAM_BYTES_HIGH = _register(0x11C, "RW", "its upper bits", bits=8)
    FINGERPRINT_LOW = _register(
        0x180, "R", "fingerprint of the configuration, which a program states too",
        value=lambda config, _: int(config.fingerprint, 16) & 0xFFFFFFFF,
    )  # fmt: skip
    FINGERPRINT_HIGH = _register(
        0x184, "R", "its upper bits", value=lambda config, _: int(config.fingerprint, 16) >> 32
    )
    INSTRUCTION_SET = _register(
        0x188, "R", "fingerprint of the instruction set: opcodes, fields and enumerations",
        value=lambda config, _: instruction_set_fingerprint(),
    )  # fmt: skip
    FORMATS = _register(
        0x18C, "R", "formats of numbers",
        BitField("pe", 0, 1, "operands of the array", PeKind),
        BitField("value", 1, 1, "what VALUE stores", ValueFormat),
        BitField("vector", 2, 1, "how VECTOR, SOFTMAX and NORM compute", VectorFormat),
        value=lambda config, _: _formats(config),
    )  # fmt: skip
    ROWS = _register(0x190, "R", "rows of PEs", value=lambda config, _: config.rows)
    COLUMNS = _register(0x194, "R", "columns of PEs", value=lambda config, _: config.columns)
    LANES = _register(0x198, "R", "lanes of VECTOR, SOFTMAX and NORM", value=lambda config, _: config.vector_lanes)
    PANEL_ROWS = _register(
        0x19C, "R", "most rows of one of their instructions", value=lambda config, _: config.panel_rows
    )
    QUEUE_DEPTH = _register(
        0x1A0, "R", "instructions that wait before each unit", value=lambda config, _: config.queue_depth
    )
    AXI_BYTES = _register(0x1A4, "R", "bytes of a beat on the DRAM port", value=lambda config, _: config.axi_bytes)
    BURST_BEATS = _register(0x1A8, "R", "beats of its longest burst", value=lambda config, _: config.burst_beats)
    LOAD_OUTSTANDING = _register(
        0x1AC, "R", "bursts that LOAD has in flight at most", value=lambda config, _: config.load_outstanding
    )
    PAGE_ENTRIES = _register(
        0x1B0, "R", "entries of all page tables of the KV cache together",
        value=lambda config, _: config.words(Memory.PAGE) * config.word_elements(Memory.PAGE),
    )  # fmt: skip
    PAGE_LIMIT = _register(0x1B4, "R", "page numbers are below this", value=lambda config, _: PAGE_LIMIT)
    MEMORY_WORDS = _register(
        0x1C0, "R", "words of each on-chip memory", each=Memory, value=lambda config, m: config.words(Memory(m))
    )
    MEMORY_BANKS = _register(
        0x1E0, "R", "banks of each on-chip memory", each=Memory, value=lambda config, m: config.banks(Memory(m))
    )

    @property
    def offsets(self) -> range:
        """The byte offsets of the registers of this name."""
        return range(self, self + 4 * self.count, 4)

    def field(self, name: str) -> BitField:
        """The field of that name."""
        return next(each for each in self.fields if each.name == name)

    def mask(self, name: str) -> int:
        """The bits of the field of that name."""
        return self.field(name).mask


def error_text(content: int, instructions: Sequence[int]) -> str:
    """One line about what ERROR and ERROR_INSTRUCTIONS read."""
    kind = ErrorKind(Register.ERROR.field("kind").of(content))
    units = Register.ERROR.field("units").of(content)
    details = [f"memory {Memory(Register.ERROR.field('memory').of(content)).name}"] * (kind == ErrorKind.BANK_CONFLICT)
    details += ["units " + ", ".join(unit.name for unit in Unit if units >> unit & 1)] * (units != 0)
    details += ["instructions " + ", ".join(map(str, dict.fromkeys(instructions)))]
    return f"{kind.name.lower().replace('_', ' ')}: {kind.meaning} ({'; '.join(details)})"
