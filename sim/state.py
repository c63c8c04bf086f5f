"""What the machine holds while a program runs: on-chip memories and DRAM, for a whole batch of inputs at once.

Arrays have a leading batch dimension. Most of what a program moves (weights, parameters) is the same for every input,
so a memory keeps one shared copy of all words, and one copy per input of those words that have come to differ. What is
computed from shared words has a batch dimension of 1 and is computed once. Large arrays of zeros cost nothing until
they are touched.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import DTypeLike, NDArray

from ..arch.config import HardwareConfig, Memory
from ..arch.errors import HeddleError
from ..arch.functions import PLACE_COUNT
from ..arch.numerics import to_bf16

Rows = tuple[NDArray, int, int, int]  # for compiled kernels: elements (n,), and how many of them from input to input,
# before the first row, and from row to row. The first step is 0 for what is the same for all inputs.
APART_BYTES = 1088  # between the memories of two inputs: at powers of two, all would fall into the same sets of a cache


class Words:
    """Words of one memory. A region is `blocks` pieces of `length` words, `stride` apart.

    `window` bounds the words that may ever differ between inputs. With `base`, the shared copy is that array and is
    never written: whatever is written is kept per input.
    """

    def __init__(
        self,
        count: int,
        element_shape: tuple[int, ...],
        dtype: DTypeLike,
        batch: int,
        *,
        window: tuple[int, int] | None = None,
        base: NDArray | None = None,
        own: NDArray | None = None,
    ) -> None:
        low, high = window or (0, count)
        self.count, self.low, self.high = count, low, high
        self.writable = base is None
        self.shared = np.zeros((1, count, *element_shape), dtype) if base is None else base[None]
        self.own = np.zeros((batch, high - low, *element_shape), dtype) if own is None else own
        self._flags = bytearray(count)  # of one input's words, quicker to look at than an array
        self.differs = np.frombuffer(self._flags, bool)[None]
        self._per_word = math.prod(element_shape)
        self._own_step = self.own.strides[0] // self.own.itemsize
        self._shared_elements, self._own_elements = _elements(self.shared), _elements(self.own)

    def read(self, start: int, stride: int, blocks: int, length: int) -> NDArray:
        """(batch or 1, blocks, length, …): do not write to it, and use it before the next write."""
        self._require_inside(start, stride, blocks, length)
        differs = self._differs(start, stride, blocks, length)
        count = np.count_nonzero(differs)
        if not count:
            return self._region(self.shared, start, stride, blocks, length)
        if count == differs.size:
            return self._region(self.own, start - self.low, stride, blocks, length)
        index = _index(start, stride, blocks, length)
        words = self.own[:, np.clip(index - self.low, 0, self.high - self.low - 1)]
        words[:, ~differs] = self.shared[0, index[~differs]]
        return words

    def rows(self, start: int, stride: int, blocks: int, length: int) -> Rows:
        """What `read` gives, for kernels."""
        stop = start + (blocks - 1) * stride + length
        if start < 0 or stop > self.count:
            self._require_inside(start, stride, blocks, length)
        flags = self._flags[start:stop]
        count = flags.count(1)
        if not count:
            return self._shared_elements, 0, start * self._per_word, stride * self._per_word
        if count < len(flags):
            differs = self._differs(start, stride, blocks, length)
            if not differs.any():
                return self._shared_rows(start, stride)
            self._let_differ(differs, start, stride)
        return self._own_rows(start, stride)

    def rows_for(self, start: int, stride: int, blocks: int, length: int, batch: int) -> Rows:
        """Where a kernel writes whole words for `batch` inputs, 1 if they are the same for all."""
        self._require_inside(start, stride, blocks, length)
        own = batch > 1 or not self.writable
        if blocks == 1 or stride == length:
            self._flags[start : start + blocks * length] = (b"\1" if own else b"\0") * (blocks * length)
        else:
            self._differs(start, stride, blocks, length)[...] = own
        return self._own_rows(start, stride) if own else self._shared_rows(start, stride)

    def rows_to_change(self, start: int, stride: int, blocks: int, length: int, batch: int) -> Rows:
        """The same for parts of words: the rest of them stays."""
        self._require_inside(start, stride, blocks, length)
        differs = self._differs(start, stride, blocks, length)
        count = np.count_nonzero(differs)
        if not count and batch == 1 and self.writable:
            return self._shared_rows(start, stride)
        if not count:
            own = self._region(self.own, start - self.low, stride, blocks, length)
            own[...] = self._region(self.shared, start, stride, blocks, length)
            differs[...] = True
        elif count < differs.size:
            self._let_differ(differs, start, stride)
        return self._own_rows(start, stride)

    def _let_differ(self, differs: NDArray[np.bool_], start: int, stride: int) -> None:
        """Each input gets words of its own of a region of which some differ: its flags are (blocks, length)."""
        if differs.all():
            return
        shared = _index(start, stride, *differs.shape)[~differs]
        self.own[:, shared - self.low] = self.shared[:, shared]
        differs[...] = True

    def _differs(self, start: int, stride: int, blocks: int, length: int) -> NDArray[np.bool_]:
        """A view of the flags of a region, (blocks, length)."""
        return np.ndarray((blocks, length), bool, self.differs, start, (stride, 1))

    def _region(self, array: NDArray, start: int, stride: int, blocks: int, length: int) -> NDArray:
        """A view of (batch, blocks, length, …) words of (batch, words, …), without a copy."""
        elements = self._own_elements if array is self.own else self._shared_elements
        batch_step, step = array.strides[:2]
        return np.ndarray((len(array), blocks, length, *array.shape[2:]), array.dtype, elements, start * step,
                          (batch_step, stride * step, *array.strides[1:]))  # fmt: skip

    def _shared_rows(self, start: int, stride: int) -> Rows:
        return self._shared_elements, 0, start * self._per_word, stride * self._per_word

    def _own_rows(self, start: int, stride: int) -> Rows:
        return self._own_elements, self._own_step, (start - self.low) * self._per_word, stride * self._per_word

    def gather(self, index: NDArray[np.int64]) -> NDArray:
        """The words `index` (batch or 1, …) → (batch or 1, …, element)."""
        differs = self.differs[0, index]
        if not differs.any():
            return self.shared[0, index]
        batch = np.arange(self.own.shape[0]).reshape(-1, *[1] * (index.ndim - 1))
        words = self.own[batch, np.clip(index - self.low, 0, self.high - self.low - 1)]
        words[:] = np.where(_spread(differs, words), words, self.shared[0, index])
        return words

    def clear(self) -> None:
        """All words are zero again, for all inputs."""
        self.shared[...] = 0
        self.differs[...] = False

    def write(self, start: int, stride: int, data: NDArray) -> None:
        """Whole words: data (batch or 1, blocks, length, …). Where blocks overlap, the later one stays."""
        _, blocks, length = data.shape[:3]
        if blocks > 1 and stride < length:
            for block in range(blocks):
                self.write(start + block * stride, 0, data[:, block : block + 1])
            return
        self._require_inside(start, stride, blocks, length)
        own = data.shape[0] > 1 or not self.writable
        self._differs(start, stride, blocks, length)[...] = own
        into, at = (self.own, start - self.low) if own else (self.shared, start)
        self._region(into, at, stride, blocks, length)[...] = data

    def scatter(self, index: NDArray[np.int64], data: NDArray) -> None:
        """Pieces of words: data (batch or 1, n, piece) to the places `index` (batch or 1, n), which count in pieces.
        Whatever is written is kept per input. Where places are the same, the later piece stays."""
        pieces = self.own.reshape(self.own.shape[0], -1, data.shape[-1])
        words = np.unique(index * data.shape[-1] // self.own.shape[-1])
        self._require_inside(int(words[0]), 0, 1, int(words[-1] - words[0]) + 1)
        shared = words[~self.differs[0, words]]
        self.own[:, shared - self.low] = self.shared[0, shared]
        self.differs[0, shared] = True
        skip = self.low * self.own.shape[-1] // data.shape[-1]
        pieces[np.arange(len(pieces))[:, None], index - skip] = data

    def part(self, start: int, length: int, batch: int) -> NDArray:
        """The `length` words from `start`, to write parts of them: (batch or 1, length, …) as data of `batch` need."""
        self._require_inside(start, 0, 1, length)
        differs = self.differs[0, start : start + length]
        if batch == 1 and self.writable and not differs.any():
            return self.shared[:, start : start + length]
        own = self.own[:, start - self.low : start - self.low + length]
        own[:, ~differs] = self.shared[:, start : start + length][:, ~differs]
        differs[...] = True
        return own

    def _require_inside(self, start: int, stride: int, blocks: int, length: int) -> None:
        """Views are made without bounds checks; instruction.check should have refused what fails here."""
        last = start + (blocks - 1) * stride + length - 1
        if start < 0 or last >= self.count:
            raise HeddleError(f"words {start} to {last} are used, but the memory has {self.count}")


def _elements(array: NDArray) -> NDArray:
    """A view of an array as (n,), with what lies between its inputs."""
    step, size = array.strides[0] // array.itemsize, math.prod(array.shape[1:])
    return as_strided(array, ((len(array) - 1) * step + size,), (array.itemsize,))


def _spread(flags: NDArray[np.bool_], words: NDArray) -> NDArray[np.bool_]:
    """A flag for each word, in as many dimensions as the words with their elements."""
    return flags.reshape(*flags.shape, *[1] * (words.ndim - flags.ndim))


def _index(start: int, stride: int, blocks: int, length: int) -> NDArray[np.int64]:
    return start + np.arange(blocks)[:, None] * stride + np.arange(length)


class State:
    """All memories for `batch` inputs. `dram` counts in words of one AXI beat; see `Words` for `window` and `own`.
    `cache` is the region of the KV cache: address and size in bytes."""

    def __init__(self, config: HardwareConfig, batch: int, dram: Words, cache: tuple[int, int] = (0, 0)) -> None:
        self.config, self.batch = config, batch
        self.dram = dram
        self.cache_address, self.cache_bytes = cache
        self.memories = {memory: _zeros(memory, config, batch) for memory in Memory}
        self.tables = Words(PLACE_COUNT, (1,), np.int64, batch)  # of VECTOR's functions: entries of 36 bits
        self._scratch: dict[str, NDArray] = {}

    def restart(self, dram: Words) -> State:
        """The state at the start of another run, for as many inputs, in the same memory."""
        self.dram = dram
        for words in (*self.memories.values(), self.tables):
            words.clear()
        return self

    def __getitem__(self, memory: Memory) -> Words:
        return self.memories[memory]

    def scratch(self, use: str, kind: DTypeLike, *shape: int) -> NDArray:
        """Room for the kernels, kept from one instruction to the next: fresh pages would cost more than what is done
        with them."""
        size = math.prod(shape)
        if use not in self._scratch or self._scratch[use].size < size:
            self._scratch[use] = np.empty(size, kind)
        return self._scratch[use][:size].reshape(shape)

    def panel(self, memory: Memory, address: int, stride: int, rows: int, columns: int) -> NDArray:
        """Rows of a tensor in ACC or VALUE: (batch or 1, rows, columns)."""
        words = self[memory].read(address, stride, rows, -(-columns // self.config.columns))
        return words.reshape(words.shape[0], rows, -1)[..., :columns]

    def pairs(self, address: int, columns: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(scale, offset) of each column, from PARAM: (batch or 1, columns) each."""
        words = self[Memory.PARAM].read(address, 0, 1, -(-columns // self.config.columns))
        pairs = words.reshape(words.shape[0], -1, 2)[:, :columns]
        return pairs[..., 0], pairs[..., 1]

    def row_numbers(self, address: int, rows: int) -> NDArray[np.float32]:
        """(batch or 1, rows), from ROW."""
        return self[Memory.ROW].read(address, 0, 1, rows)[:, 0, :, 0]

    def write_row_numbers(self, address: int, numbers: NDArray[np.float32]) -> None:
        """The inverse of `row_numbers`."""
        self[Memory.ROW].write(address, 0, numbers[:, None, :, None])

    def index_numbers(self, element: int, count: int) -> NDArray[np.int32]:
        """(batch or 1, count), from INDEX; `element` counts numbers, not words."""
        index = self[Memory.INDEX]
        per_word = index.shared.shape[-1]
        skip = element % per_word
        words = index.read(element // per_word, 0, 1, -(-(skip + count) // per_word))
        return words.reshape(words.shape[0], -1)[:, skip : skip + count]

    def write_index_numbers(self, element: int, numbers: NDArray[np.int32]) -> None:
        """The inverse of `index_numbers`: (batch or 1, count); the rest of their words stays."""
        per_word = self[Memory.INDEX].shared.shape[-1]
        count = numbers.shape[1]
        skip = element % per_word
        words = self[Memory.INDEX].part(element // per_word, -(-(skip + count) // per_word), len(numbers))
        flat = words.reshape(len(words), -1)
        flat[:, skip : skip + count] = numbers
        words[...] = flat.reshape(words.shape)

    def index_rows(self, element: int, count: int) -> Rows:
        """The same for kernels, a number for each row."""
        index = self[Memory.INDEX]
        per_word = index.shared.shape[-1]
        skip = element % per_word
        data, step, first, _ = index.rows(element // per_word, 0, 1, -(-(skip + count) // per_word))
        return data, step, first + skip, 1

    def write_values(self, address: int, stride: int, values: NDArray[np.float32]) -> None:
        """Round (batch or 1, rows, columns) to the format of VALUE and write whole words, +0 beyond the columns."""
        self[Memory.VALUE].write(address, stride, in_words(self._stored(values), self.config.columns))

    def write_elements(self, address: int, stride: int, values: NDArray[np.float32], shift: int = 0) -> None:
        """Round (batch or 1, rows, n) to the format of VALUE and write n elements of each row, from element `shift` on;
        those before element 0 are left out, and others stay."""
        values = self._stored(values[..., max(0, -shift) :])
        (batch, rows, count), first = values.shape, max(0, shift)
        for row in range(rows):
            words = self[Memory.VALUE].part(address + row * stride, -(-(first + count) // self.config.columns), batch)
            words.reshape(len(words), -1)[:, first : first + count] = values[:, row]

    def _stored(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Numbers as VALUE holds them."""
        if self.config.value_format == "bf16":
            values = to_bf16(values)
        return values


def in_words(panel: NDArray, per_word: int) -> NDArray:
    """(batch, rows, columns) → (batch, rows, words, per_word), filled with zeros."""
    batch, rows, columns = panel.shape
    padding = -columns % per_word
    if padding:
        panel = np.concatenate([panel, np.zeros((batch, rows, padding), panel.dtype)], -1)
    return panel.reshape(batch, rows, -1, per_word)


def _zeros(memory: Memory, config: HardwareConfig, batch: int) -> Words:
    """A memory at the start of a run."""
    elements = config.word_elements(memory)
    shape = (elements, 2) if memory is Memory.PARAM else (elements,)
    dtype: dict[Memory, DTypeLike] = {Memory.INDEX: np.int32, Memory.PAGE: np.int32}
    if config.pe == "int8":  # otherwise codes are bf16, kept as float32, and sums float32
        dtype |= {Memory.ACT: np.int8, Memory.WEIGHT: np.int8, Memory.ACC: np.int32}
    kind, count = np.dtype(dtype.get(memory, np.float32)), config.words(memory)
    apart = -(-APART_BYTES // (math.prod(shape) * kind.itemsize))
    return Words(count, shape, kind, batch, own=np.zeros((batch, count + apart, *shape), kind)[:, :count])
