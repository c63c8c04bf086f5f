"""What a designer chooses about one accelerator, and every size and latency that follows from it.

`HardwareConfig` is the first argument of everything: the RTL is elaborated from it, the simulator takes its closed
forms from it, the compiler tiles for it. Primary fields are what a designer chooses; properties are what follows.
"""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated

from .dram import DRAM_PRESETS, Dram, DramConfig, as_dram
from .errors import HeddleError, require_type, shown, unknown
from .functions import EVALUATE_CYCLES, FRACTION_BITS
from .ranges import make_plain
from .stated import Stated, check_kinds, check_ranges, stated_fields


class Memory(IntEnum):
    """The on-chip memories. The number is the code in LOAD and STORE; a word is what one port moves in one cycle."""

    ACT = 0  # rows × int8: codes of the moving operand, streamed into the array
    WEIGHT = 1  # columns × int8: codes of the stationary operand
    PARAM = 2  # columns × (scale, offset) float32: a pair for each column of a tensor
    VALUE = 3  # columns × bf16 or float32: values between operators
    INDEX = 4  # one AXI beat of int32: row numbers for gathers
    ACC = 5  # columns × int32: what the array accumulates (not reachable by DMA)
    ROW = 6  # one float32: a number for each row of a tensor, such as its scale (not reachable by DMA)
    PAGE = 7  # one AXI beat of int32: page tables of the KV cache


class Unit(IntEnum):
    """The units that execute instructions, each in order from its own queue. The number is the bit in wait/signal."""

    LOAD = 0
    STORE = 1
    KV = 2
    MATRIX = 3
    VECTOR = 4
    SOFTMAX = 5
    NORM = 6


WIDE_PRECISION = 24  # significand bits of float32, the leading one included
VECTOR_FORMATS = {"float32": WIDE_PRECISION, "tf32": 11}  # vector_format → significand bits
FACTOR_BITS = {WIDE_PRECISION: WIDE_PRECISION, 11: 18}  # of them → those of scores' factors and numbers of rows
# Latencies of the float operators, in cycles from operands to result (throughput is one per cycle).
MULTIPLY_CYCLES = 3
ADD_CYCLES = 4  # a power of two: a running sum in one adder keeps this many partial sums
SUM_CYCLES = ADD_CYCLES + 1  # VECTOR: an addition of Reduce, with the choice of its operands
SUM_LANES = 4  # VECTOR: lanes that one adder of Reduce serves
MEAN_CYCLES = MULTIPLY_CYCLES  # NORM: from the sum of a row to its mean
ROW_SUM_INTERVAL = ADD_CYCLES + 2  # least cycles from a row to the next: one adder adds up its running sums, in pairs
SCORE_CYCLES = 6 + ADD_CYCLES  # SOFTMAX: from a sum or value to its score
REFERENCE_CYCLES = 3  # from the greatest of a row to what its scores are compared with
POWER_CYCLES = 7  # from a score to 2^(t − greatest)
SOFTMAX_ROW_INTERVAL = 5  # least cycles from a row to the next in the phase of sums: one multiplier has four products
CONVERT_CYCLES = 2  # int32 to float32
ROUND_CYCLES = 2  # to int8
MEMORY_CYCLES = 2  # from address to data: a RAM answers in the next cycle, and behind it stands a register
NUMBER_CYCLES = 1  # the same of INDEX and PAGE, which are one RAM
DISPATCH_CYCLES = 2  # from the last beat of an instruction to its dispatch: decoded, and in the RAM of its queue
INSTRUCTION_BITS = 256
INSTRUCTION_BYTES = INSTRUCTION_BITS // 8
FETCH_GROUP = 8  # instructions in one fetch burst
FETCH_BUFFER = 16  # instructions the fetch buffer holds
LEAST_BEAT_BYTES = 4  # of the DRAM port
INDEX_BITS = 20  # of the place of an instruction in its program
DRAM_LIMIT = 1 << 40  # bytes that DRAM addresses reach
SEMAPHORE_LIMIT = 65535  # largest count of one semaphore
SCALAR_COUNT = 32  # scalar registers; number 0 always reads as 0
SCALAR_LIMIT = (1 << 32) - 1  # the largest number that one holds
PAGE_LIMIT = 1 << 16  # page numbers of the KV cache are below this
APPEND_ITEMS = 8  # words or pairs that APPEND has read and not yet written
GATE_CYCLES = 1  # LOAD, STORE, KV: a burst is held against its region before it is requested
GATHER_CYCLES = 8  # LOAD: from reading the number of a row to its address
LOOKUP_CYCLES = 4  # KV: from reading the page table to an address
SUM_BITS = 49  # of three panels of int32 sums together: (x·256 + y)·256 + z
CONVERT_SUM_CYCLES = 3  # of such an integer to a float
SOURCE_CYCLES = 1 + CONVERT_SUM_CYCLES  # VECTOR: from what memory gives to x, as panels are summed up and converted


