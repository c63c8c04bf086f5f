"""What tests at the DRAM port share: configurations, stand-in units, and an AXI4 slave that checks manners."""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from heddle.arch.config import FETCH_GROUP, PRESETS, Unit
from heddle.arch.encoding import encode
from heddle.arch.isa import Halt, Map
from heddle.arch.registers import Register
from heddle.hw.accelerator import MEMORY_PORTS, Accelerator
from heddle.hw.instructions import UNITS, fields_of
from heddle.hw.memories import read_signature, write_signature
from heddle.hw.units.kv import Kv
from heddle.hw.units.load import Load
from heddle.hw.units.store import Store

from ..machines import ODD

MACHINES = {
    "nano": PRESETS["nano"],
    "small": PRESETS["small"],
    "3x5": ODD,
    "server": PRESETS["server"],
}


@pytest.fixture(params=MACHINES, ids=str)
def machine(request):
    """nano, small, 3×5 and, for its wide bus, server in turn."""
    return MACHINES[request.param]


@pytest.fixture
def machines():
    """Configurations by name."""
    return MACHINES


@dataclass
class Burst:
    """One burst as the slave has accepted it."""

    cycle: int
    write: bool
    identifier: int
    address: int
    beats: int
    beat_bytes: int
    first: int = 0  # least cycle of the first beat
    moved: int = 0


