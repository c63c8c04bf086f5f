"""hw/csr.py and hw/counters.py as the host sees them on the accelerator, and the life of a run."""

import random

import pytest
from amaranth import ClockDomain, Module
from amaranth.sim import Simulator
from heddle.arch.config import PRESETS, SCALAR_COUNT, Memory, Unit
from heddle.arch.encoding import encode
from heddle.arch.isa import Halt, Load, Map, Matmul, Store
from heddle.arch.registers import Register
from heddle.hw.csr import KEPT_COUNT, READ_CYCLES, Csr

NANO = PRESETS["nano"]
MATRIX, VECTOR = 1 << Unit.MATRIX, 1 << Unit.VECTOR


def put_program(slave, instructions, address=0):
    code = b"".join(encode(each) for each in instructions)
    code += encode(Halt()) * (-len(instructions) % 8)
    slave.dram[address : address + len(code)] = code
    return len(code) // 256


def test_registers_read_back_and_unused_ones_are_zero(on_machine, axi_slave):
    async def body(host):
        await host.write(Register.PROGRAM_LOW, 0x1234_5600)
        await host.write(Register.PROGRAM_HIGH, 0xFFFF_FF78)  # of which the machine has 8 bits
        await host.write(Register.GROUPS, 0xDEAD_BEEF)
        await host.write(Register.GROUPS, 0x0000_4200, strobe=0b0010)
        await host.write(Register.INTERRUPT, 1)
        await host.write(0x120, 0xFFFF_FFFF)
        names = ["PROGRAM_LOW", "PROGRAM_HIGH", "GROUPS", "INTERRUPT", "CONTROL", "STATUS"]
        registers = [*(Register[name] for name in names), 0x120]
        assert [await host.read(each) for each in registers] == [0x1234_5600, 0x78, 0xDEAD_42EF, 1, 0, 0, 0]

    on_machine(NANO, axi_slave(bytearray(4096), 4), body)


@pytest.mark.parametrize("name", ["nano", "3x5"])
def test_what_the_machine_is_can_be_read(on_machine, axi_slave, machines, name):
    config = machines[name]

    async def body(host):
        for register in (each for each in Register if each.value_of):
            found = [await host.read(offset) for offset in register.offsets]
            assert found == [register.value_of(config, number) for number in range(register.count)], register.name
        await host.write(Register.ROWS, 77)
        assert await host.read(Register.ROWS) == config.rows
        assert await host.read(Register.MEMORY_BANKS + 4 * Memory.ACT) == config.act_banks
        assert await host.read(Register.VERSION) == 0x48444C01

    on_machine(config, axi_slave(bytearray(4096), 4), body)


def test_scalar_registers_and_the_cache_region_keep_what_is_written(on_machine, axi_slave):
    numbers = random.Random(7)

    async def body(host):
        values = {Register.SCALAR + 4 * number: numbers.getrandbits(32) for number in range(SCALAR_COUNT)}
        regions = {"KV_BASE_LOW": 0xFEDC_B000, "KV_BASE_HIGH": 0xA5, "KV_BYTES_LOW": 1, "KV_BYTES_HIGH": 0x5A,
                   "DRAM_BASE_LOW": 0x1234_5000, "DRAM_BASE_HIGH": 0x9B, "DRAM_BYTES_LOW": 2, "DRAM_BYTES_HIGH": 0x3C}
        values |= {Register[name].value: value for name, value in regions.items()}  # fmt: skip
        for offset, value in values.items():
            await host.write(offset, value)
        values[Register.SCALAR] = 0  # number 0
        for offset, value in values.items():
            assert await host.read(offset) == value, hex(offset)
        await host.write(Register.SCALAR + 4 * 31, 0xAABB_CCDD, strobe=0b1010)
        kept = values[Register.SCALAR + 4 * 31] & 0x00FF_00FF
        assert await host.read(Register.SCALAR + 4 * 31) == 0xAA00_CC00 | kept
        # CONTROL.clear leaves them.
        await host.write(Register.CONTROL, Register.CONTROL.mask("clear"))
        assert await host.read(Register.KV_BASE_LOW) == 0xFEDC_B000
        # No address is taken for another.
        assert [await host.read(each) for each in (Register.BUSY, Register.WAITING)] == [0, 0]

    on_machine(NANO, axi_slave(bytearray(4096), 4), body)


