"""A program: instructions, what DRAM holds at the start, where its tensors are, and the machine it was made for.

One file: a zip archive of program.json (configuration, tensors, labels), instructions.bin (the encoding of arch/isa)
and one blob per constant. Equal programs are equal bytes: no entry tells when or by whom it was written.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import numerics
from .check import check_instructions
from .config import FETCH_GROUP, INSTRUCTION_BYTES, SCALAR_COUNT, SCALAR_LIMIT, HardwareConfig, Memory
from .encoding import decode, encode, listing
from .errors import HeddleError, nearest, require_type
from .files import write_whole
from .host import Argument, Step, prepared
from .isa import Halt, Instruction
from .kinds import Kinds, sort_into_kinds
from .notebook import page_table
from .ranges import make_plain, require_range
from .scalars import Scalar
from .soundness import check_content, check_dram, check_numbers, check_reach

FORMAT = "heddle-program-8"
_LISTS = ("data", "tensors", "labels", "scalars", "registers", "cache", "attention_macs", "positions", "choices",
          "periods", "arguments", "host")  # fmt: skip
_PLAIN = ("dram_bytes", "useful_macs", "registers", "cache_address", "cache_bytes", "tokens", "cache_tokens",
          "attention_macs", "positions")  # fmt: skip
_NO_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip archive can tell: that of every entry
_UNIX = 3  # the system that every entry claims to come from
# What reading a file raises that is none of ours: of another kind, cut off, or with another content.
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, KeyError, IndexError, TypeError, ValueError, AttributeError, EOFError,
    NotImplementedError, RuntimeError,
)  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """A rows × columns array in DRAM, in the word layout of an on-chip memory (VALUE, ACT, WEIGHT or INDEX).

    A row takes `row_bytes`; its columns fill words of `memory`, padded with zeros. With `segment`, each `segment`
    columns (an attention head, say) start a new word. `shape` is the user's shape; with `patch` = p, that is (channels,
    height, width) and row (i, j) holds the p × p patch there in (channel, y, x) order: rearrangement of an input.
    The numbers of an INDEX or PAGE tensor are below `limit`: what they choose from has so many rows, positions or pages
    (the smallest of them, if it is used for several). 0: they choose from nothing.
    """

    name: str
    kind: str
    memory: Memory
    address: int
    rows: int
    columns: int
    row_bytes: int
    shape: tuple[int, ...]
    segment: int = 0
    patch: int = 0
    limit: int = 0
    made: bool = False  # an input that the host makes

    def __post_init__(self) -> None:
        make_plain(self, *(each.name for each in fields(self) if each.name not in ("memory", "made")))

    @property
    def size_bytes(self) -> int:
        """Bytes from the first row to the end of the last."""
        return self.rows * self.row_bytes

    def content_bytes(self, config: HardwareConfig) -> int:
        """Bytes that the words of a row take."""
        per_word = config.word_elements(self.memory)
        words = sum(-(-(stop - start) // per_word) for start, stop in self._segments())
        return words * config.dram_word_bytes(self.memory)

    def pack(self, array: Any, config: HardwareConfig) -> bytes:
        """The DRAM bytes of an array of `shape`. Raises HeddleError if the shape or a range does not fit."""
        return self.pack_batch([array], config)[0].tobytes()

    def pack_batch(self, arrays: Sequence[Any], config: HardwareConfig) -> NDArray[np.uint8]:
        """The DRAM bytes of several arrays, (batch, size_bytes)."""
        for each in arrays:
            self.check_content(each, config)
        rows = self._to_rows(np.stack([np.asarray(each) for each in arrays]))
        words = [self._elements(config, rows[:, start:stop]) for start, stop in self._segments()]
        content = np.concatenate([_bytes_of_words(w, config, self.memory) for w in words], axis=1)
        out = np.zeros((len(rows), self.row_bytes), np.uint8)
        out[:, : content.shape[1]] = content
        return out.reshape(len(arrays), -1)

    def check_content(self, array: Any, config: HardwareConfig) -> None:
        """Raise HeddleError if the shape of an array, or an element, does not fit. Names the first that does not, and
        its place."""
        array = np.asarray(array)
        if array.shape != self.shape:
            raise HeddleError(f"{self._name} must have shape {self.shape}, not {array.shape}")
        if self.memory in _NUMBERS:
            self._check_numbers(array)
        else:
            self._require_finite(array, config)

    def _check_numbers(self, array: NDArray) -> None:
        limit = self.limit or 1 << 31
        if not np.issubdtype(array.dtype, np.integer):
            raise HeddleError(f"{self._name} must hold whole numbers from 0 to {limit - 1}, not {array.dtype}")
        wrong = np.argwhere((array < 0) | (array >= limit))
        if len(wrong):
            place = tuple(wrong[0].tolist())
            of = f", the last of the {limit} {_COUNTED[self.memory]} that it chooses from" if self.limit else ""
            raise HeddleError(f"{self._name} must hold whole numbers from 0 to {limit - 1}{of}, not {array[place]} "
                              f"at {list(place)}")  # fmt: skip

    @property
    def _name(self) -> str:
        return f"{self.kind} {self.name!r}"

    def _require_finite(self, array: NDArray, config: HardwareConfig) -> None:
        """Raise HeddleError for what is no finite number, or is none once it is rounded to the format that DRAM holds.
        A constant, and what the host makes, may be minus infinity: a mask hides by it."""
        if array.dtype.kind in "biu":
            return
        if array.dtype.kind != "f":
            raise HeddleError(f"{self._name} must hold real numbers, not {array.dtype}")
        format, digits = ("bf16", 8) if _holds_bf16(config, self.memory) else ("float32", 24)
        beyond = (2 - 2.0**-digits) * 2.0**127  # what is rounded to infinity
        fits = np.abs(array.astype(np.float64)) < beyond
        if self.kind == "constant" or self.made:
            fits |= np.isneginf(array)
        if fits.all():
            return
        value = array[~fits][0]
        what = "NaN or infinity" if not np.isfinite(value) else f"{value:g}, which {format} does not hold"
        raise HeddleError(f"{self._name} must be finite: it holds {what}")

    def unpack(self, image: NDArray[np.uint8], config: HardwareConfig) -> NDArray:
        """The array of `shape` in a DRAM image (…, dram_bytes): float32 for VALUE and codes that are bf16, int8 for
        other codes, int32 for INDEX."""
        raw = image[..., self.address : self.address + self.size_bytes]
        raw = np.ascontiguousarray(raw).reshape(*raw.shape[:-1], self.rows, self.row_bytes)
        pieces, at = [], 0
        for start, stop in self._segments():
            count = -(-(stop - start) // config.word_elements(self.memory))
            size = count * config.dram_word_bytes(self.memory)
            pieces.append(_words_of_bytes(raw[..., at : at + size], config, self.memory)[..., : stop - start])
            at += size
        if self.patch:
            raise HeddleError(f"{self._name} is held as patches and cannot be read back")
        rows = np.concatenate(pieces, axis=-1)
        return rows.reshape(*rows.shape[:-2], *self.shape)

    def _segments(self) -> list[tuple[int, int]]:
        step = self.segment or self.columns
        return [(start, min(start + step, self.columns)) for start in range(0, self.columns, step)]

    def _to_rows(self, batch: NDArray) -> NDArray:
        """(batch, *shape) → (batch · rows, columns)."""
        if not self.patch:
            return batch.reshape(-1, self.columns)
        channels, height, width = self.shape
        p = self.patch
        grid = batch.reshape(-1, channels, height // p, p, width // p, p)
        return grid.transpose(0, 2, 4, 1, 3, 5).reshape(-1, self.columns)

    def _elements(self, config: HardwareConfig, rows: NDArray) -> NDArray:
        per_word = config.word_elements(self.memory)
        padded = np.zeros((rows.shape[0], -(-rows.shape[1] // per_word) * per_word), rows.dtype)
        padded[:, : rows.shape[1]] = rows
        return padded.reshape(rows.shape[0], -1, per_word)


_NUMBERS = (Memory.INDEX, Memory.PAGE)
_COUNTED = {Memory.INDEX: "rows", Memory.PAGE: "pages"}


def _bytes_of_words(words: NDArray, config: HardwareConfig, memory: Memory) -> NDArray[np.uint8]:
    """(rows, words, elements) → (rows, bytes) in the DRAM layout."""
    if _holds_bf16(config, memory):
        raw = (numerics.to_bits(numerics.to_bf16(np.asarray(words, np.float32))) >> 16).astype("<u2")
    else:
        raw = words.astype({Memory.VALUE: "<f4", Memory.INDEX: "<i4", Memory.PAGE: "<i4"}.get(memory, "i1"))
    raw = np.ascontiguousarray(raw).view(np.uint8).reshape(*words.shape[:2], -1)
    out = np.zeros((*words.shape[:2], config.dram_word_bytes(memory)), np.uint8)
    out[..., : raw.shape[-1]] = raw
    return out.reshape(words.shape[0], -1)


def _words_of_bytes(raw: NDArray[np.uint8], config: HardwareConfig, memory: Memory) -> NDArray:
    """(…, bytes) → (…, elements): the inverse of `_bytes_of_words`, words joined."""
    size = config.dram_word_bytes(memory)
    words = raw.reshape(*raw.shape[:-1], -1, size)
    words = np.ascontiguousarray(words[..., : config.word_bits(memory) // 8])
    if _holds_bf16(config, memory):
        elements = numerics.from_bits(words.view("<u2").astype(np.uint32) << np.uint32(16))
    else:
        elements = words.view({Memory.VALUE: "<f4", Memory.INDEX: "<i4"}.get(memory, "i1"))
    return elements.reshape(*raw.shape[:-1], -1)


def _holds_bf16(config: HardwareConfig, memory: Memory) -> bool:
    return memory in (Memory.ACT, Memory.WEIGHT, Memory.VALUE) and config.element_bits(memory) == 16


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """An entry that hangs on its content alone."""
    entry = zipfile.ZipInfo(name, _NO_TIME)
    entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, _UNIX, 0o644 << 16
    archive.writestr(entry, content)


@dataclass(frozen=True)
class Choice:
    """One decision of the compiler: what it chose, and what else it considered, each with its cycles as estimated or
    simulated."""

    what: str
    chosen: str
    considered: dict[str, int | str] = field(default_factory=dict)  # alternative → cycles, or why it is not possible


@dataclass(frozen=True)
class Period:
    """Instructions that repeat: `count` copies of `length` instructions, the first from `start` on. They are equal but
    for DRAM addresses, which are congruent modulo the longest burst from copy to copy."""

    start: int
    length: int
    count: int

    def __post_init__(self) -> None:
        make_plain(self, "start", "length", "count")


@dataclass(frozen=True, repr=False)
class Program:
    """What one run of the accelerator needs. `data` are (address, bytes) of constants; the code stands at address 0."""

    config: HardwareConfig
    instructions: tuple[Instruction, ...]
    dram_bytes: int  # a power of two
    data: tuple[tuple[int, bytes], ...] = ()
    tensors: dict[str, Tensor] = field(default_factory=dict)
    labels: tuple[str, ...] = ()  # for each instruction, the layer and operator it belongs to
    name: str = "program"
    useful_macs: int = 0  # multiply-accumulates of the graph of operators that was lowered, padding not counted
    scalars: tuple[Scalar, ...] = ()  # how the registers follow from the positions of the sequences
    registers: tuple[tuple[int, int], ...] = ()  # (number, value) that the host writes before a run; the others are 0
    cache_address: int = 0  # the region of the KV cache: what Append writes and Stream reads
    cache_bytes: int = 0
    cache: bytes = b""  # what the region holds before the run; empty: zeros
    tokens: int = 0  # of each sequence, that a decoder takes in a run
    cache_tokens: int = 0  # of each sequence, that the cache has room for
    # (window, multiply-accumulates for each of them and each token that it sees); window 0: all before it
    attention_macs: tuple[tuple[int, int], ...] = ()
    positions: tuple[int, ...] = ()  # of the sequences, as `at` was told
    choices: tuple[Choice, ...] = ()  # what the compiler decided
    periods: tuple[Period, ...] = ()  # where equal layers repeat; they do not overlap
    timing_only: bool = False  # compiled without weights: there is no content for some constants
    part: str = ""  # what of the model this is, such as "3 of 61 layers"; empty for all of it
    arguments: tuple[Argument, ...] = ()  # what a caller gives, where the host makes inputs of it; else the inputs
    host: tuple[Step, ...] = ()  # how it makes them

    def __post_init__(self) -> None:
        check_numbers(self)
        make_plain(self, *_PLAIN)

    def __repr__(self) -> str:
        return (f"<Program {self.name} for {self.config.name}: {len(self.instructions):,} instructions, "
                f"{self.dram_bytes:,} bytes of DRAM>")  # fmt: skip

    def _repr_html_(self) -> str:
        """What a notebook shows of it."""
        counts = Counter(each.name for each in self.instructions)
        return page_table(f"Program {self.name} for {self.config.title}", {
            "instructions": ", ".join(f"{count:,} {name}" for name, count in counts.most_common()),
            **{f"{each.kind} {each.name}": " × ".join(map(str, each.shape)) or "one number"
               for each in (*self.inputs(), *self.outputs())},
            "DRAM": f"{self.dram_bytes:,} bytes", "multiply-accumulates": f"{self.total_macs:,}",
        })  # fmt: skip

    @property
    def groups(self) -> int:
        """Groups of instructions that FETCH reads."""
        return -(-len(self.instructions) // FETCH_GROUP)

    @property
    def code(self) -> bytes:
        """The encoded instructions, padded to whole groups with halt."""
        padding = [Halt()] * (self.groups * FETCH_GROUP - len(self.instructions))
        return b"".join(encode(each) for each in (*self.instructions, *padding))

    @property
    def code_bytes(self) -> int:
        """Bytes at the start of DRAM taken by instructions."""
        return self.groups * FETCH_GROUP * INSTRUCTION_BYTES

    def require_weights(self) -> None:
        """Raise HeddleError if the program was compiled without weights."""
        if self.timing_only:
            raise HeddleError(f"{self.name} was compiled without weights: it has timing only, and computes no values")

    @cached_property
    def image(self) -> NDArray[np.uint8]:
        """All of DRAM before the run, inputs zero. Made when first asked for; do not write to it. Raises HeddleError
        for a program without weights."""
        if "elsewhere" in self.__dict__:
            return self.__dict__["elsewhere"].image
        self.require_weights()
        image = np.zeros(self.dram_bytes, np.uint8)
        for address, content in ((0, self.code), *self.data, (self.cache_address, self.cache)):
            image[address : address + len(content)] = np.frombuffer(content, np.uint8)
        image.setflags(write=False)
        return image

    @cached_property
    def kinds(self) -> Kinds:
        """The instructions sorted into those that are equal but for DRAM addresses."""
        if "elsewhere" in self.__dict__:
            return self.__dict__["elsewhere"].kinds
        return sort_into_kinds(self.instructions)

    @property
    def scalar_values(self) -> list[int]:
        """What each scalar register holds during the run."""
        values = [0] * SCALAR_COUNT
        for number, value in self.registers:
            values[number] = value
        return values

    def at(self, *positions: int) -> Program:
        """The same program with its registers set for sequences of which so many tokens are cached already. Raises
        HeddleError unless there is one for each sequence, and room in the cache for the tokens that follow; and for a
        program that is no decoder."""
        if positions and not (self.scalars or self.tokens):
            raise HeddleError(f"positions are for decoders; {self.name} has none")
        sequences = 1 + max((each.sequence for each in self.scalars), default=-1)
        if self.scalars and len(positions) != sequences:
            raise HeddleError(f"{self.name} has {sequences} sequences: give a position for each, not {len(positions)}")
        last = self.cache_tokens - self.tokens if self.cache_tokens else SCALAR_LIMIT
        for sequence, position in enumerate(positions):
            require_range(f"{self.name}: the position of sequence {sequence}", position, 0, last)
        positions = tuple(int(each) for each in positions)
        registers = tuple((each.register, each.value(positions[each.sequence], self.config)) for each in self.scalars)
        moved = replace(self, registers=registers, positions=positions)
        moved.__dict__["elsewhere"] = self.__dict__.get("elsewhere", self)  # instructions and image are the same
        return moved

    def with_cache(self, content: bytes | NDArray[np.uint8]) -> Program:
        """The same program on a cache that earlier runs have filled. Raises HeddleError for another size."""
        content = bytes(content)
        if len(content) != self.cache_bytes:
            raise HeddleError(f"the cache of {self.name} has {self.cache_bytes} bytes, not {len(content)}")
        filled = replace(self, cache=content)
        image = self.image.copy()
        image[self.cache_address : self.cache_address + self.cache_bytes] = np.frombuffer(content, np.uint8)
        image.setflags(write=False)
        filled.__dict__["image"] = image
        return filled

    @property
    def total_macs(self) -> int:
        """Useful multiply-accumulates, with those of attention at the present positions."""
        before = [position + token + 1 for position in self.positions for token in range(self.tokens)]
        return self.useful_macs + sum(
            macs * sum(min(tokens, window or tokens) for tokens in before) for window, macs in self.attention_macs
        )

    def inputs(self) -> list[Tensor]:
        """Tensors that the host writes before a run."""
        return [t for t in self.tensors.values() if t.kind == "input"]

    def takes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each array that a caller gives for a run, by its name."""
        return {each.name: each.shape for each in self.arguments or self.inputs()}

    def prepared(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs that the host makes of what a caller gives (`arch/host.py`). Raises HeddleError for what does not
        fit."""
        if not self.host:
            return dict(given)
        arguments = {each.name: each.checked(given[each.name]) for each in self.arguments}
        made = prepared(self.host, arguments)
        return {t.name: made[t.name].reshape(t.shape) if t.name in made and t.name not in given else given[t.name]
                for t in self.inputs()}  # fmt: skip

    def outputs(self) -> list[Tensor]:
        """Tensors that the host reads after a run."""
        return [t for t in self.tensors.values() if t.kind == "output"]

    def input_bytes(self, inputs: dict[str, Any]) -> list[tuple[int, bytes]]:
        """(address, bytes) for one set of inputs, by name. Raises HeddleError for a missing or unknown name."""
        return [(address, content[0].tobytes()) for address, content in self.input_batch([inputs])]

    def input_batch(self, sets: Sequence[dict[str, Any]]) -> list[tuple[int, NDArray[np.uint8]]]:
        """(address, (batch, bytes)) of each input, for several sets of inputs."""
        self.check_inputs(sets)
        sets = [self.prepared(each) for each in sets]
        known = {t.name: t for t in self.inputs()}
        return [
            (known[name].address, known[name].pack_batch([each[name] for each in sets], self.config))
            for name in sets[0]
        ]

    def check_inputs(self, sets: Sequence[Mapping[str, Any]]) -> None:
        """Raise HeddleError unless each set has just the inputs of the program, and all that they hold fits: numbers of
        rows and pages lie within the tables that they choose from."""
        known, takes = {t.name: t for t in self.inputs()}, self.takes()
        for number, each in enumerate(sets):
            if set(each) != set(takes):
                raise HeddleError(f"{self.name} takes the inputs {sorted(takes)}, not {sorted(map(str, each))}"
                                  + _suggested(each, takes))  # fmt: skip
            try:
                for name, array in self.prepared(each).items():
                    known[name].check_content(array, self.config)
            except HeddleError as error:
                where = f"set {number} of the inputs: " if len(sets) > 1 else ""
                raise HeddleError(f"{where}{error}") from None

    def check(self) -> None:
        """Raise HeddleError unless every field holds what it should, all lies within DRAM and nothing over what it
        would destroy, every instruction fits the machine, and every wait has an earlier signal."""
        _ = self._legal

    @cached_property
    def _legal(self) -> None:
        """Looked at once, as programs do not change. Raises HeddleError if it is not."""
        if "elsewhere" in self.__dict__:
            return self.__dict__["elsewhere"]._legal
        check_content(self)
        check_dram(self)
        check_instructions(self.config, self.instructions, self.kinds, self.dram_bytes, self.cache_bytes)
        check_reach(self)

    def listing(self) -> str:
        """One line per instruction: index, what it is, the label."""
        labels = self.labels or ("",) * len(self.instructions)
        lines = (
            f"{i:5}  {listing(each)}" + (f"  ; {label}" if label else "")
            for i, (each, label) in enumerate(zip(self.instructions, labels, strict=True))
        )
        return "\n".join(lines)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file whole or not at all. Raises HeddleError for a path that is none, and for fields that do not
        hold what they should."""
        check_content(self)
        header = {
            "format": FORMAT,
            "name": self.name,
            "config": self.config.to_dict(),
            "fingerprint": self.config.fingerprint,
            "dram_bytes": self.dram_bytes,
            "useful_macs": self.useful_macs,
            "scalars": [each.to_dict() for each in self.scalars],
            "registers": self.registers,
            "cache": [self.cache_address, self.cache_bytes],
            "tokens": self.tokens,
            "cache_tokens": self.cache_tokens,
            "attention_macs": self.attention_macs,
            "positions": self.positions,
            "tensors": [{**asdict(t), "memory": t.memory.name} for t in self.tensors.values()],
            "labels": self.labels,
            "choices": [asdict(each) for each in self.choices],
            "periods": [asdict(each) for each in self.periods],
            "timing_only": self.timing_only,
            "part": self.part,
            "arguments": [asdict(each) for each in self.arguments],
            "host": [asdict(each) for each in self.host],
            "data": [address for address, _ in self.data],
        }
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            _add(archive, "program.json", json.dumps(header, indent=1, default=index).encode())
            _add(archive, "instructions.bin", b"".join(encode(each) for each in self.instructions))
            for number, (_, content) in enumerate(self.data):
                _add(archive, f"data/{number}.bin", content)
            _add(archive, "cache.bin", self.cache)
        write_whole(path, buffer.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Program:
        """Read a file that `save` wrote. Raises HeddleError for a missing, truncated, foreign or altered one."""
        try:
            with zipfile.ZipFile(path) as archive:
                header = json.loads(archive.read("program.json"))
                code = archive.read("instructions.bin")
                data = [archive.read(f"data/{n}.bin") for n in range(len(header.get("data", [])))]
                cache = archive.read("cache.bin") if header.get("format") == FORMAT else b""
        except OSError as error:
            raise HeddleError(f"cannot read {path}: {error.strerror or error}") from None
        except _DAMAGED:
            raise HeddleError(f"{path} is not a Heddle program, or is truncated: compile it again") from None
        if header.get("format") != FORMAT:
            raise HeddleError(f"{path} has format {header.get('format')!r}, not {FORMAT!r}: compile it again")
        try:
            program = cls._from_header(header, code, data, cache)
        except HeddleError as error:
            raise HeddleError(f"{path}: {error}") from None
        except KeyError as error:
            raise HeddleError(f"{path} is damaged, it lacks {error}: compile it again") from None
        except (TypeError, ValueError, AttributeError, IndexError) as error:
            raise HeddleError(f"{path} is damaged: compile it again ({error})") from None
        program.check()
        return program

    @classmethod
    def _from_header(cls, header: dict[str, Any], code: bytes, data: list[bytes], cache: bytes) -> Program:
        for name in _LISTS:
            if not isinstance(header[name], list):
                raise HeddleError(f"{name} must be a list, not {header[name]!r}: compile it again")
        config = HardwareConfig.from_dict(header["config"])
        if config.fingerprint != header["fingerprint"]:
            raise HeddleError(f"its configuration does not have the fingerprint {header['fingerprint']} it was "
                              f"compiled for: compile it again")  # fmt: skip
        if len(code) % INSTRUCTION_BYTES:
            raise HeddleError("its instructions are truncated: compile it again")
        tensors = {t["name"]: Tensor(**{**t, "memory": Memory[t["memory"]], "shape": tuple(t["shape"])})
                   for t in header["tensors"]}  # fmt: skip
        if len(tensors) < len(header["tensors"]):
            raise HeddleError("two of its tensors have one name: compile it again")
        steps = range(0, len(code), INSTRUCTION_BYTES)
        return cls(
            config=config, instructions=tuple(decode(code[i : i + INSTRUCTION_BYTES]) for i in steps),
            dram_bytes=header["dram_bytes"], data=tuple(zip(header["data"], data, strict=True)), tensors=tensors,
            labels=tuple(header["labels"]), name=header["name"], useful_macs=header["useful_macs"],
            scalars=tuple(Scalar.from_dict(each) for each in header["scalars"]),
            registers=tuple((number, value) for number, value in header["registers"]),
            cache_address=header["cache"][0], cache_bytes=header["cache"][1], cache=cache, tokens=header["tokens"],
            cache_tokens=header["cache_tokens"],
            attention_macs=tuple((window, macs) for window, macs in header["attention_macs"]),
            positions=tuple(header["positions"]),
            choices=tuple(Choice(**each) for each in header["choices"]),
            periods=tuple(Period(**each) for each in header["periods"]),
            timing_only=header["timing_only"],
            part=header["part"],
            arguments=tuple(Argument(**each) for each in header["arguments"]),
            host=tuple(Step(**each) for each in header["host"]),
        )  # fmt: skip

    def require_config(self, config: HardwareConfig) -> None:
        """Raise HeddleError unless the program was compiled for this accelerator."""
        if config.fingerprint != self.config.fingerprint:
            raise HeddleError(f"{self.name} was compiled for {self.config.title} ({self.config.fingerprint}), not for "
                              f"{config.title} ({config.fingerprint}): compile it again")  # fmt: skip


def require_program(program: object) -> None:
    """Raise HeddleError unless it is a Program."""
    require_type("the program", program, Program, "a Program, as heddle.compile makes and Program.load reads")


def _suggested(given: Iterable[str], known: Iterable[str]) -> str:
    """What inputs with names that there are not may have meant, to end an error with."""
    known = set(known)
    near = [(each, nearest(each, known - set(given))) for each in given if each not in known]
    return "".join(f"; for {name!r}, did you mean {found!r}?" for name, found in near if found)
