"""hw/top.py: a system in Verilog, integration_top.v, that gives every port its name, and what a reset does there."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from heddle.arch.config import PRESETS, Memory, Unit
from heddle.arch.encoding import encode
from heddle.arch.isa import Append, Halt, Load, Part, Store
from heddle.arch.registers import Register
from heddle.hw.accelerator_verilog import accelerator_verilog
from heddle.hw.top import top_signature

NANO = PRESETS["nano"]
SOURCE, TARGET, CACHE, TABLE = 0x2000, 0x8000, 0xC000, 0x1800
LOAD, STORE, KV = 1 << Unit.LOAD, 1 << Unit.STORE, 1 << Unit.KV
WORDS = 150  # of WEIGHT: some bursts
# LOAD, STORE and KV all have bursts in flight for a while.
PROGRAM = [
    Load(memory=Memory.PAGE, dram_address=TABLE, words=2),
    Load(memory=Memory.WEIGHT, dram_address=SOURCE, words=WORDS, signal=KV),
    Append(part=Part.VALUES, tokens=8, address=0, page_bytes=64, pages=2, wait=LOAD, signal=STORE),
    Store(memory=Memory.WEIGHT, dram_address=TARGET, words=WORDS, wait=KV),
    Load(memory=Memory.ACT, dram_address=SOURCE, words=WORDS, signal=STORE),
    Store(memory=Memory.ACT, dram_address=TARGET + 0x1000, words=WORDS, wait=LOAD),
]


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """run(*plusargs) → (STATUS, CYCLES, DRAM after the run) of the system with NANO, DRAM before it as run.dram."""
    folder = tmp_path_factory.mktemp("integration")
    (folder / "heddle.v").write_text(accelerator_verilog(NANO))
    top = Path(__file__).with_name("integration_top.v")
    options = ["-g2005", "-Wall", "-Wno-timescale", "-s", "integration_top", "-o", "system.vvp"]
    built = subprocess.run(["iverilog", *options, str(top), "heddle.v"], cwd=folder, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-2000:]
    assert not [line for line in built.stderr.splitlines() if "integration_top.v" in line]  # no port left open

    code = b"".join(map(encode, PROGRAM))
    groups = -(-(len(PROGRAM) + 1) // 8)
    dram = bytearray(np.random.default_rng(3).bytes(1 << 16))
    dram[: groups * 256] = code + encode(Halt()) * (groups * 8 - len(PROGRAM))
    dram[TABLE : TABLE + 8] = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
    (folder / "dram.hex").write_text("".join(f"{word:08x}\n" for word in np.frombuffer(dram, "<u4")))
    registers = {Register.GROUPS: groups, Register.DRAM_BYTES_LOW: 1 << 16, Register.KV_BASE_LOW: CACHE,
                 Register.KV_BYTES_LOW: 128}  # fmt: skip
    lines = "".join(f"{address:08x}{value:08x}\n" for address, value in registers.items())
    (folder / "registers.hex").write_text(lines)

    def run(*plusargs):
        output = subprocess.run(["vvp", "system.vvp", *plusargs], cwd=folder, capture_output=True, text=True).stdout
        assert "FAIL" not in output and "STATUS" in output, output[-2000:]
        words = output.split("STATUS")[1].split()
        lines = (folder / "dram_after.hex").read_text().split("\n")
        after = np.array([int(line, 16) for line in lines if line and line[0] not in "/@"], "<u4")
        return int(words[0]), int(words[2]), after.tobytes()

    run.dram = bytes(dram)
    return run


@pytest.fixture(scope="module")
def first_run(system):
    """What the system does from power-up."""
    return system()


def test_a_program_is_started_and_ends_by_the_names_of_the_ports(system, first_run):
    status, cycles, after = first_run
    size = WORDS * NANO.dram_word_bytes(Memory.WEIGHT)
    act_size = WORDS * NANO.dram_word_bytes(Memory.ACT)
    expected = bytearray(system.dram)
    expected[TARGET : TARGET + size] = expected[SOURCE : SOURCE + size]
    expected[TARGET + 0x1000 : TARGET + 0x1000 + act_size] = expected[SOURCE : SOURCE + act_size]
    expected[CACHE + 64 : CACHE + 80] = expected[SOURCE : SOURCE + 16]  # page 1 comes first
    expected[CACHE : CACHE + 16] = expected[SOURCE + 16 : SOURCE + 32]
    assert status == 2 and cycles > 4 * WORDS
    assert after == bytes(expected)


@pytest.mark.parametrize("cycle", [40, 200, 400])
def test_after_a_reset_in_flight_a_run_is_as_from_power_up(system, first_run, cycle):
    assert system(f"+reset_at={cycle}") == first_run


@pytest.mark.long
def test_after_a_reset_at_any_time_a_run_is_as_from_power_up(system, first_run):
    for cycle in range(0, first_run[1] + 20, 13):
        assert system(f"+reset_at={cycle}") == first_run, cycle


def test_a_machine_that_is_not_busy_may_be_reset_alone(system, first_run):
    assert system("+idle_reset") == first_run


def test_debug_ports_are_there_only_if_asked_for():
    plain, debug = (set(top_signature(NANO, debug).members) for debug in (False, True))
    assert all(name == "interrupt" or name.startswith(("m_axi_", "s_axil_")) for name in plain)
    assert {"cycle", "done", "error", "retire_load_valid"} <= debug - plain and plain < debug