@dataclass
class AxiSlave:
    """An AXI4 slave for the `axi` port of a component (as seen by the master), over `dram`, stepped once a cycle.

    `latency` and `cycles_per_beat` as for the ideal DRAM of docs/architecture.md; with a `seed`, ready and valid
    come and go at random, reads of different identifiers interleave, and address and data of writes wait for each other
    either way. `respond(burst)` may give another response than OKAY. `bursts` and `beats` record what happened.
    """

    dram: bytearray
    axi_bytes: int
    latency: int = 3
    cycles_per_beat: int = 1
    seed: int | None = None
    respond: Callable[[Burst], int] = lambda burst: 0
    cycle: int = 0
    free: int = 0
    bursts: list[Burst] = field(default_factory=list)
    beats: list[tuple[int, bool, int]] = field(default_factory=list)  # cycle, write, identifier

    def __post_init__(self):
        self.random = random.Random(self.seed)
        self.reads = {identifier: deque() for identifier in range(4)}
        self.writes: deque[Burst] = deque()
        self.order: deque[Burst] = deque()  # all of them
        self.write_beats: deque[tuple[int, int, int]] = deque()
        self.responses: deque[tuple[int, int]] = deque()  # identifier, response
        self.offered = {}  # channel → payload that was not accepted yet
        self.write_waits = 0

    def chance(self, probability: float) -> bool:
        return self.seed is None or self.random.random() < probability

    def sample(self, ctx, axi) -> None:
        """Look at the cycle that ends; call just before the clock edge."""
        for channel in ("aw", "ar", "w"):
            self._check_stable(ctx, axi, channel)
        assert not (ctx.get(axi.awvalid) and ctx.get(axi.arvalid)), "two requests in one cycle"
        for channel in ("aw", "ar"):
            if ctx.get(getattr(axi, f"{channel}valid")) and ctx.get(getattr(axi, f"{channel}ready")):
                self._accept(ctx, axi, channel)
        self.write_waits = ctx.get(axi.wvalid)
        if self.seed is None:
            assert self.write_waits or not ctx.get(axi.wready), "write data must be there when their turn comes"
        if self.write_waits and ctx.get(axi.wready):
            self.write_beats.append((ctx.get(axi.wdata), ctx.get(axi.wstrb), ctx.get(axi.wlast)))
            self.beats.append((self.cycle, True, 0))
        if ctx.get(axi.rvalid):
            assert ctx.get(axi.rready), "read data must be taken whenever they come"
            self.beats.append((self.cycle, False, ctx.get(axi.rid)))
        assert ctx.get(axi.bready) or not ctx.get(axi.bvalid), "responses must be taken whenever they come"
        self._write()
        self.cycle += 1

    def drive(self, ctx, axi) -> None:
        """Set the outputs of the cycle that begins; call just after the clock edge."""
        ready = self.chance(0.4)
        # Some slaves take an address only once its data are offered.
        ctx.set(axi.awready, ready if self.seed is None else ready and (self.write_waits or self.chance(0.2)))
        ctx.set(axi.arready, self.chance(0.4))
        due = self._due()
        ctx.set(axi.wready, self.chance(0.5) if self.seed is not None else bool(due and due.write))
        read = due if due and not due.write else self._random_read()
        ctx.set(axi.rvalid, read is not None)
        if read is not None:
            self._drive_read(ctx, axi, read)
        answered = self.responses and self.chance(0.3)
        ctx.set(axi.bvalid, bool(answered))
        if answered:
            identifier, response = self.responses.popleft()
            ctx.set(axi.bid, identifier)
            ctx.set(axi.bresp, response)

    def idle(self) -> bool:
        return not (self.order or self.responses)

    def _check_stable(self, ctx, axi, channel: str) -> None:
        names = {"w": ("wdata", "wstrb", "wlast")}.get(channel)
        names = names or [f"{channel}{part}" for part in ("addr", "len", "size", "burst", "id")]
        valid, ready = ctx.get(getattr(axi, f"{channel}valid")), ctx.get(getattr(axi, f"{channel}ready"))
        payload = [ctx.get(getattr(axi, name)) for name in names] if valid else None
        if channel in self.offered:
            assert payload == self.offered[channel], f"{channel} changed before it was accepted"
        self.offered.pop(channel, None)
        if valid and not ready:
            self.offered[channel] = payload

    def _accept(self, ctx, axi, channel: str) -> None:
        identifier, address, length, size, kind = (
            ctx.get(getattr(axi, channel + part)) for part in ("id", "addr", "len", "size", "burst")
        )
        burst = Burst(self.cycle, channel == "aw", identifier, address, length + 1, 1 << size)
        assert kind == 1, "bursts must be INCR"
        assert address % burst.beat_bytes == 0 and burst.beat_bytes <= self.axi_bytes
        assert burst.beat_bytes == self.axi_bytes or not burst.write
        assert address // 4096 == (address + burst.beats * burst.beat_bytes - 1) // 4096, "crosses 4 KiB"
        burst.first = max(self.cycle + self.latency, self.free)
        self.free = burst.first + burst.beats * self.cycles_per_beat
        self.bursts.append(burst)
        self.order.append(burst)
        (self.writes if burst.write else self.reads[burst.identifier]).append(burst)

    def _due(self) -> Burst | None:
        """On a polite slave, the burst that moves a beat in the cycle that begins."""
        if self.seed is not None or not self.order:
            return None
        burst = self.order[0]
        return burst if self.cycle >= burst.first + burst.moved * self.cycles_per_beat else None

    def _random_read(self) -> Burst | None:
        heads = [queue[0] for queue in self.reads.values() if queue]
        return self.random.choice(heads) if self.seed is not None and heads and self.chance(0.6) else None

    def _drive_read(self, ctx, axi, burst: Burst) -> None:
        address = burst.address + burst.moved * burst.beat_bytes
        lane = address % self.axi_bytes
        beat = int.from_bytes(self.dram[address : address + burst.beat_bytes], "little") << 8 * lane
        noise = self.random.getrandbits(8 * self.axi_bytes) & ~(((1 << 8 * burst.beat_bytes) - 1) << 8 * lane)
        ctx.set(axi.rdata, beat | noise)
        ctx.set(axi.rid, burst.identifier)
        ctx.set(axi.rlast, burst.moved == burst.beats - 1)
        ctx.set(axi.rresp, self.respond(burst))
        self._advance(burst, self.reads[burst.identifier])

    def _advance(self, burst: Burst, queue: deque) -> None:
        burst.moved += 1
        if burst.moved == burst.beats:
            queue.popleft()
            self.order.remove(burst)

    def _write(self) -> None:
        """Puts the beats that have come into the bursts they belong to, in the order of addresses."""
        while self.write_beats and self.writes:
            burst = self.writes[0]
            data, strobe, last = self.write_beats.popleft()
            address = burst.address + burst.moved * self.axi_bytes
            for byte in range(self.axi_bytes):
                if strobe >> byte & 1:
                    self.dram[address + byte] = data >> 8 * byte & 255
            assert last == (burst.moved == burst.beats - 1), "WLAST must mark the last beat, and only it"
            self._advance(burst, self.writes)
            if last:
                self.responses.append((burst.identifier, self.respond(burst)))


