"""Every machine that HardwareConfig takes has random programs, and these run; what it does not take it says why."""

from dataclasses import replace

import pytest
from heddle.arch.config import PRESETS, Memory
from heddle.arch.errors import HeddleError
from heddle.cosim.lockstep import lockstep
from heddle.cosim.random_configs import BANKED, random_config
from heddle.cosim.random_programs import random_program
from heddle.sim.machine import simulate

from ..machines import MANY_BANKS

NANO = PRESETS["nano"]
LEAST = {f"{memory.name.lower()}_{what}": least for memory in BANKED for what, least in (("words", 4), ("banks", 1))}
TINY = replace(NANO, name="tiny", rows=3, columns=3, vector_lanes=1, panel_rows=2, index_words=4, page_words=4,
               queue_depth=2, burst_beats=2, load_outstanding=1, **LEAST)  # fmt: skip
EDGES = {
    "panels of two rows": replace(NANO, panel_rows=2),
    "the least of all": TINY,
    "the least with bf16 PEs": replace(TINY, name="tiny-bf16", rows=2, columns=2, pe="bf16"),
    "64 banks": MANY_BANKS,
    "tall": replace(NANO, name="tall", rows=256, columns=4, vector_lanes=4, weight_words=256),
    "wide": replace(NANO, name="flat", rows=4, columns=256, vector_lanes=4, weight_words=256),
    "bursts of 4 KiB": replace(NANO, name="long", rows=64, columns=64, axi_bytes=32, burst_beats=128),
}  # fmt: skip


def run_programs(config, seeds, instructions):
    for seed in seeds:
        assert simulate(random_program(config, seed, instructions)).cycles > 0


@pytest.mark.parametrize("config", EDGES.values(), ids=EDGES)
def test_the_least_and_the_oddest_machines_have_programs(config):
    run_programs(config, range(30 if config.columns < 9 else 5), instructions=15)


def test_every_legal_machine_has_programs():
    for number in range(40):
        run_programs(random_config(number), range(3), instructions=12)


def test_random_machines_between_them_try_everything():
    configs = [random_config(number) for number in range(300)]
    assert {each.pe for each in configs} == {"int8", "bf16"}
    assert {each.value_format for each in configs} == {"bf16", "float32"}
    assert {each.vector_format for each in configs} == {"float32", "tf32"}
    assert {3, 5} <= {each.rows for each in configs} and {3, 5} <= {each.columns for each in configs}
    assert any(each.rows == each.columns == 2 for each in configs)
    assert {2, 64} <= {each.queue_depth for each in configs} and {2, 256} <= {each.panel_rows for each in configs}
    for memory in BANKED:
        assert {1, 64} <= {each.banks(memory) for each in configs}
        assert min(each.words(memory) for each in configs) <= 8
    assert {each.axi_bytes for each in configs} >= {4, 8, 16}
    assert random_config(7) == configs[7]


@pytest.mark.long
@pytest.mark.parametrize("start", range(0, 300, 50))
def test_three_hundred_legal_machines_have_thirty_programs_each(start):
    for number in range(1000 + start, 1000 + start + 50):
        run_programs(random_config(number), range(30), instructions=20)


@pytest.mark.long
@pytest.mark.parametrize("config", [TINY, *(random_config(number, most=8) for number in range(9))],
                         ids=lambda config: config.name)  # fmt: skip
def test_random_machines_agree_with_their_rtl(config):
    comparison = lockstep([random_program(config, seed, 25) for seed in range(12)])
    assert comparison.agrees, comparison.first_difference


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"rows": 16, "weight_words": 8, "weight_banks": 1}, "weight_words must be at least 16, to hold a tile of 16"),
        ({"columns": 16, "weight_words": 8, "weight_banks": 1}, "a block of 16 cached tokens, not 8"),
        ({"rows": 2}, "rows must be at least 3 with int8 PEs, so that a word fills a beat of 4 bytes, not 2"),
        ({"columns": 2}, "columns must be at least 3 with int8 PEs"),
        ({"rows": 1, "vector_lanes": 1, "pe": "bf16"}, "rows must be a whole number from 2 to 256, not 1"),
        ({"name": ""}, "name must be 1 to 64 characters that can be in the name of a file"),
        ({"name": "a/b"}, "name must be 1 to 64 characters that can be in the name of a file"),
        ({"name": 5}, "name must be 1 to 64 characters that can be in the name of a file"),
        ({"dram": "HBM2"}, "dram must be a DramConfig (with_dram takes a preset's name too), not 'HBM2'"),
        ({"rows": 4.0}, "rows must be a whole number"),
        ({"queue_depth": True}, "queue_depth must be a whole number"),
    ],
)  # fmt: skip
def test_what_is_no_machine_is_refused_with_the_reason(changes, message):
    with pytest.raises(HeddleError) as error:
        replace(NANO, **changes)
    assert message in str(error.value)


@pytest.mark.parametrize("memory", list(Memory), ids=lambda memory: memory.name)
def test_the_least_machine_has_the_least_memories(memory):
    assert TINY.words(memory) == 4
    with pytest.raises(HeddleError, match=f"{memory.name.lower()}_words must be a whole number from 4"):
        replace(TINY, **{f"{memory.name.lower()}_words": 2})