@dataclass(frozen=True)
class HardwareConfig:
    """One accelerator. Word counts are totals over all banks of a memory."""

    name: Annotated[str, Stated(
        "what it is called, in the names of files too", rule="1 to 64 characters that can be in the name of a file",
    )]  # fmt: skip
    rows: Annotated[int, Stated(
        "rows of PEs: the reduction (K) direction", "PEs", 2, 256,
        rule="at least 3, with bf16 PEs 2; a multiple of vector_lanes",
        cost="columns more PEs, each a multiplier; wider ACT; sums come a cycle later (bf16 PEs: 4)",
    )]  # fmt: skip
    columns: Annotated[int, Stated(
        "columns of PEs: output features (N)", "PEs", 2, 256,
        rule="at least 3, with bf16 PEs 2; a multiple of vector_lanes",
        cost="rows more PEs; wider WEIGHT, ACC, VALUE and PARAM; sums come a cycle later",
    )]  # fmt: skip
    vector_lanes: Annotated[int, Stated(
        "elements a cycle in VECTOR, SOFTMAX and NORM", "elements", 1, 256, power_of_two=True,
        rule="divides rows and columns",
        cost="float operators of three units for each lane, on nano six of seven multipliers; trees get deeper",
    )]  # fmt: skip
    act_words: Annotated[int, Stated(
        "ACT: codes that move through the array; of all banks", "words", 4, 1 << 20, power_of_two=True,
        cost="RAM of rows × 8 bits for each word (bf16 PEs: 16)",
    )]  # fmt: skip
    act_banks: Annotated[int, Stated(
        "banks of ACT: two units use one port of one at different times", "banks", 1, 64, power_of_two=True,
        rule="at most half of act_words", cost="wider multiplexers, shorter RAMs",
    )]  # fmt: skip
    weight_words: Annotated[int, Stated(
        "WEIGHT: codes that stand in the array; of all banks", "words", 4, 1 << 20, power_of_two=True,
        rule="at least rows and columns", cost="RAM of columns × 8 bits for each word (bf16 PEs: 16)",
    )]  # fmt: skip
    weight_banks: Annotated[int, Stated(
        "banks of WEIGHT: two units use one port of one at different times", "banks", 1, 64, power_of_two=True,
        rule="at most half of weight_words", cost="wider multiplexers, shorter RAMs",
    )]  # fmt: skip
    acc_words: Annotated[int, Stated(
        "ACC: sums of the array; of all banks", "words", 4, 1 << 20, power_of_two=True,
        cost="RAM of columns × 32 bits for each word",
    )]  # fmt: skip
    acc_banks: Annotated[int, Stated(
        "banks of ACC: two units use one port of one at different times", "banks", 1, 64, power_of_two=True,
        rule="at most half of acc_words", cost="wider multiplexers, shorter RAMs",
    )]  # fmt: skip
    value_words: Annotated[int, Stated(
        "VALUE: values between operators; of all banks", "words", 4, 1 << 20, power_of_two=True,
        cost="RAM of columns × 16 bits for each word (float32: 32)",
    )]  # fmt: skip
    value_banks: Annotated[int, Stated(
        "banks of VALUE: two units use one port of one at different times", "banks", 1, 64, power_of_two=True,
        rule="at most half of value_words", cost="wider multiplexers, shorter RAMs",
    )]  # fmt: skip
    param_words: Annotated[int, Stated(
        "PARAM: a scale and an offset for each column of a tensor; of all banks", "words", 4, 1 << 20,
        power_of_two=True, cost="RAM of columns × 64 bits for each word",
    )]  # fmt: skip
    param_banks: Annotated[int, Stated(
        "banks of PARAM: two units use one port of one at different times", "banks", 1, 64, power_of_two=True,
        rule="at most half of param_words", cost="wider multiplexers, shorter RAMs",
    )]  # fmt: skip
    row_words: Annotated[int, Stated(
        "ROW: a number for each row of a tensor; of all banks", "words", 4, 1 << 20, power_of_two=True,
        cost="RAM of 32 bits for each word",
    )]  # fmt: skip
    row_banks: Annotated[int, Stated(
        "banks of ROW: two units use one port of one at different times", "banks", 1, 64, power_of_two=True,
        rule="at most half of row_words", cost="wider multiplexers, shorter RAMs",
    )]  # fmt: skip
    index_words: Annotated[int, Stated(
        "INDEX: row numbers for gathers and scatters", "words", 4, 1 << 16, power_of_two=True,
        cost="RAM of axi_bytes for each word",
    )]  # fmt: skip
    page_words: Annotated[int, Stated(
        "PAGE: page tables of the KV cache", "words", 4, 1 << 12, power_of_two=True,
        cost="RAM of axi_bytes for each word",
    )]  # fmt: skip
    panel_rows: Annotated[int, Stated(
        "most rows of one VECTOR, SOFTMAX or NORM instruction", "rows", 2, 4096, power_of_two=True,
        cost="tables of a number for each row in those units",
    )]  # fmt: skip
    queue_depth: Annotated[int, Stated(
        "instructions that wait at each unit", "instructions", 2, 64, power_of_two=True,
        cost="RAM of 256 bits for each, in every unit",
    )]  # fmt: skip
    axi_bytes: Annotated[int, Stated(
        "width of the DRAM port, each cycle", "bytes", LEAST_BEAT_BYTES, 128, power_of_two=True,
        rule="at most the narrowest word of ACT, WEIGHT and VALUE in DRAM",
        cost="wires of the port; wider buffers in LOAD, STORE and KV",
    )]  # fmt: skip
    burst_beats: Annotated[int, Stated(
        "longest AXI burst", "beats", 2, 256, power_of_two=True, rule="axi_bytes × burst_beats at most 4,096",
        cost="buffers of a burst in STORE and KV; in return fewer requests",
    )]  # fmt: skip
    load_outstanding: Annotated[int, Stated(
        "bursts that LOAD may have in flight", "bursts", 1, 64, power_of_two=True,
        cost="a queue of so many; hides a latency up to load_outstanding × burst_beats × dram.cycles_per_beat",
    )]  # fmt: skip
    value_format: Annotated[str, Stated(
        "how VALUE stores numbers", choices=("bf16", "float32"),
        cost="float32: VALUE twice as wide, and twice the bytes of activations in DRAM",
    )] = "bf16"  # fmt: skip
    vector_format: Annotated[str, Stated(
        "how VECTOR, SOFTMAX and NORM compute; tf32 has 1 + 8 + 10 bits", choices=tuple(VECTOR_FORMATS),
        cost="float32: multipliers of 24 instead of 11 bits",
    )] = "tf32"  # fmt: skip
    pe: Annotated[str, Stated(
        "numbers of the array; with bf16 its sums are float32", choices=("int8", "bf16"),
        cost="bf16: a float adder in each PE, codes twice as wide, longer drains",
    )] = "int8"  # fmt: skip
    clock_mhz: Annotated[int, Stated(
        "clock, for seconds and DRAM presets; 1,000: assumed of an ASIC, none was placed", "MHz", 1, 10_000,
    )] = 1000  # fmt: skip
    dram: Annotated[DramConfig, Stated(
        "the memory behind the port: a table of its own", rule="a table, or the name of a preset",
    )] = field(default_factory=DramConfig)  # fmt: skip

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise HeddleError("name must be 1 to 64 characters that can be in the name of a file, without / \\ \" and "
                              f"control characters, not {self.name!r}")  # fmt: skip
        require_type("dram", self.dram, DramConfig, "a DramConfig (with_dram takes a preset's name too)")
        check_ranges(self)
        make_plain(self, *(each.name for each in fields(self)))
        check_kinds(self)
        for memory in Memory:
            prefix = memory.name.lower()
            if self.banks(memory) * 2 > self.words(memory):
                raise HeddleError(f"{prefix}_banks must be at most half of {prefix}_words ({self.words(memory)}), "
                                  f"not {self.banks(memory)}")  # fmt: skip
        if self.rows % self.vector_lanes or self.columns % self.vector_lanes:
            raise HeddleError(f"vector_lanes must divide rows ({self.rows}) and columns ({self.columns}), "
                              f"not {self.vector_lanes}")  # fmt: skip
        for name in ("rows", "columns"):
            # A word of a memory in DRAM takes a power of two of bytes, and a beat has at least four of them.
            least = -(-LEAST_BEAT_BYTES * 8 // (2 * self.code_bits)) + 1
            if getattr(self, name) < least:
                raise HeddleError(f"{name} must be at least {least} with {self.pe} PEs, so that a word fills a beat of "
                                  f"{LEAST_BEAT_BYTES} bytes, not {getattr(self, name)}")  # fmt: skip
        tile = max(self.rows, self.columns)
        if self.weight_words < tile:
            raise HeddleError(f"weight_words must be at least {tile}, to hold a tile of {self.rows} words and a block "
                              f"of {self.columns} cached tokens, not {self.weight_words}")  # fmt: skip
        narrowest = min(self.dram_word_bytes(m) for m in (Memory.ACT, Memory.WEIGHT, Memory.VALUE))
        if self.axi_bytes > narrowest:
            raise HeddleError(f"axi_bytes must be at most the narrowest memory word ({narrowest} bytes), "
                              f"not {self.axi_bytes}")  # fmt: skip
        if self.burst_bytes > 4096:
            raise HeddleError(f"axi_bytes × burst_beats must be at most 4096 (the AXI 4 KiB rule), "
                              f"not {self.burst_bytes}")  # fmt: skip
        self.dram.require_port(self.axi_bytes, self.burst_bytes)

    # -- memories -----------------------------------------------------------------------------------------------------

    def words(self, memory: Memory) -> int:
        """Words in `memory`, all banks together."""
        return self._sizes[memory][0]

    def banks(self, memory: Memory) -> int:
        """Banks of `memory`; bank b holds the words [b × bank_words, (b + 1) × bank_words)."""
        return self._sizes[memory][1]

    def bank_words(self, memory: Memory) -> int:
        """Words in one bank of `memory`."""
        return self._sizes[memory][2]

    def element_bits(self, memory: Memory) -> int:
        """Bits of one element: also the granularity of writes, except that PARAM writes halves of a pair."""
        return self._sizes[memory][3]

    def word_elements(self, memory: Memory) -> int:
        """Elements in one word of `memory`; element 0 is in the least significant bits."""
        return self._sizes[memory][4]

    def word_bits(self, memory: Memory) -> int:
        """Width of `memory` in bits."""
        return self.element_bits(memory) * self.word_elements(memory)

    def read_cycles(self, memory: Memory) -> int:
        """From the address of a word of `memory` to the word."""
        return NUMBER_CYCLES if memory in (Memory.INDEX, Memory.PAGE) else MEMORY_CYCLES

    def dram_word_bytes(self, memory: Memory) -> int:
        """Bytes one word of `memory` takes in DRAM: its own size, rounded up to a power of two."""
        return self._sizes[memory][5]

    @cached_property
    def _sizes(self) -> list[tuple[int, int, int, int, int, int]]:
        """Words, banks, words of a bank, bits of an element, elements of a word and bytes of a word in DRAM, of each
        memory, for they are asked for often."""
        sizes = []
        beat = self.axi_bytes // 4
        bits = {Memory.ACT: self.code_bits, Memory.WEIGHT: self.code_bits, Memory.PARAM: 64,
                Memory.VALUE: self.value_bits}  # fmt: skip
        elements = {Memory.ACT: self.rows, Memory.INDEX: beat, Memory.PAGE: beat, Memory.ROW: 1}
        for memory in Memory:
            words = getattr(self, f"{memory.name.lower()}_words")
            banks = 1 if memory in (Memory.INDEX, Memory.PAGE) else getattr(self, f"{memory.name.lower()}_banks")
            element, count = bits.get(memory, 32), elements.get(memory, self.columns)
            in_dram = _power_of_two_at_least(-(-element * count // 8))
            sizes.append((words, banks, words // banks, element, count, in_dram))
        return sizes

    @property
    def value_bits(self) -> int:
        """Bits of one stored value."""
        return 16 if self.value_format == "bf16" else 32

    @property
    def precision(self) -> int:
        """Significand bits of vector arithmetic, the leading one included."""
        return VECTOR_FORMATS[self.vector_format]

    @property
    def vector_bits(self) -> int:
        """Bits of a number of vector arithmetic: the upper ones of a float32."""
        return 8 + self.precision

    @property
    def function_bits(self) -> int:
        """Significand bits of the results of functions by table."""
        return min(self.precision, FRACTION_BITS)

    @property
    def function_fraction_bits(self) -> int:
        """Bits of the fraction of x that they look at."""
        return min(self.precision - 1, FRACTION_BITS)

    @property
    def code_bits(self) -> int:
        """Bits of one operand of the array: a code."""
        return 8 if self.pe == "int8" else 16

    @property
    def burst_bytes(self) -> int:
        """Bytes of the longest burst; bursts end at multiples of it, so none crosses 4 KiB."""
        return self.axi_bytes * self.burst_beats

    # -- latencies (cycles) --------------------------------------------------------------------------------------------

    @property
    def tile_turnaround_cycles(self) -> int:
        """Least cycles between the first rows of two tiles: a tile's weights take `rows` cycles to shift in, and the
        next tile may add to the same accumulators."""
        return max(self.rows, self.accumulation_cycles)

    @property
    def accumulation_cycles(self) -> int:
        """From reading a word of ACC to the first cycle in which what was added to it can be read: the word is read,
        held, added to and written."""
        return 2 + MEMORY_CYCLES + self.array_add_cycles

    @property
    def array_add_cycles(self) -> int:
        """An addition in the array: also how much later each row of PEs works than the one above it."""
        return 1 if self.pe == "int8" else ADD_CYCLES

    @property
    def array_multiply_cycles(self) -> int:
        """A multiplication in the array."""
        return 1 if self.pe == "int8" else MULTIPLY_CYCLES

    @property
    def array_cycles(self) -> int:
        """From an activation row to its sums: the operand register of the first PE, a product, a sum for each row, a
        hop for each further column."""
        return 1 + self.array_multiply_cycles + self.rows * self.array_add_cycles + (self.columns - 1)

    @property
    def matrix_drain_cycles(self) -> int:
        """From reading the last activation row to writing its sum: memory, array, accumulation."""
        return MEMORY_CYCLES + self.array_cycles + self.array_add_cycles

    @property
    def row_maximum_cycles(self) -> int:
        """From the last group of a row to its maximum: a compare tree over lanes with a register a level, a running
        maximum, an output register."""
        return self.vector_lanes.bit_length() + 1

    @property
    def row_sum_cycles(self) -> int:
        """From the last group of a row to its sum: a register, the tree over lanes, the running sums, a register, the
        sum of the running sums."""
        tree = (self.vector_lanes.bit_length() - 1) * ADD_CYCLES
        return 1 + tree + ADD_CYCLES + 1 + ROW_SUM_INTERVAL - 1 + ADD_CYCLES

    @property
    def sum_adders(self) -> int:
        """VECTOR: adders of Reduce. Each takes sums of SUM_LANES lanes in turns, in no more cycles than it needs for
        one."""
        return max(1, self.vector_lanes // SUM_LANES)

    @property
    def running_sum_cycles(self) -> int:
        """VECTOR, from the last group of a row to its sum: the tree over lanes, of which each level takes the adders
        SUM_CYCLES after the one before, and then the running sum, last in their turns."""
        levels = self.vector_lanes.bit_length() - 1
        return levels * SUM_CYCLES + (self.vector_lanes - 1) // self.sum_adders + SUM_CYCLES

    @property
    def lane_sum_cycles(self) -> int:
        """VECTOR, from the last group of a column to its sum, when those of all lanes are there."""
        return SUM_CYCLES + min(self.vector_lanes, SUM_LANES) - 1

    @property
    def total_cycles(self) -> int:
        """SOFTMAX: from the last powers of a row to their sum: to their places, the tree over lanes, the running sum,
        to a float."""
        return 2 + (self.vector_lanes.bit_length() - 1) + 1 + 2

    @property
    def narrow_cycles(self) -> int:
        """From a float32 to the format of vector arithmetic: a register after the rounding, if there is any."""
        return int(self.precision < WIDE_PRECISION)

    @property
    def subtract_cycles(self) -> int:
        """x − mean, from memory data: of float32 numbers in registers, then rounded."""
        return 1 + ADD_CYCLES + self.narrow_cycles

    @property
    def vector_map_cycles(self) -> int:
        """VECTOR, from memory data to the mapped value: x, × column scale, × row scale, + offset, function, combine, a
        register."""
        return SOURCE_CYCLES + 2 * MULTIPLY_CYCLES + ADD_CYCLES + EVALUATE_CYCLES + ADD_CYCLES + 1

    @property
    def rotate_cycles(self) -> int:
        """VECTOR: how much later x·cosine + partner·sine comes than a product."""
        return ADD_CYCLES

    @property
    def deviation_cycles(self) -> int:
        """NORM, from a sum of squares to 1/√(its mean + ε): × reciprocal, rounding, + ε, rsqrt, and with float32 its
        refinement."""
        refinement = 3 * MULTIPLY_CYCLES + ADD_CYCLES if self.vector_format == "float32" else 0
        return MEAN_CYCLES + self.narrow_cycles + ADD_CYCLES + EVALUATE_CYCLES + refinement

    @property
    def normalise_cycles(self) -> int:
        """NORM, from a value to its result: − mean, × deviation, × γ, + β."""
        return self.subtract_cycles + 2 * MULTIPLY_CYCLES + ADD_CYCLES

    @property
    def quantise_cycles(self) -> int:
        """From a value to its int8 code: × multiplier, round, output register."""
        return MULTIPLY_CYCLES + ROUND_CYCLES + 1

    @property
    def row_scale_cycles(self) -> int:
        """VECTOR, from a row's largest magnitude to 127·rcp(max) in the row table: floor, rcp, × 127, table write; or
        ROM, exponents, table write."""
        return 3 if self.row_scale_is_table else 1 + EVALUATE_CYCLES + MULTIPLY_CYCLES + 1

    @property
    def row_scale_is_table(self) -> bool:
        """Whether significands have so few bits that a ROM holds the factors of a row for all of them."""
        return self.precision < WIDE_PRECISION

    # -- files and identity --------------------------------------------------------------------------------------------

    @property
    def fingerprint(self) -> str:
        """Identifies what a program depends on: every field but the name, the clock and the DRAM."""
        content = {k: v for k, v in asdict(self).items() if k not in ("name", "clock_mhz", "dram")}
        return hashlib.sha256(repr(sorted(content.items())).encode()).hexdigest()[:16]

    @property
    def changed_fields(self) -> list[str]:
        """Fields of the accelerator in which it differs from the preset whose name it carries. Empty for the preset
        itself and for a name that no preset has. Clock and DRAM are stated beside the name, and do not count."""
        preset = PRESETS.get(self.name, self)
        names = (each.name for each in fields(self) if each.name not in ("name", "clock_mhz", "dram"))
        return [name for name in names if getattr(self, name) != getattr(preset, name)]

    @property
    def title(self) -> str:
        """What readers are told it is: its name, and whether it is not the preset of that name."""
        return f"{self.name} (changed)" if self.changed_fields else self.name

    @property
    def file_name(self) -> str:
        """The title as a part of a file's name."""
        return f"{self.name}-changed" if self.changed_fields else self.name

    @property
    def dram_name(self) -> str:
        """The memory behind the port: "ideal", the name of the preset it is at this clock, or "banked"."""
        if not self.dram.banked:
            return "ideal"
        return next(filter(self._is_behind, DRAM_PRESETS), "banked")

    def _is_behind(self, name: str) -> bool:
        try:
            return self.with_dram(name).dram == self.dram
        except HeddleError:  # a memory that this port cannot have
            return False

    def identity(self) -> dict:
        """What a report says of the machine that it is about: plain values under the names of docs/json.md."""
        return {
            "machine": self.name, "changed_fields": self.changed_fields, "fingerprint": self.fingerprint,
            "clock_mhz": self.clock_mhz, "dram": {"name": self.dram_name, **self.dram.to_dict()},
        }  # fmt: skip

    def to_dict(self) -> dict:
        """Plain values, nested under "dram" for the memory behind the port."""
        return {**asdict(self), "dram": self.dram.to_dict()}

    @classmethod
    def from_dict(cls, content: dict) -> HardwareConfig:
        """The inverse of `to_dict`; the memory may also be a `preset` and what differs from it. Raises HeddleError on
        missing or unknown fields."""
        content = dict(content)
        dram = content.pop("dram", {})
        if isinstance(dram, str):
            dram = {"preset": dram}
        require_type("dram", dram, dict, "a table of fields, or the name of a preset")
        dram = dict(dram)
        preset = dram.pop("preset", None)
        if preset is None:
            return _build(cls, {**content, "dram": _build(DramConfig, dram, "dram.")}, "")
        _require_known(DramConfig, dram, "dram.")
        return _build(cls, content, "").with_dram(preset, **dram)

    def to_toml(self) -> str:
        """The configuration as TOML text, every field stated, with what it means."""
        content = {name: value for name, value in asdict(self).items() if name != "dram"}
        lines = _toml_lines(type(self), content)
        lines += ["", "[dram]", *_toml_lines(DramConfig, self.dram.to_dict())]
        return "\n".join(lines) + "\n"

    @classmethod
    def from_toml(cls, text: str) -> HardwareConfig:
        """The inverse of `to_toml`."""
        require_type("a TOML configuration", text, str, "text")
        try:
            content = tomllib.loads(text)
        except RecursionError:
            raise HeddleError("not a TOML configuration: its values are nested too deeply") from None
        except ValueError as error:  # of TOML, or of a number of thousands of digits
            raise HeddleError(f"not a TOML configuration: {error}") from None
        return cls.from_dict(content)

    def with_dram(self, memory: Dram | None = None, **changes) -> HardwareConfig:
        """The same accelerator behind another memory, with fields changed. `memory` is a DramConfig, or a part or the
        name of a part of `DRAM_PRESETS`, at this clock; "ideal" is one too; default: the present one. Raises
        HeddleError if there is none of that name, and for a memory that cannot serve this port."""
        dram = self.dram if memory is None else as_dram(memory, self.clock_mhz, self.axi_bytes, self.burst_bytes)
        _require_known(DramConfig, changes, "dram.")
        dram = replace(dram, **changes) if changes else dram
        return self if dram is self.dram else replace(self, dram=dram)


_NAME = re.compile(r'[^\x00-\x1f\x7f/\\"]{1,64}')


def _power_of_two_at_least(value: int) -> int:
    return 1 << (value - 1).bit_length()


def _toml_lines(cls: type, content: dict) -> list[str]:
    """A line for each field, the comments below each other."""
    shown = {name: f'"{value}"' if isinstance(value, str) else value for name, value in content.items()}
    lines = [f"{name} = {value}" for name, value in shown.items()]
    width = max(map(len, lines))
    return [f"{line:<{width}}  # {stated_fields(cls)[name].comment}" for name, line in zip(content, lines, strict=True)]


def _require_known(cls, content: dict, prefix: str) -> None:
    known = {f.name for f in fields(cls)}
    others = sorted(f"{prefix}{each}" for each in set(content) - known)
    if others:
        raise unknown("configuration field", others[0], sorted(prefix + each for each in known), "fields")


def _build(cls, content: dict, prefix: str):
    _require_known(cls, content, prefix)
    try:
        return cls(**content)
    except TypeError:
        required = [f.name for f in fields(cls) if f.name not in content]
        raise HeddleError(f"configuration field {prefix}{required[0]} is missing") from None


# Clocks: 1000 MHz is a round number to tell cycles as seconds, of an ASIC that nobody has placed; no library was asked.
# What an FPGA reaches says `heddle synth NAME --place --seeds 3`, unit by unit (found so far: docs/decisions/0044).
PRESETS: dict[str, HardwareConfig] = {
    config.name: config
    for config in [
        HardwareConfig(  # 1000 MHz: assumed of an ASIC; on an LFE5U-85F, which it fits, see above
            name="nano", rows=4, columns=4, vector_lanes=2, panel_rows=32,
            act_words=2048, act_banks=2, weight_words=4096, weight_banks=2, acc_words=2048, acc_banks=4,
            value_words=2048, value_banks=4, param_words=512, param_banks=2, row_words=512, row_banks=2,
            index_words=64, page_words=64, queue_depth=4, axi_bytes=4, burst_beats=16, load_outstanding=4,
        ),
        HardwareConfig(  # 1000 MHz: assumed of an ASIC
            name="small", rows=8, columns=8, vector_lanes=4, panel_rows=64,
            act_words=4096, act_banks=4, weight_words=8192, weight_banks=4, acc_words=2048, acc_banks=4,
            value_words=4096, value_banks=4, param_words=512, param_banks=4, row_words=1024, row_banks=4,
            index_words=64, page_words=64, queue_depth=8, axi_bytes=8, burst_beats=16, load_outstanding=8,
        ),
        HardwareConfig(  # for an LFE5U-85F, which it fits; its clock is an aim, not placed yet (docs/decisions/0044)
            name="ecp5", rows=8, columns=8, vector_lanes=2, panel_rows=64,
            act_words=4096, act_banks=4, weight_words=4096, weight_banks=4, acc_words=2048, acc_banks=4,
            value_words=4096, value_banks=4, param_words=512, param_banks=4, row_words=1024, row_banks=4,
            index_words=64, page_words=64, queue_depth=4, axi_bytes=8, burst_beats=16, load_outstanding=8,
            clock_mhz=100,
        ),
        HardwareConfig(  # 1000 MHz: assumed of an ASIC, as for edge and server
            name="base", rows=16, columns=16, vector_lanes=8, panel_rows=128,
            act_words=8192, act_banks=8, weight_words=16384, weight_banks=8, acc_words=8192, acc_banks=8,
            value_words=16384, value_banks=8, param_words=1024, param_banks=8, row_words=4096, row_banks=8,
            index_words=128, page_words=128, queue_depth=8, axi_bytes=16, burst_beats=16, load_outstanding=8,
        ),
        HardwareConfig(
            name="edge", rows=32, columns=32, vector_lanes=16, panel_rows=256,
            act_words=8192, act_banks=8, weight_words=16384, weight_banks=8, acc_words=8192, acc_banks=8,
            value_words=16384, value_banks=8, param_words=1024, param_banks=8, row_words=8192, row_banks=8,
            index_words=128, page_words=128, queue_depth=8, axi_bytes=32, burst_beats=32, load_outstanding=16,
        ),
        HardwareConfig(  # 64 lanes: with 128, prompts of Llama-2-7B take 14 % more cycles (docs/decisions/0046)
            name="server", rows=128, columns=128, vector_lanes=64, panel_rows=512,
            act_words=65536, act_banks=8, weight_words=32768, weight_banks=8, acc_words=16384, acc_banks=8,
            value_words=131072, value_banks=8, param_words=1024, param_banks=8, row_words=32768, row_banks=8,
            index_words=128, page_words=128, queue_depth=16, axi_bytes=128, burst_beats=32, load_outstanding=16,
        ),
    ]
}  # fmt: skip


Config = HardwareConfig | str | os.PathLike[str]  # what is taken for one: see `get_config`


def get_config(config: Config) -> HardwareConfig:
    """The preset of that name, or the TOML file at that path; a configuration is itself. Raises HeddleError if there is
    neither."""
    if isinstance(config, HardwareConfig):
        return config
    if not isinstance(config, str | os.PathLike):
        raise HeddleError(f"a configuration must be a HardwareConfig, the name of a preset ({', '.join(PRESETS)}) or "
                          f"the path of a .toml file, not {shown(config)}")  # fmt: skip
    name = os.fspath(config)
    if name in PRESETS:
        return PRESETS[name]
    if Path(name).suffix != ".toml":
        raise unknown("configuration", name, PRESETS, "presets", ", or give a .toml file")
    try:
        return HardwareConfig.from_toml(Path(name).read_text(encoding="utf-8-sig"))  # as some editors mark UTF-8
    except OSError as error:
        raise HeddleError(f"cannot read configuration {name}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise HeddleError(f"cannot read configuration {name}: it is not UTF-8 text (byte {error.start})") from None
    except ValueError as error:  # of its name
        raise HeddleError(f"cannot read configuration {name!r}: {error}") from None
    except HeddleError as error:
        raise HeddleError(f"configuration {name}: {error}") from None
