"""Bursts, the ideal DRAM, and who is granted the port."""

import random

import pytest
from heddle.arch.config import DramConfig
from heddle.sim.dram import Burst, IdealDram, Port, segment_bursts


class Asker:
    """A client with requests that are up from given cycles."""

    def __init__(self, *ups, writes=False):
        self.ups, self.writes, self.grants = list(ups), writes, []
        self.burst = Burst(0, 4)

    @property
    def up(self):
        return self.ups[0] if self.ups else None

    def granted(self, grant, first, last):
        self.ups.pop(0)
        self.grants.append((grant, first, last))


def serve(clients, **dram):
    port = Port(IdealDram(DramConfig(**dram)), clients)
    while port.grant() is not None:
        pass
    return [[grant for grant, _, _ in client.grants] for client in clients]


def test_the_first_client_whose_request_is_up_is_granted():
    assert serve([Asker(5), Asker(5), Asker(5)]) == [[5], [6], [7]]
    assert serve([Asker(6), Asker(5), Asker(4)]) == [[6], [5], [4]]


def test_one_grant_per_cycle_and_the_highest_priority_cuts_in():
    assert serve([Asker(7), Asker(5, 5), Asker(5, 5, 5)]) == [[7], [5, 6], [8, 9, 10]]


def test_beats_follow_the_grant_by_the_latency_or_the_burst_before():
    dram = IdealDram(DramConfig(latency_cycles=10, cycles_per_beat=3))
    assert dram.serve(2, Burst(0, 4), False) == (12, 21)
    assert dram.serve(3, Burst(0, 1), True) == (24, 24)  # 12 + 4 · 3: the last beat keeps the port for three cycles
    assert dram.serve(17, Burst(0, 2), False) == (27, 30)
    assert dram.serve(100, Burst(0, 2), False) == (110, 113)


@pytest.mark.parametrize("seed", range(20))
def test_a_segment_is_covered_once_by_bursts_that_do_not_cross(seed, config):
    rng = random.Random(seed)
    address, beats = config.axi_bytes * rng.randrange(100), rng.randint(1, 100)
    bursts = segment_bursts(config, address, beats * config.axi_bytes, setup_cycles=2)
    at = address
    for burst in bursts:
        assert burst.address == at
        assert 1 <= burst.beats <= config.burst_beats
        last = burst.address + burst.beats * config.axi_bytes - 1
        assert burst.address // config.burst_bytes == last // config.burst_bytes
        at = last + 1
    assert at == address + beats * config.axi_bytes
    assert [burst.setup_cycles for burst in bursts] == [2] + [0] * (len(bursts) - 1)
