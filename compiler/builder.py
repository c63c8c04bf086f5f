"""What the tiling rules of `ops/` build with: panels of rows, buffers, constants in DRAM, common instructions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..arch.config import HardwareConfig, Memory
from ..arch.errors import HeddleError, NoRoomError, require_type
from ..arch.isa import Digit, Function, Instruction, Load, Matmul, Tables
from ..arch.program import Tensor
from ..arch.ranges import make_plain, require_range
from .cache import CacheLayout, Registers
from .evaluators import Evaluators, Piece
from .functions import RELU
from .graph import Node
from .host import sample
from .matrix import Matrix
from .precision import MOST_PLANES, Precision
from .tasks import Buffer, Buffers, Condition, Task, require_sizes
from .weightless import has_bytes, to_numpy

if TYPE_CHECKING:
    from .slices import Mlp

Content = Callable[[], bytes]  # bytes of a constant, made when they are needed


@dataclass(frozen=True)
class Tiling:
    """What a tiling may choose."""

    parts: int = 1  # panels that the rows are split into, so that one can be computed while another is normalised
    weight_share: int = 8  # WEIGHT is loaded in chunks of at most this fraction of it
    group_rows: int = 0  # rows are taken through a segment in groups of about so many; 0: all at once
    through_value: bool = False  # codes of a layer's results are made of values in VALUE, not of whole rows of sums
    slices: int = 1  # hidden features of an MLP go in so many slices, each with scales of its own (slices.py)
    thrifty: bool = False  # what can be loaded or computed in pieces is, whatever that costs

    def __post_init__(self) -> None:
        require_range("parts", self.parts, 1, 1 << 16)
        require_range("weight_share", self.weight_share, 1, 1 << 16)
        require_range("group_rows", self.group_rows, 0, 1 << 16)
        require_range("slices", self.slices, 1, 1 << 16)
        make_plain(self, "parts", "weight_share", "group_rows", "slices")
        for name in ("through_value", "thrifty"):
            require_type(name, getattr(self, name), bool, "True or False")

    def __str__(self) -> str:
        groups = f"groups of {self.group_rows} rows, " if self.group_rows else ""
        codes = ", codes from values" if self.through_value else ""
        pieces = ", all in small pieces" if self.thrifty else ""
        slices = f", MLPs in {self.slices} slices" if self.slices > 1 else ""
        return f"{groups}rows in {self.parts}, weights in chunks of 1/{self.weight_share}{codes}{slices}{pieces}"


@dataclass
class Rows:
    """A tensor on chip: rows (tokens) of `words` words in VALUE or ACT, in one or more buffers.

    `columns` are those that instructions read, pads included: with `segment`, each `segment` columns of the model (an
    attention head) start a new word of VALUE. Codes have `scales` in ROW, one per row.
    """

    columns: int
    words: int
    segment: int = 0
    pieces: list[tuple[int, int, Buffer, int]] = field(default_factory=list)  # (first row, rows, buffer, first word)
    scales: Buffer | None = None
    first: int = 0  # the row whose scale is the first
    low: Rows | None = None  # codes of two digits: where the low ones are

    def digits(self) -> list[tuple[Digit, Rows]]:
        """What a Quantise writes, and where: whole codes, or each digit."""
        return [(Digit.WHOLE, self)] if self.low is None else [(Digit.HIGH, self), (Digit.LOW, self.low)]

    def place(self, start: int, count: int) -> tuple[int, int]:
        """(virtual address, stride) of rows [start, start + count)."""
        for first, rows, buffer, word in self.pieces:
            if first <= start and start + count <= first + rows:
                return buffer.at(word + (start - first) * self.words), self.words
        raise AssertionError(f"rows {start} to {start + count - 1} are not in one buffer")

    def scale_place(self, start: int) -> int:
        """The virtual address in ROW of the scale of row `start`."""
        assert self.scales is not None, "only codes have scales"
        return self.scales.at(start - self.first)

    def part(self, start: int, count: int) -> Rows | None:
        """Rows [start, start + count), counted from 0 again; None if they are not in one buffer."""
        for first, rows, buffer, word in self.pieces:
            if first <= start and start + count <= first + rows:
                piece = (0, count, buffer, word + (start - first) * self.words)
                return Rows(self.columns, self.words, self.segment, [piece])
        return None


@dataclass
class Decoder:
    """What the attentions of a decoder share. Its rows are `tokens` new tokens of each of `sequences`, in order."""

    tokens: int
    sequences: int
    layout: CacheLayout
    layers: list[Node]  # what reads or writes the cache, in order
    positions: Node | None  # the input with the position of each row; None where all rows are those of one sequence
    registers: Registers = field(default_factory=Registers)
    fixed: bool = False  # the rows are all tokens of one sequence, so that no register is needed
    table: Buffer | None = None  # page tables in PAGE, of one sequence after the other
    source_table: Buffer | None = None  # that of the source, if there is one
    places: list[int] | None = None  # of each of `layers` its number in the layout; None: the same

    def place(self, number: int) -> int:
        """The number in the layout of layer `number` of this program."""
        return number if self.places is None else self.places[number]

    def page_table(self, sequence: int) -> int:
        """The entry (virtual) of the first page of a sequence; -1: of the source."""
        if sequence < 0:
            assert self.source_table is not None, "tile loads the page tables first"
            return self.source_table.start * self.layout.config.word_elements(Memory.PAGE)
        assert self.table is not None, "tile loads the page tables first"
        per_word = self.layout.config.word_elements(Memory.PAGE)
        return self.table.start * per_word + sequence * self.layout.sequence_pages


SHARED = 1 << 39  # DRAM addresses from here on count from the start of what all segments share


class SharedDram:
    """DRAM that all segments of a program see: inputs and outputs, what passes from one to the next, tables. Each is
    there once, under its key, however often segments are tiled.

    names  of the inputs and results, which nothing else is called. Raises HeddleError for one that occurs twice
    """

    def __init__(self, config: HardwareConfig, names: Sequence[str] = ()) -> None:
        self.config, self.names = config, names
        for name in names:
            if names.count(name) > 1:
                raise HeddleError(f"two inputs or results are called {name!r}: rename the parameter of forward, or the "
                                  f"result (output=…)")  # fmt: skip
        self.size_bytes = 0
        self.data: list[tuple[int, Content]] = []
        self.tensors: dict[str, Tensor] = {}
        self._names: dict[object, str] = {}

    def reserve(self, size_bytes: int) -> int:
        """An address (from SHARED on) for so many bytes, aligned to bursts."""
        address = SHARED + self.size_bytes
        self.size_bytes += -(-size_bytes // self.config.burst_bytes) * self.config.burst_bytes
        return address

    def data_at(self, address: int) -> bool:
        """Whether something is said to be at an address."""
        return any(start == address for start, _ in self.data)

    def find(self, key: object) -> Tensor | None:
        """The tensor that was added under a key."""
        return self.tensors[self._names[key]] if key in self._names else None

    def narrow(self, key: object, limit: int) -> None:
        """The numbers of the tensor under a key choose from `limit` rows too: the least of all that is said counts."""
        name = self._names[key]
        tensor = self.tensors[name]
        self.tensors[name] = replace(tensor, limit=min(tensor.limit or limit, limit))

    def add(self, key: object, tensor: Tensor) -> Tensor:
        """A new tensor, under a name of its own."""
        base, name, number = tensor.name, tensor.name, 1
        taken = {*self.tensors, *(self.names if tensor.kind in ("constant", "scratch") else ())}
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        self._names[key] = name
        self.tensors[name] = replace(tensor, name=name, address=self.reserve(tensor.size_bytes))
        return self.tensors[name]


class Tiles:
    """Collects tasks in an order in which they could be executed one by one.

    Where rows are taken in groups (`open_group`), a tensor on chip holds the rows of the present group, under the
    numbers they have in the whole; constants are in DRAM once for each phase.
    """

    def __init__(
        self, config: HardwareConfig, tiling: Tiling, longest_panel: int, decoder: Decoder | None = None,
        shared: SharedDram | None = None, evaluators: Evaluators | None = None,
    ) -> None:  # fmt: skip
        self.config = config
        self.decoder = decoder
        self.shared = shared or SharedDram(config)
        self.evaluators = evaluators.copy() if evaluators else Evaluators()  # what they hold so far
        self.group: tuple[int, int] | None = None  # (first, rows) of the present group; None: all
        self.phase = ""
        self.rotary: dict[bytes | tuple[int, ...], Rows] = {}  # tables of cosines and sines → their rows here
        self.tiling = tiling
        self.longest_panel = longest_panel
        self.tasks: list[Task] = []
        self.buffers = Buffers()
        self.data: list[tuple[int, Content]] = []  # constants: (DRAM address from the start of the data, content)
        self.timing_only = False  # a constant has no bytes
        self.data_bytes = 0
        self.gathered: dict[str, int] = {}  # bytes of the constants of which rows are chosen when the program runs
        self.tensors: dict[str, Tensor] = {}
        self.make_view: Callable[[Node, Tiles], Rows] | None = None  # makes rows of a view, when they are asked for
        self.without_pads: Callable[[Rows, Node, Tiles], Rows] | None = None  # and a copy of rows with padded heads
        self.mlps: dict[Node, Mlp] = {}  # those that are sliced, by their second layer
        self.node: Node | None = None  # whose tasks are being emitted
        self._values: dict[Node, Rows] = {}
        self._unpadded: dict[Node, Rows] = {}
        self._ones: dict[int, int] = {}
        self._codes: dict[Node, Rows] = {}
        self._index: dict[Node, Buffer] = {}
        self._winners: dict[Node, Buffer] = {}  # kept from group to group
        self._constants: dict[tuple[str, str, Memory, int], Tensor] = {}  # by phase, name and place in a group
        self._pairs: dict[tuple[str, str, Memory, int], int] = {}  # the same for the addresses of pairs
        self._asked: dict[tuple[str, Memory], int] = {}  # how often the present group has asked for a name
        self._masks: dict[bytes, Tensor] = {}  # by their content

    def __str__(self) -> str:
        return "\n".join(str(task) for task in self.tasks)

    def open_group(self, first: int, rows: int, phase: str = "") -> None:
        """From here on, tile rows [first, first + rows) only. What other groups have on chip is forgotten. All groups
        of one phase ask for the same constants, which are in DRAM once."""
        self.group, self.phase = (first, rows), phase
        for each in (self._values, self._unpadded, self._ones, self._codes, self._index, self.rotary, self._asked):
            each.clear()

    def rows_of(self, node: Node) -> int:
        """Rows of a node that are being computed."""
        return node.rows if self.group is None else self.group[1]

    # -- tensors on chip -----------------------------------------------------------------------------------------------

    def has_values(self, node: Node) -> bool:
        """Whether the value of a node is in VALUE already."""
        return node in self._values

    def values(self, node: Node) -> Rows:
        """Where the value of a node is in VALUE. Constants are loaded, and views are made, when first asked for."""
        if node not in self._values and node.op == "constant":
            table = to_numpy(node.value.reshape(node.rows, node.columns))
            self._values[node] = self.load_rows(node.name, table, self.panels(node))
        elif node not in self._values and node.op == "rearrange":
            assert self.make_view is not None, "tile says who makes views"
            self.require_all_rows(node)
            self._values[node] = self.make_view(node, self)
        return self._values[node]

    def plain_values(self, node: Node) -> Rows:
        """The same, with column n at place n: where heads are padded to words, a copy without the pads."""
        rows = self.values(node)
        if rows.columns == node.columns:
            return rows
        if node not in self._unpadded:
            assert self.without_pads is not None, "tile says who leaves pads out"
            self.require_all_rows(node)
            self._unpadded[node] = self.without_pads(rows, node, self)
        return self._unpadded[node]

    def whole_values(self, node: Node) -> Rows:
        """Room in VALUE for all rows of a node, in one piece. Raises HeddleError where rows go in groups."""
        self.require_all_rows(node)
        return self.new_values(node, [(0, node.rows)])

    def require_all_rows(self, node: Node) -> None:
        """Raise HeddleError where rows go in groups, for a node that is not computed row by row."""
        if self.group is not None:
            raise node.refuse("it needs rows of other tokens, but the rows of this model go in groups, as they do not "
                              "fit on chip at once")  # fmt: skip

    def free_whole(self, rows: int, columns: int, name: str) -> Rows:
        """Room in VALUE, in one piece, for rows that are not the value of a node."""
        words = -(-columns // self.config.columns)
        return Rows(columns, words, pieces=[(0, rows, self.buffer(Memory.VALUE, rows * words, name), 0)])

    def ones(self, columns: int) -> int:
        """The address in VALUE of a row of ones."""
        if columns not in self._ones:
            rows = self.load_rows("ones", np.ones((1, columns), np.float32), [(0, 1)])
            self._ones[columns] = rows.place(0, 1)[0]
        return self._ones[columns]

    def new_index(self, node: Node) -> int:
        """Room in INDEX for the numbers of a node, in order: where (virtual, in numbers) they begin."""
        per_word = self.config.word_elements(Memory.INDEX)
        self._index[node] = self.buffer(Memory.INDEX, -(-node.size // per_word), node.name)
        return self._index[node].at(0) * per_word

    def index_of(self, ids: Node, limit: int) -> int:
        """Where in INDEX the numbers of a node are, all of them; an input is loaded when first asked for, and must
        choose from `limit` rows."""
        if ids.op == "input":
            return self.load_index(ids, 0, ids.size, limit)
        return self._index[ids].at(0) * self.config.word_elements(Memory.INDEX)

    def index_buffer(self, node: Node) -> Buffer:
        """The words of INDEX that have the numbers of a node."""
        return self._index[node]

    def codes(self, node: Node) -> Rows:
        """Where the codes of a node are in ACT."""
        return self._codes[node]

    def take_place(self, node: Node, other: Node) -> Rows:
        """Where the value of another node is, which nobody reads any more, becomes that of a node."""
        rows = self.plain_values(other)
        self._values[node] = Rows(node.columns, rows.words, pieces=list(rows.pieces))
        return self._values[node]

    def set_values(self, node: Node, rows: Rows) -> None:
        """Say where the value of a node is."""
        self._values[node] = rows

    def new_values(self, node: Node, panels: Sequence[tuple[int, int]] | None = None, segment: int = 0) -> Rows:
        """Room in VALUE for the value of a node: a buffer for each of `panels` (default: the usual ones)."""
        columns = node.columns
        words = -(-columns // self.config.columns)
        if segment:
            words = -(-segment // self.config.columns) * (columns // segment)
            if segment % self.config.columns:
                columns = words * self.config.columns
        rows = Rows(columns, words, segment)
        for start, count in panels or self.panels(node):
            rows.pieces.append((start, count, self.buffer(Memory.VALUE, count * words, node.name), 0))
        self._values[node] = rows
        return rows

    def free_rows(self, rows: int, columns: int, name: str) -> Rows:
        """Room in VALUE, in one piece, for rows (of a group: its own) that are not the value of a node."""
        words, first = -(-columns // self.config.columns), self.group[0] if self.group else 0
        buffer = self.buffer(Memory.VALUE, rows * words, name)
        return Rows(words * self.config.columns, words, pieces=[(first, rows, buffer, 0)])

    def new_codes(self, node: Node, columns: int, segment: int = 0, digits: int = 1) -> Rows:
        """Room in ACT for the codes of a node, and in ROW for its scales."""
        rows = self.free_codes(self.panels(node), columns, node.name, digits)
        rows.segment = segment
        self._codes[node] = rows
        return rows

    def free_codes(self, panels: Sequence[tuple[int, int]], columns: int, name: str, digits: int = 1) -> Rows:
        """Room in ACT for codes that are not those of a node, in `panels`, and in ROW for their scales."""
        words = -(-columns // self.config.rows)
        count, first = sum(rows for _, rows in panels), panels[0][0]
        rows = Rows(columns, words, scales=self.buffer(Memory.ROW, count, f"{name} scales"), first=first)
        if digits == 2:
            rows.low = Rows(columns, words)
        for each in (rows, rows.low) if rows.low else (rows,):
            for start, some in panels:
                each.pieces.append((start, some, self.buffer(Memory.ACT, some * words, f"{name} codes"), 0))
        return rows

    def buffer(self, memory: Memory, words: int, name: str) -> Buffer:
        """Words of a memory. Raises NoRoomError if the memory is smaller."""
        if words > self.config.words(memory):
            raise NoRoomError(
                f"{self.label}: {name} needs {words} words of {memory.name}, but {self.config.title} has "
                f"{self.config.words(memory)}: choose a larger configuration or a smaller input"
            )
        return self.buffers.add(name, memory, words)

    # -- sizes ---------------------------------------------------------------------------------------------------------

    def panels(self, node: Node) -> list[tuple[int, int]]:
        """(first row, rows) of the panels that the present rows of a node are computed in, from multiples of `columns`
        if possible."""
        first = self.group[0] if self.group else 0
        panels = split_rows(self.rows_of(node), self.tiling.parts, self.longest_panel, self.config.columns)
        return [(first + start, count) for start, count in panels]

    def chunks(self, matrix: Matrix) -> list[tuple[int, int]]:
        """(first word of N, words) of the pieces in which the matrix is loaded."""
        words = -(-matrix.outputs // self.config.columns)
        per_word = -(-matrix.depth // self.config.rows) * self.config.rows * len(matrix.digits)
        most = max(1, self.config.words(Memory.WEIGHT) // self.tiling.weight_share // per_word)
        if self.tiling.thrifty:  # the sums of a chunk, of each plane, fit as well
            sums = MOST_PLANES * min(self.longest_panel, self.tiling.group_rows or self.longest_panel)
            most = max(1, min(most, self.config.words(Memory.ACC) // sums))
        count = -(-words // most)
        edges = [words * i // count for i in range(count + 1)]
        return [(first, last - first) for first, last in zip(edges, edges[1:], strict=False)]

    # -- DRAM ----------------------------------------------------------------------------------------------------------

    def reserve(self, size_bytes: int) -> int:
        """A DRAM address (from the start of the data) for so many bytes, aligned to bursts."""
        address = self.data_bytes
        self.data_bytes += -(-size_bytes // self.config.burst_bytes) * self.config.burst_bytes
        return address

    def tensor(
        self, name: str, kind: str, memory: Memory, rows: int, columns: int, shape: tuple[int, ...], *,
        row_bytes: int = 0, segment: int = 0, patch: int = 0, made: bool = False, key: object = None,
    ) -> Tensor:  # fmt: skip
        """A tensor in DRAM, under a name of its own. A row takes whole words if `row_bytes` does not say more. With a
        `key` it is shared by all segments: the same tensor whenever it is asked for."""
        per_word = self.config.word_elements(memory)
        steps = [segment] * (columns // segment) if segment else [columns]
        row_bytes = row_bytes or sum(-(-step // per_word) for step in steps) * self.config.dram_word_bytes(memory)
        if key is not None:
            wanted = Tensor(name, kind, memory, 0, rows, columns, row_bytes, shape, segment, patch, made=made)
            return self.shared.find(key) or self.shared.add(key, wanted)
        base, number = name, 1
        while name in self.tensors:
            number += 1
            name = f"{base}_{number}"
        address = self.reserve(rows * row_bytes)
        self.tensors[name] = Tensor(name, kind, memory, address, rows, columns, row_bytes, shape, segment, patch)
        return self.tensors[name]

    def constant_rows(
        self, name: str, array: NDArray, memory: Memory = Memory.VALUE, row_bytes: int = 0, key: object = None
    ) -> Tensor:
        """Rows × columns of values (or codes) in DRAM; with a `key`, once for all segments. Of an array without bytes
        only the place."""
        self.timing_only = self.timing_only or not has_bytes(array)
        place = self.phase, name, memory, self._asked.get((name, memory), 0)
        if key is not None and (tensor := self.shared.find(key)):
            return tensor
        if key is None:
            self._asked[name, memory] = place[-1] + 1
            if place in self._constants:
                return self._constants[place]
        rows, columns = array.shape
        tensor = self.tensor(name, "constant", memory, rows, columns, (rows, columns), row_bytes=row_bytes, key=key)
        self._constants[place] = tensor
        if has_bytes(array):
            data = self.data if key is None else self.shared.data
            data.append((tensor.address, lambda: tensor.pack(array, self.config)))
        return tensor

    def mask_rows(self, content: bytes, numbers: NDArray[np.float32]) -> Tensor:
        """What is added to scores, in DRAM once for all of the same content (a digest)."""
        if content not in self._masks:
            self._masks[content] = self.constant_rows(f"mask {content.hex()[:12]}", numbers)
        return self._masks[content]

    # -- instructions --------------------------------------------------------------------------------------------------

    @property
    def label(self) -> str:
        """The layer being emitted, or the operator where the model has no name for it."""
        return (self.node.layer or self.node.name) if self.node else "program"

    def emit(self, instruction: Instruction, what: str, guard: Condition | None = None, cache: int = -1) -> None:
        """Append an instruction; `what` is its part in the operator. See Task for the others. Raises HeddleError for a
        size that it cannot have."""
        try:
            require_sizes(instruction)
        except HeddleError as error:
            raise HeddleError(f"{self.label}: {error}") from None
        self.tasks.append(Task(instruction, f"{self.label}: {what}", guard, cache))

    def load_rows(self, name: str, array: NDArray, panels: Sequence[tuple[int, int]]) -> Rows:
        """A constant in VALUE, those of its rows that are in `panels`."""
        rows = Rows(array.shape[1], -(-array.shape[1] // self.config.columns))
        tensor = self.constant_rows(name, array)
        for start, count in panels:
            buffer = self.buffer(Memory.VALUE, count * rows.words, name)
            self.load_tensor(tensor, start, count, buffer.at(0), "load")
            rows.pieces.append((start, count, buffer, 0))
        return rows

    def load_tensor(self, tensor: Tensor, start: int, count: int, address: int, what: str) -> None:
        """Rows [start, start + count) of a tensor in DRAM, one after the other on chip."""
        words = tensor.row_bytes // self.config.dram_word_bytes(tensor.memory)
        self.emit(
            Load(memory=tensor.memory, dram_address=tensor.address + start * tensor.row_bytes, words=count * words,
                 address=address), what,
        )  # fmt: skip

    def load_index(self, ids: Node, start: int, count: int, limit: int) -> int:
        """Where in INDEX (virtual, in numbers) those of rows [start, start + count) of an integer input begin, which
        choose from `limit` rows. All are loaded when first asked for; where they do not fit, or in small pieces, each
        time the words of these rows."""
        per_word, beat = self.config.word_elements(Memory.INDEX), self.config.axi_bytes
        words = -(-ids.size // per_word)
        tensor = self.tensor(
            ids.name, "input", Memory.INDEX, 1, ids.size, sample(ids.shape), row_bytes=words * beat,
            key=("input", ids.name),
        )  # fmt: skip
        if self.decoder and ids is self.decoder.positions:
            limit = min(limit, self.decoder.layout.plan.tokens)
        self.shared.narrow(("input", ids.name), limit)
        if words > self.config.words(Memory.INDEX) or self.tiling.thrifty:
            first, last = start // per_word, (start + count - 1) // per_word
            buffer = self.buffer(Memory.INDEX, last - first + 1, ids.name)
            self.emit(Load(memory=Memory.INDEX, dram_address=tensor.address + first * beat, words=buffer.words,
                           address=buffer.at(0)), "ids")  # fmt: skip
            return buffer.at(0) * per_word + start - first * per_word
        if ids not in self._index:
            self._index[ids] = self.buffer(Memory.INDEX, words, ids.name)
            self.load_tensor(tensor, 0, 1, self._index[ids].at(0), "ids")
        return self._index[ids].at(0) * per_word + start

    def winners(self, node: Node, groups: int = 1) -> Buffer:
        """Room in INDEX for `groups` numbers for each row of a node, of all groups of rows."""
        if node not in self._winners:
            words = -(-groups * node.rows // self.config.word_elements(Memory.INDEX))
            self._winners[node] = self.buffer(Memory.INDEX, words, f"{node.name} numbers")
        return self._winners[node]

    def load_pairs(self, name: str, pairs: NDArray[np.float32], what: str = "parameters") -> Buffer:
        """(words, columns, 2) float32 → PARAM."""
        size = self.config.dram_word_bytes(Memory.PARAM)
        place = self.phase, name, Memory.PARAM, self._asked.get((name, Memory.PARAM), 0)
        self._asked[name, Memory.PARAM] = place[-1] + 1
        if place not in self._pairs:
            self._pairs[place] = self.reserve(len(pairs) * size)
            if has_bytes(pairs):
                self.data.append((self._pairs[place], lambda: _bytes_of_pairs(pairs, size)))
            else:
                self.timing_only = True
        address = self._pairs[place]
        buffer = self.buffer(Memory.PARAM, len(pairs), name)
        self.emit(Load(memory=Memory.PARAM, dram_address=address, words=len(pairs), address=buffer.at(0)), what)
        return buffer

    def function(self, name: str) -> Function:
        """What the instructions of the next tasks call a function; evaluators that do not hold it are set first."""
        if not name or name == RELU:
            return Function.RELU if name else Function.NONE
        if self.evaluators.find(name) is None:
            if not self.evaluators.take(name):
                self.evaluators.give_up()
                self.evaluators.take(name)
            self.set_tables(name)
        found = self.evaluators.find(name)
        assert found is not None, "alone it fits"
        return found

    def set_tables(self, name: str) -> None:
        """Set a function that evaluators are said to hold; not more than half of PARAM is taken at a time."""
        most = max(1, self.config.words(Memory.PARAM) // 2)
        for entries, place in self.evaluators.pieces(name):
            step = most * self.config.columns
            for start in range(0, len(entries), step):
                piece = Piece(entries[start : start + step], place + start)
                buffer = self.load_pairs(f"{name} at {piece.place}", piece.pairs(self.config), "table")
                self.emit(
                    Tables(param_address=buffer.at(0), entries=len(piece.entries), place=piece.place), f"set {name}"
                )

    def matmul(
        self, x: Rows, start: int, count: int, weights: Buffer, depth: int, words: int, acc: int, acc_stride: int,
        what: str = "matmul", accumulate: bool = False,
    ) -> None:  # fmt: skip
        """Rows [start, start + count) of the codes x, `depth` columns of them, times `words` words of N."""
        act, act_stride = x.place(start, count)
        k_tiles = -(-depth // self.config.rows)
        self.emit(
            Matmul(
                rows=count, k_tiles=k_tiles, n_tiles=words, act_address=act, act_stride=act_stride,
                weight_address=weights.at(0), weight_stride=k_tiles * self.config.rows,
                acc_address=acc, acc_stride=acc_stride, accumulate=int(accumulate),
            ), what,
        )  # fmt: skip

    def product(
        self, precision: Precision, x: Rows, start: int, count: int, weights: list[Buffer], depth: int, words: int,
        acc: int, acc_stride: int, what: str = "matmul",
    ) -> None:  # fmt: skip
        """The same for codes and weights of one or two digits. Planes of sums are count·acc_stride words apart."""
        digits, planes = [codes for _, codes in x.digits()], set()
        for plane, digit, weight in precision.passes:
            address = acc + plane * count * acc_stride
            self.matmul(digits[digit], start, count, weights[weight], depth, words, address, acc_stride, what,
                        plane in planes)  # fmt: skip
            planes.add(plane)


class Weights:
    """A matrix in DRAM, loaded a chunk at a time; a chunk stays on chip as long as the schedule has a use for it."""

    def __init__(self, tiles: Tiles, matrix: Matrix, name: str) -> None:
        self.tiles = tiles
        digits = [each.words(tiles.config) for each in matrix.digits]  # (words of N, words of K, columns) each
        self.depth = digits[0].shape[1]
        self.name = name
        self.tensors = [
            tiles.constant_rows(name, words.reshape(-1, tiles.config.columns), Memory.WEIGHT) for words in digits
        ]

    def load(self, first: int, words: int) -> list[Buffer]:
        """The words of N from `first`: a buffer for each digit of the weights, the high one first."""
        count, buffers = words * self.depth, []
        for tensor in self.tensors:
            buffers.append(self.tiles.buffer(Memory.WEIGHT, count, self.name))
            self.tiles.load_tensor(tensor, first * self.depth, count, buffers[-1].at(0), "weights")
        return buffers


def _bytes_of_pairs(pairs: NDArray[np.float32], word_bytes: int) -> bytes:
    raw = np.zeros((len(pairs), word_bytes), np.uint8)
    content = np.ascontiguousarray(pairs.astype("<f4")).view(np.uint8).reshape(len(pairs), -1)
    raw[:, : content.shape[1]] = content
    return raw.tobytes()


def split_rows(rows: int, parts: int, longest: int, aligned: int) -> list[tuple[int, int]]:
    """About `parts` panels of at most `longest` rows, that start at multiples of `aligned` if `longest` permits."""
    parts = max(parts, -(-rows // longest))
    step = max(1, round(rows / parts / aligned)) * aligned
    if step > longest:
        step = longest // aligned * aligned or longest
    starts = list(range(0, rows, step))
    while len(starts) > 1 and len(starts) > parts and rows - starts[-2] <= longest:
        starts.pop()  # a short rest joins the panel before it
    return [(start, stop - start) for start, stop in zip(starts, [*starts[1:], rows], strict=True)]