def test_a_run_from_a_high_address_with_counters_and_interrupt(on_machine, axi_slave):
    slave = axi_slave(bytearray(1 << 14), 4, latency=9)
    program = [Map(rows=3, wait=MATRIX), Matmul(rows=10, signal=VECTOR), Load(words=7), Store(words=3), Halt()]
    groups = put_program(slave, program, 0x2000)

    async def body(host):
        await host.begin(groups, 0x2000)
        assert await host.read(Register.STATUS) == Register.STATUS.mask("busy")
        await host.until_done()
        assert not host.ctx.get(host.machine.interrupt)
        await host.write(Register.INTERRUPT, 1)
        assert host.ctx.get(host.machine.interrupt)
        assert await host.read(Register.STATUS) == Register.STATUS.mask("done")
        # By hand: Map waits for its token in 19 … 37, then starts; halt is the last to come, or STORE to retire.
        spans = {unit: (start, retire) for unit, _, start, retire in host.records}
        assert await host.read(Register.WAITING + 4 * Unit.VECTOR) == 38 - 19
        for unit in (Unit.MATRIX, Unit.VECTOR, Unit.LOAD, Unit.STORE):
            assert await host.read(Register.BUSY + 4 * unit) == spans[unit][1] - spans[unit][0] + 1
        assert await host.read(Register.WAITING + 4 * Unit.MATRIX) == 0
        assert await host.read(Register.BUSY + 4 * Unit.NORM) == 0
        assert await host.read(Register.INSTRUCTIONS) == 4
        assert await host.read(Register.READ_BEATS) == 64 + 7
        assert await host.read(Register.WRITE_BEATS) == 3 * 2
        last = max(retire for _, retire in spans.values())
        assert await host.read(Register.CYCLES_LOW) == max(last + 1, 50)
        assert await host.read(Register.CYCLES_HIGH) == 0
        await host.write(Register.CONTROL, Register.CONTROL.mask("clear"))
        assert not host.ctx.get(host.machine.interrupt)
        for register in (Register.STATUS, Register.INSTRUCTIONS, Register.READ_BEATS):
            assert await host.read(register) == 0

    on_machine(NANO, slave, body)


def test_counters_count_up_to_the_last_cycle_of_the_run(on_machine, axi_slave):
    """Halt comes with the beats 10 … 17 and is the end in 19; the other beats of two groups come for nothing."""
    slave = axi_slave(bytearray(1 << 12), 4, latency=9)
    groups = put_program(slave, [Halt(), *[Matmul()] * 23])

    async def body(host):
        await host.begin(groups)
        await host.until_done()
        while await host.read(Register.STATUS) & Register.STATUS.mask("busy"):
            pass
        assert len(slave.beats) == 2 * 64
        assert await host.read(Register.CYCLES_LOW) == 19
        assert await host.read(Register.READ_BEATS) == 19 - 10 + 1

    on_machine(NANO, slave, body)


def test_a_start_during_a_run_is_ignored(on_machine, axi_slave):
    slave = axi_slave(bytearray(1 << 12), 4, latency=9)
    groups = put_program(slave, [Matmul(rows=90), Halt()])

    async def body(host):
        await host.begin(groups)
        for _ in range(30):
            await host.step()
        await host.write(Register.CONTROL, Register.CONTROL.mask("start"))
        await host.until_done()
        assert host.records == [(Unit.MATRIX, 0, 20, 110)]
        assert await host.read(Register.CYCLES_LOW) == 111
        for _ in range(50):
            await host.step()
        assert await host.read(Register.STATUS) == Register.STATUS.mask("done")

    on_machine(NANO, slave, body)


def test_a_start_forgets_the_last_run_even_while_it_must_wait(on_machine, axi_slave):
    slave = axi_slave(bytearray(1 << 12), 4, latency=9)
    put_program(slave, [Halt()] * 16)

    async def body(host):
        await host.begin(2)
        await host.until_done()
        await host.write(Register.CONTROL, Register.CONTROL.mask("start"))
        assert not slave.idle() and not host.ctx.get(host.machine.done)
        assert await host.read(Register.STATUS) == Register.STATUS.mask("busy")
        await host.until_done()
        assert await host.read(Register.CYCLES_LOW) == 19
        assert len(slave.bursts) == 4

    on_machine(NANO, slave, body)


def test_memories_outlive_a_run(on_machine, axi_slave):
    slave = axi_slave(bytearray(random.Random(5).randbytes(1 << 12)), 4)

    async def body(host):
        for program in (
            [Load(memory=Memory.VALUE, address=3, words=4, dram_address=0x400), Halt()],
            [Store(memory=Memory.VALUE, address=3, words=4, dram_address=0x800), Halt()],
        ):
            await host.begin(put_program(slave, program))
            await host.until_done()
        assert slave.dram[0x800:0x820] == slave.dram[0x400:0x420]

    on_machine(NANO, slave, body)


async def until_ready(ctx, registers):
    """After a reset the RAMs are zeroed, a word a cycle, before the first access."""
    for _ in range(KEPT_COUNT):
        assert not ctx.get(registers.control.arready)
        await ctx.tick()
    assert ctx.get(registers.control.arready)


def test_the_high_half_of_cycles_belongs_to_the_low_half_read_before():
    registers, seen = Csr(NANO), []

    async def bench(ctx):
        async def read(offset):
            ctx.set(registers.control.araddr, offset)
            ctx.set(registers.control.arvalid, 1)
            ctx.set(registers.control.rready, 1)
            await ctx.tick()
            ctx.set(registers.control.arvalid, 0)
            await ctx.tick().repeat(READ_CYCLES - 1)
            assert ctx.get(registers.control.rvalid)
            seen.append(ctx.get(registers.control.rdata))
            await ctx.tick()

        await until_ready(ctx, registers)
        ctx.set(registers.cycles, 0x12_FFFF_FFFF)
        await read(Register.CYCLES_LOW)
        ctx.set(registers.cycles, 0x13_0000_0000)
        await read(Register.CYCLES_HIGH)

    simulator = Simulator(registers)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == [0xFFFF_FFFF, 0x12]