@pytest.fixture
def axi_slave():
    """The class AxiSlave."""
    return AxiSlave


class Nap(wiring.Component):
    """Stands for a unit: executes any instruction for `rows` cycles, and all the while reads VALUE at `source_address`
    if it is a Map of VALUE. It is always ready: that it gets one instruction at a time is for dispatch to see to; but
    MATRIX says itself when it takes another.
    """

    def __init__(self, config, unit: Unit):
        ports = {}
        for memory, (writers, readers) in MEMORY_PORTS.items():
            if unit in writers:
                ports[f"{memory.name.lower()}_write"] = Out(write_signature(config, memory))
            if unit in readers:
                ports[f"{memory.name.lower()}_read"] = Out(read_signature(config, memory))
        self._unit = unit
        super().__init__({
            "start": In(1), "instruction": In(256), "ready": Out(1), "retire": Out(1), **ports,
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        view = fields_of(Map, self.instruction)
        left, address, reading = Signal(len(view.rows)), Signal(len(view.source_address)), Signal()
        m.d.comb += [self.ready.eq((left == 0) | (self._unit is not Unit.MATRIX)), self.retire.eq(left == 1)]
        with m.If(self.start):
            m.d.sync += [left.eq(view.rows), address.eq(view.source_address), reading.eq(view.source)]
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        if self._unit is Unit.VECTOR:
            m.d.comb += [self.value_read.en.eq(reading & (left != 0)), self.value_read.address.eq(address)]
        return m


NAPPING_UNITS = {
    Unit.LOAD: Load,
    Unit.STORE: Store,
    Unit.KV: Kv,
    **{unit: partial(Nap, unit=unit) for unit in (Unit.MATRIX, Unit.VECTOR, Unit.SOFTMAX, Unit.NORM)},
}


class Host:
    """One Accelerator in simulation, with the slave behind its DRAM port and a host at its registers.

    `records` are (unit, index, start, retire) in the order of retirement; `start` is the slave's cycle of cycle 0.
    """

    def __init__(self, ctx, machine: Accelerator, slave: AxiSlave):
        self.ctx, self.machine, self.slave = ctx, machine, slave
        self.records, self.start, self.base = [], 0, 0

    async def step(self) -> None:
        """One clock cycle."""
        ctx, machine = self.ctx, self.machine
        for unit in UNITS:
            name = f"retire_{unit.name.lower()}"
            if ctx.get(getattr(machine, f"{name}_valid")):
                index, start = ctx.get(getattr(machine, f"{name}_index")), ctx.get(getattr(machine, f"{name}_start"))
                self.records.append((unit, index, start, ctx.get(machine.cycle)))
        self.slave.sample(ctx, machine.axi)
        await ctx.tick()
        self.slave.drive(ctx, machine.axi)

    async def write(self, offset: int, value: int, strobe: int = 15) -> None:
        bus = self.machine.control
        for port, content in ((bus.awaddr, offset), (bus.wdata, value), (bus.wstrb, strobe), (bus.bready, 1)):
            self.ctx.set(port, content)
        self.ctx.set(bus.awvalid, 1)
        self.ctx.set(bus.wvalid, 1)
        while not (self.ctx.get(bus.awready) and self.ctx.get(bus.wready)):
            await self.step()
        await self.step()
        self.ctx.set(bus.awvalid, 0)
        self.ctx.set(bus.wvalid, 0)
        while not self.ctx.get(bus.bvalid):
            await self.step()
        assert self.ctx.get(bus.bresp) == 0
        await self.step()

    async def read(self, offset: int) -> int:
        bus = self.machine.control
        self.ctx.set(bus.araddr, offset)
        self.ctx.set(bus.arvalid, 1)
        self.ctx.set(bus.rready, 1)
        while not self.ctx.get(bus.arready):
            await self.step()
        await self.step()
        self.ctx.set(bus.arvalid, 0)
        while not self.ctx.get(bus.rvalid):
            await self.step()
        value = self.ctx.get(bus.rdata)
        assert self.ctx.get(bus.rresp) == 0
        await self.step()
        return value

    async def begin(self, groups: int, program: int = 0, dram_bytes: int = 0) -> None:
        """Starts the program of `groups` groups at the DRAM address `program`; cycle 0 is remembered as `start`.
        `dram_bytes`: of DRAM that the run may touch from `base` on, if not all."""
        await self.write(Register.PROGRAM_LOW, program)
        await self.write(Register.DRAM_BASE_LOW, self.base)
        await self.write(Register.DRAM_BYTES_LOW, dram_bytes or len(self.slave.dram))
        await self.write(Register.GROUPS, groups)
        await self.write(Register.CONTROL, Register.CONTROL.mask("start"))
        self.start = self.slave.cycle - self.ctx.get(self.machine.cycle)

    async def until_done(self, limit: int = 20_000) -> None:
        """Waits for done, error or aborted."""
        ends = (self.machine.done, self.machine.error, self.machine.aborted)
        for _ in range(limit):
            if any(map(self.ctx.get, ends)):
                return
            await self.step()
        raise AssertionError(f"not done after {limit} cycles")

    def grants(self) -> list[tuple[int, bool, int]]:
        """(cycle of the run, write, identifier) of each burst."""
        return [(burst.cycle - self.start, burst.write, burst.identifier) for burst in self.slave.bursts]


def code_of(instructions) -> bytes:
    """The program as FETCH reads it: padded with halt to whole groups."""
    padding = [Halt()] * (-len(instructions) % FETCH_GROUP)
    return b"".join(encode(each) for each in (*instructions, *padding))


class Simulation:
    """An Accelerator with stand-in units whose simulator, slow to set up, serves one body after another."""

    def __init__(self, config):
        machine = Accelerator(config, units=NAPPING_UNITS)

        async def bench(ctx):
            await self.body(Host(ctx, machine, self.slave))

        self.used = False
        self.simulator = Simulator(machine)
        self.simulator.add_clock(1e-6)
        self.simulator.add_testbench(bench)

    def run(self, slave, body) -> None:
        self.slave, self.body = slave, body
        if self.used:
            self.simulator.reset()
        self.used = True
        self.simulator.run()


@pytest.fixture(scope="session")
def on_machine():
    """on_machine(config, slave, body) runs `await body(host)` on an Accelerator of `config`, after a reset."""
    simulations = {}

    def run(config, slave, body):
        if config not in simulations:
            simulations[config] = Simulation(config)
        simulations[config].run(slave, body)

    return run


@pytest.fixture
def run_program(on_machine):
    """run_program(config, instructions, slave) → the Host after the run; the program is put at DRAM address 0.

    `scalars` (number → value) are written to the scalar registers before.
    """

    def run(config, instructions, slave, limit=20_000, scalars=None):
        code = code_of(instructions)
        slave.dram[: len(code)] = code
        hosts = []

        async def body(host):
            hosts.append(host)
            for number, value in (scalars or {}).items():
                await host.write(Register.SCALAR + 4 * number, value)
            await host.begin(len(code) // (FETCH_GROUP * 32))
            await host.until_done(limit)
            host.cycles = await host.read(Register.CYCLES_LOW)
            host.status = await host.read(Register.STATUS)
            host.instructions = await host.read(Register.INSTRUCTIONS)
            host.busy = {unit: await host.read(Register.BUSY + 4 * unit) for unit in UNITS}
            host.waiting = {unit: await host.read(Register.WAITING + 4 * unit) for unit in UNITS}

        on_machine(config, slave, body)
        return hosts[0]

    return run


@pytest.fixture
def nano_machine():
    """An Accelerator of nano with stand-in units."""
    return Accelerator(PRESETS["nano"], units=NAPPING_UNITS)
