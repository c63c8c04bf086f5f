"""A bench for one unit of the RTL behind memories of numpy arrays: what it reads and writes, and when."""

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from amaranth.sim import Simulator
from heddle.arch import numerics
from heddle.arch.config import HardwareConfig, Memory
from heddle.arch.encoding import encode


@dataclass
class Record:
    """One instruction on the unit: cycles of start and retire, and its accesses as (cycle, memory, address)."""

    start: int = 0
    retire: int = 0
    reads: list[tuple[int, str, int]] = field(default_factory=list)
    writes: list[tuple[int, str, int]] = field(default_factory=list)


class Memories:
    """The memories of the float32 units as arrays of (words, elements), random; a pair of PARAM is two elements.

    Floats are kept as their bits; VALUE as uint16 or uint32. With bf16 PEs so are ACC and ACT.
    """

    names = ("acc", "value", "param", "row", "act", "index")

    def __init__(self, config: HardwareConfig, seed: int = 0):
        random = np.random.default_rng(seed)
        self.config, c = config, config.columns
        self.acc = random.integers(-20_000, 20_000, (config.acc_words, c), dtype=np.int32)
        self.value = self.stored(random.normal(0, 2, (config.value_words, c)).astype(np.float32))
        scales = np.exp2(random.normal(-12, 1, (config.param_words, 2 * c))).astype(np.float32)
        self.param = numerics.to_bits(scales).copy()
        self.row = numerics.to_bits(random.normal(0, 2, (config.row_words, 1)).astype(np.float32)).copy()
        self.act = random.integers(-127, 128, (config.act_words, config.rows), dtype=np.int8)
        self.index = random.integers(-2, 40, (config.index_words, config.word_elements(Memory.INDEX)), dtype=np.int32)
        if config.pe == "bf16":
            self.acc = numerics.to_bits(random.normal(0, 20_000, self.acc.shape)).copy()
            self.act = self.coded(random.normal(0, 1, self.act.shape).astype(np.float32))

    def stored(self, x: np.ndarray) -> np.ndarray:
        """float32 numbers as VALUE keeps them (bf16 rounded to nearest even)."""
        if self.config.value_format == "float32":
            return numerics.to_bits(x).copy()
        return (numerics.to_bits(numerics.to_bf16(x)) >> 16).astype(np.uint16)

    def coded(self, codes: np.ndarray) -> np.ndarray:
        """Codes of the oracle as ACT keeps them: int8, or the bits of numbers that are bf16."""
        if self.config.pe == "int8":
            return codes
        return (numerics.to_bits(numerics.to_bf16(codes)) >> 16).astype(np.uint16)

    def copy(self) -> "Memories":
        """The same contents, apart from each other."""
        twin = object.__new__(type(self))
        twin.config = self.config
        for name in self.names:
            setattr(twin, name, getattr(self, name).copy())
        return twin

    def make_hard(self, seed: int) -> None:
        """Fill VALUE, PARAM and ROW with finite numbers of all magnitudes, or of those whose sums, products or squares
        leave the range of float32. Scales, of columns and of rows, are not negative."""
        random = np.random.default_rng(seed)
        for name in ("value", "param", "row"):
            array = getattr(self, name)
            low, high = [(-149, 128), (122, 128), (60, 70), (-70, -55)][random.integers(4)]
            x = random.uniform(1, 2, array.shape) * 2.0 ** random.integers(low, high, array.shape).astype(np.float64)
            if name != "row":
                x[..., 1::2] *= random.choice([-1, 1], x[..., 1::2].shape)
            array[:] = self.stored(x.astype(np.float32)) if name == "value" else numerics.to_bits(x)

    def addresses(self, address: int, stride: int, rows: int, words: int) -> np.ndarray:
        """(rows, words) addresses of the words of a panel."""
        return address + stride * np.arange(rows)[:, None] + np.arange(words)

    def panel(self, name: str, address: int, stride: int, rows: int, columns: int) -> np.ndarray:
        """(rows, columns) elements of a panel that starts at `address`, `stride` words from row to row."""
        index = self.addresses(address, stride, rows, -(-columns // self.config.columns))
        return getattr(self, name)[index].reshape(rows, -1)[:, :columns]

    def sums(self, address: int, stride: int, rows: int, columns: int) -> np.ndarray:
        """(rows, columns) sums of a panel in ACC: int32, or float32 with bf16 PEs."""
        sums = self.panel("acc", address, stride, rows, columns)
        return sums if self.config.pe == "int8" else numerics.from_bits(sums.copy())

    def values(self, address: int, stride: int, rows: int, columns: int) -> np.ndarray:
        """(rows, columns) float32 numbers of a panel in VALUE."""
        bits = self.panel("value", address, stride, rows, columns).astype(np.uint32)
        return numerics.from_bits(bits << (32 - self.config.value_bits))

    def indices(self, element: int, count: int) -> np.ndarray:
        """(count,) numbers of INDEX; `element` counts numbers, not words."""
        return self.index.reshape(-1)[element : element + count]

    def pairs(self, address: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
        """Both halves of the pairs of `columns` columns, (columns,) float32 each."""
        bits = self.param[address : address + -(-columns // self.config.columns)].reshape(-1, 2)[:columns]
        return numerics.from_bits(bits[:, 0].copy()), numerics.from_bits(bits[:, 1].copy())

    def put(self, name: str, address: int, stride: int, elements: np.ndarray) -> None:
        """Write (rows, columns) `elements`, zeros up to the end of the last word of each row."""
        array = getattr(self, name)
        rows, columns = elements.shape
        width = array.shape[1]
        words = -(-columns // width)
        padded = np.zeros((rows, words * width), array.dtype)
        padded[:, :columns] = elements
        array[self.addresses(address, stride, rows, words)] = padded.reshape(rows, words, width)

    def put_pairs(self, address: int, first: np.ndarray, second: np.ndarray) -> None:
        """Write the pairs of some columns; those up to the end of the last word become NaNs."""
        words = -(-len(first) // self.config.columns)
        pairs = np.full((words * self.config.columns, 2), np.nan, np.float32)
        pairs[: len(first), 0], pairs[: len(first), 1] = first, second
        self.param[address : address + words] = numerics.to_bits(pairs).reshape(words, -1)


def whole(data: int, bits: int, size: int) -> bytes:
    """The `size` bytes of a word in which `data` of `bits` stands again and again."""
    repeated = sum(data << at for at in range(0, 8 * size, bits))
    return (repeated & ((1 << 8 * size) - 1)).to_bytes(size, "little")


def run_unit(unit, memories: Memories, program: list, limit: int = 5000, gap: int = 1) -> list[Record]:
    """Execute `program` on `unit`, each instruction `gap` cycles after the retire of the one before.

    Where the unit does not read, it sees ones: NaNs. The instruction is there only in the cycle of its start.
    """
    ports = {kind: [(name, getattr(memories, name), getattr(unit, f"{name}_{kind}"))
                    for name in memories.names if hasattr(unit, f"{name}_{kind}")]
             for kind in ("read", "write")}  # fmt: skip
    records: list[Record] = []

    async def bench(ctx):
        cycle = 0
        coming = {name: deque([(1 << len(port.data)) - 1] * (memories.config.read_cycles(Memory[name.upper()]) - 1))
                  for name, _, port in ports["read"]}  # fmt: skip

        async def tick(record: Record) -> bool:
            nonlocal cycle
            retired = ctx.get(unit.retire)
            for name, array, port in ports["read"]:
                answer = (1 << len(port.data)) - 1
                if ctx.get(port.en):
                    address = ctx.get(port.address)
                    record.reads.append((cycle, name, address))
                    answer = int.from_bytes(array[address].tobytes(), "little") >> ctx.get(port.part) * len(port.data)
                    answer &= (1 << len(port.data)) - 1
                coming[name].append(answer)
            for name, array, port in ports["write"]:
                if ctx.get(port.en):
                    address, mask = ctx.get(port.address), ctx.get(port.mask)
                    record.writes.append((cycle, name, address))
                    word = whole(ctx.get(port.data), len(port.data), array[address].nbytes)
                    chosen = [bool(mask >> bit & 1) for bit in range(array.shape[1])]
                    array[address, chosen] = np.frombuffer(word, array.dtype)[chosen]
            await ctx.tick()
            for name, _, port in ports["read"]:
                ctx.set(port.data, coming[name].popleft())
            cycle += 1
            return bool(retired)

        for work in program:
            work.check(memories.config)
            idle = Record()
            for _ in range(gap - 1 if records else 2):
                assert not await tick(idle)
            assert not idle.reads and not idle.writes
            assert ctx.get(unit.ready)
            record = Record(start=cycle)
            ctx.set(unit.start, 1)
            ctx.set(unit.instruction, int.from_bytes(encode(work), "little"))
            assert not await tick(record)
            ctx.set(unit.start, 0)
            ctx.set(unit.instruction, 0)
            while not await tick(record):
                assert not ctx.get(unit.ready) or ctx.get(unit.retire)
                assert cycle < record.start + limit, "the unit does not retire"
            record.retire = cycle - 1
            records.append(record)

    simulator = Simulator(unit)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    return records


def assert_same(memories: Memories, expected: Memories) -> None:
    """Hold every bit of every memory to the expected."""
    for name in memories.names:
        found, wanted = getattr(memories, name), getattr(expected, name)
        places = np.argwhere(found != wanted)
        assert not len(places), (
            f"{name}: {len(places)} elements differ, the first at {places[0]}: "
            f"{found[tuple(places[0])]:#x} instead of {wanted[tuple(places[0])]:#x}"
        )


def assert_accesses(config: HardwareConfig, work, record: Record) -> None:
    """Hold what an instruction read and wrote to what it says that it may touch, and to within its cycles."""
    for write, made in ((False, record.reads), (True, record.writes)):
        allowed = {
            (access.memory.name.lower(), access.start + block * access.stride + word)
            for access in work.accesses(config)
            if access.write == write
            for block in range(access.count)
            for word in range(access.length)
        }
        assert {(name, address) for _, name, address in made} == allowed
    assert min(cycle for cycle, *_ in record.reads) == record.start + 1
    if record.writes:
        assert max(cycle for cycle, *_ in record.writes) == record.retire