def test_address_and_data_may_come_apart_and_answers_wait_for_the_host():
    registers = Csr(NANO)
    bus = registers.control

    async def bench(ctx):
        await until_ready(ctx, registers)
        ctx.set(bus.awvalid, 1)
        ctx.set(bus.awaddr, Register.GROUPS)
        for _ in range(3):
            assert not ctx.get(bus.awready)
            await ctx.tick()
        ctx.set(bus.wvalid, 1)
        ctx.set(bus.wdata, 77)
        ctx.set(bus.wstrb, 15)
        assert ctx.get(bus.awready) and ctx.get(bus.wready)
        await ctx.tick()
        ctx.set(bus.wdata, 78)
        for _ in range(3):  # the host does not take the response: the next write must wait
            assert ctx.get(bus.bvalid) and not ctx.get(bus.awready)
            assert ctx.get(registers.groups) == 77
            await ctx.tick()
        ctx.set(bus.bready, 1)
        await ctx.tick()
        await ctx.tick()
        assert ctx.get(registers.groups) == 78
        ctx.set(bus.araddr, Register.GROUPS)
        ctx.set(bus.arvalid, 1)
        for _ in range(READ_CYCLES):
            assert not ctx.get(bus.rvalid)
            await ctx.tick()
        for _ in range(3):
            assert ctx.get(bus.rvalid) and ctx.get(bus.rdata) == 78 and not ctx.get(bus.arready)
            await ctx.tick()

    simulator = Simulator(registers)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_what_the_host_writes_is_zero_after_a_reset_and_nothing_is_kept_while_it_is_zeroed():
    registers = Csr(NANO)
    bus = registers.control

    async def bench(ctx):
        async def access(offset, data=None):
            prefix = "ar" if data is None else "aw"
            ctx.set(getattr(bus, f"{prefix}addr"), offset)
            ctx.set(getattr(bus, f"{prefix}valid"), 1)
            ctx.set(bus.wvalid, data is not None)
            ctx.set(bus.wdata, data or 0)
            while not ctx.get(getattr(bus, f"{prefix}ready")):
                await ctx.tick()
            await ctx.tick()
            ctx.set(getattr(bus, f"{prefix}valid"), 0)
            while not ctx.get(bus.rvalid if data is None else bus.bvalid):
                await ctx.tick()
            found = ctx.get(bus.rdata)
            await ctx.tick()
            return found

        ctx.set(bus.wstrb, 15)
        ctx.set(bus.rready, 1)
        ctx.set(bus.bready, 1)
        offsets = [Register.SCALAR + 4 * 7, Register.GROUPS, Register.KV_BYTES_HIGH, Register.INTERRUPT, 0x1FC, 0x280]
        banks = NANO.banks(Memory.PAGE)
        for _ in range(2):
            assert [await access(offset) for offset in offsets] == [0, 0, 0, 0, banks, 0]
            for offset in offsets:
                await access(offset, 0x89AB_CDEF)
            assert [await access(offset) for offset in offsets] == [0x89AB_CDEF] * 2 + [0xEF, 1, banks, 0]
            ctx.set(reset.rst, 1)
            await ctx.tick()
            ctx.set(reset.rst, 0)

    reset = ClockDomain("sync")
    m = Module()
    m.domains.sync = reset
    m.submodules += registers
    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("behind", range(5))
def test_a_read_beside_a_write_shows_what_was_there_or_what_comes(behind):
    """With the write 0 to 4 cycles behind the address of the read."""
    registers = Csr(NANO)
    bus = registers.control

    async def bench(ctx):
        await until_ready(ctx, registers)
        offset = Register.SCALAR + 4 * 9
        for port, value in ((bus.wstrb, 15), (bus.bready, 1), (bus.araddr, offset), (bus.awaddr, offset)):
            ctx.set(port, value)
        ctx.set(bus.arvalid, 1)
        written, found = None, []
        for cycle in range(16):
            if cycle == behind:
                ctx.set(bus.awvalid, 1)
                ctx.set(bus.wvalid, 1)
                ctx.set(bus.wdata, 77)
            if ctx.get(bus.rvalid):
                found.append((cycle, ctx.get(bus.rdata)))
                ctx.set(bus.rready, 1)
            if written is None and ctx.get(bus.awready):
                written = cycle
            if written == cycle - 1:
                ctx.set(bus.awvalid, 0)
                ctx.set(bus.wvalid, 0)
            await ctx.tick()
        assert written is not None and behind <= written <= behind + 1
        # The RAM is read in the cycle after the address is taken.
        assert [value for _, value in found] == [77 * (written < cycle - READ_CYCLES + 1) for cycle, _ in found]
        assert found[-1][1] == 77

    simulator = Simulator(registers)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
