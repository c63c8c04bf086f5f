"""Runs in the simulator that test_protocol.py starts: a host and a RAM from cocotbext-axi around the accelerator."""

import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam
from heddle.arch.config import PRESETS, Memory, Unit
from heddle.arch.encoding import encode
from heddle.arch.isa import Append, Halt, Load, Part, Store, Stream
from heddle.arch.registers import Register

NANO = PRESETS["nano"]
SOURCE, TARGET, CODE = 0x2000, 0x8000, 0x1000
TABLE, CACHE_SOURCE, CACHE_TARGET, CACHE = 0x1800, 0x1900, 0xC000, 0xD000
LOAD, STORE, KV = 1 << Unit.LOAD, 1 << Unit.STORE, 1 << Unit.KV
MEMORIES = [Memory.ACT, Memory.WEIGHT, Memory.PARAM, Memory.VALUE, Memory.INDEX]


def copies(chooser: random.Random):
    """Instructions that copy from SOURCE to TARGET through all memories, and (from, to, bytes) of what they copy."""
    program, moves, at = [], [], 0
    for memory in MEMORIES:
        size, words, segments = NANO.dram_word_bytes(memory), chooser.choice([1, 5, 9]), chooser.choice([1, 2, 4])
        stride, gap = words * size + 4 * chooser.randrange(8), 4 * chooser.randrange(8)
        common = dict(memory=memory, segments=segments, words=words, address=chooser.randrange(50), stride=words)
        program += [
            Load(**common, dram_address=SOURCE + at, dram_stride=stride, signal=STORE, wait=STORE if program else 0),
            Store(**common, dram_address=TARGET + at + gap, dram_stride=stride, wait=LOAD, signal=LOAD),
        ]
        moves += [(SOURCE + at + i * stride, TARGET + at + gap + i * stride, words * size) for i in range(segments)]
        at += segments * stride + gap
    return program, moves


def through_the_cache():
    """Instructions that put 8 tokens of codes and pairs into the cache, while STORE writes too, and take them out: the
    codes transposed. A token of STORE for LOAD is there before."""
    common = dict(page_bytes=64, pages=2)
    return [
        Load(memory=Memory.PAGE, dram_address=TABLE, words=2, wait=STORE),
        Load(memory=Memory.PARAM, dram_address=CACHE_SOURCE + 32, words=2, address=128),
        Load(memory=Memory.WEIGHT, dram_address=CACHE_SOURCE, words=8, address=1024, signal=KV | STORE),
        Append(part=Part.VALUES, tokens=8, address=1024, **common, wait=LOAD),
        Append(part=Part.PAIRS, tokens=8, address=512, dram_address=128, **common),
        Store(memory=Memory.VALUE, words=9, segments=9, dram_stride=72, stride=9, dram_address=CACHE_TARGET + 0x400,
              wait=LOAD),
        Stream(part=Part.KEYS, blocks=2, address=2048, stride=4, **common),
        Stream(part=Part.PAIRS, blocks=2, address=256, dram_address=128, **common, signal=STORE),
        Store(memory=Memory.WEIGHT, words=8, address=2048, dram_address=CACHE_TARGET, wait=KV),
        Store(memory=Memory.PARAM, words=2, address=256, dram_address=CACHE_TARGET + 32),
    ]  # fmt: skip


def random_pauses(chooser: random.Random, probability: float):
    while True:
        yield chooser.random() < probability


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.6])
async def copy_through_every_memory_and_the_cache(dut, pause):
    chooser = random.Random(f"protocol {pause}")
    cocotb.start_soon(Clock(dut.clk, 2, "ns").start())
    ram = AxiRam(AxiBus.from_prefix(dut, "axi_"), dut.clk, dut.rst, size=1 << 16)
    host = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "control_"), dut.clk, dut.rst)
    for channel in (ram.write_if.aw_channel, ram.write_if.w_channel, ram.write_if.b_channel,
                    ram.read_if.ar_channel, ram.read_if.r_channel,
                    host.write_if.b_channel, host.read_if.r_channel):  # fmt: skip
        channel.set_pause_generator(random_pauses(chooser, pause))
    dut.rst.value = 1
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    program, moves = copies(chooser)
    program += [*through_the_cache(), Halt()]
    content, cached = chooser.randbytes(0x4000), chooser.randbytes(32 + 64)
    ram.write(TABLE, (1).to_bytes(4, "little") + (0).to_bytes(4, "little"))
    ram.write(CACHE_SOURCE, cached)
    ram.write(SOURCE, content)
    ram.write(CODE, b"".join(encode(each) for each in program) + encode(Halt()) * 8)
    await host.write_dword(Register.INTERRUPT, 1)
    await host.write_dword(Register.PROGRAM_LOW, CODE)
    await host.write_dword(Register.DRAM_BYTES_LOW, 1 << 16)
    await host.write_dword(Register.KV_BASE_LOW, CACHE)
    await host.write_dword(Register.KV_BYTES_LOW, 256)
    await host.write_dword(Register.GROUPS, -(-len(program) // 8))
    await host.write_dword(Register.CONTROL, Register.CONTROL.mask("start"))
    while not dut.interrupt.value:
        await RisingEdge(dut.clk)
    assert await host.read_dword(Register.STATUS) & Register.STATUS.mask("done")
    assert await host.read_dword(Register.INSTRUCTIONS) == len(program) - 1
    assert await host.read_dword(Register.WRITE_BEATS) == (
        sum(count for _, _, count in moves) // NANO.axi_bytes + 2 * (8 + 16) + 9 * 18
    )
    expected = bytearray(0x4000)
    for source, target, count in moves:
        expected[target - TARGET : target - TARGET + count] = content[source - SOURCE : source - SOURCE + count]
    assert ram.read(TARGET, len(expected)) == expected
    transposed = b"".join(cached[tile + i : tile + 16 : 4] for tile in (0, 16) for i in range(4))
    assert ram.read(CACHE_TARGET, 32 + 64) == transposed + cached[32:]
    assert ram.read(CACHE, 128) == cached[16:32] + bytes(48) + cached[:16] + bytes(48)  # page 1 comes first
