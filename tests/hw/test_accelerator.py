"""hw/accelerator.py: the block diagram, and whole programs of LOAD and STORE on a bus that stalls at every turn."""

import random
from pathlib import Path

import pytest
from heddle.arch.config import Memory, Unit
from heddle.arch.isa import INSTRUCTIONS, Halt, Load, Matmul, Store
from heddle.arch.operands import reach_of
from heddle.hw.accelerator import MEMORY_PORTS, UNIT_COMPONENTS
from heddle.hw.instructions import UNITS

LOAD, STORE = 1 << Unit.LOAD, 1 << Unit.STORE
PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"
CODE_BYTES, DRAM_BYTES = 1 << 13, 1 << 16


def test_every_unit_of_the_instruction_set_is_there():
    assert set(UNIT_COMPONENTS) == set(UNITS)


def test_memory_ports_are_those_of_the_architecture_page():
    seen = {}
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[0] in Memory.__members__:
            writers, readers = (tuple(Unit[name.strip()] for name in cell.split(",")) for cell in cells[2:4])
            seen[Memory[cells[0]]] = (writers, readers)
    assert seen == dict(MEMORY_PORTS)


def test_memory_ports_are_those_that_operands_need():
    needed = {(memory, write, each.unit) for each in INSTRUCTIONS for memory, write in reach_of(each)}
    wired = set()
    for memory, (writers, readers) in MEMORY_PORTS.items():
        wired |= {(memory, True, unit) for unit in writers} | {(memory, False, unit) for unit in readers}
    assert needed == wired, "MEMORY_PORTS in hw/accelerator.py must be the ports that operands in arch/isa need"


def random_copies(config, chooser):
    """A program that copies between quarters of DRAM, with LOADs and STOREs of different memories side by side, and the
    DRAM changes it makes as (from, to, bytes)."""
    program, moves, source, target = [], [], DRAM_BYTES // 4, DRAM_BYTES // 2
    for pair in range(8):
        memory = chooser.choice([Memory.ACT, Memory.WEIGHT, Memory.PARAM, Memory.VALUE])
        size, words, segments = config.dram_word_bytes(memory), chooser.choice([1, 2, 5]), chooser.choice([1, 2])
        address = pair % 2 * config.bank_words(memory)  # another bank each time
        apart = words * size + config.axi_bytes * chooser.randrange(4)
        common = {"memory": memory, "segments": segments, "words": words, "address": address, "stride": words}
        # A STORE waits for its LOAD, a LOAD for the STORE of the pair before the last: both units stay at work.
        program += [
            Load(**common, dram_address=source, dram_stride=apart, signal=STORE, wait=STORE if len(program) > 3 else 0),
            Store(**common, dram_address=target, dram_stride=apart, wait=LOAD, signal=LOAD),
            *[Matmul(rows=chooser.randrange(1, 20))] * chooser.randrange(3),
        ]
        content = (words * config.word_bits(memory) + 7) // 8
        for i in range(segments):
            moves.append((source + i * apart, target + i * apart, words * size, size, content // words))
        source, target = source + segments * apart, target + segments * apart
    return [*program, Halt()], moves


@pytest.mark.parametrize("name", ["nano", "3x5"])
@pytest.mark.parametrize("seed", [None, 1])
def test_copies_arrive_however_the_bus_behaves(machines, name, seed, run_program, axi_slave):
    config, chooser = machines[name], random.Random(f"{name} {seed}")
    program, moves = random_copies(config, chooser)
    dram = bytearray(CODE_BYTES) + bytearray(chooser.randbytes(DRAM_BYTES - CODE_BYTES))
    before = bytes(dram)
    slave = axi_slave(dram, config.axi_bytes, latency=chooser.randrange(1, 30), seed=seed)
    host = run_program(config, program, slave)
    assert host.status & 0b110 == 0b010
    expected = bytearray(before)
    for source, target, count, word_bytes, used in moves:
        for at in range(0, count, word_bytes):
            expected[target + at : target + at + word_bytes] = before[source + at : source + at + used] + bytes(
                word_bytes - used
            )
    assert dram[DRAM_BYTES // 4 :] == expected[DRAM_BYTES // 4 :]
    for unit in UNITS:
        own = [record[1:] for record in host.records if record[0] is unit]
        assert own == sorted(own) and [index for index, *_ in own] == [
            index for index, each in enumerate(program) if each.unit is unit
        ]
