"""The one DRAM port: which burst is granted in which cycle, and when its beats move ("DRAM port" in the manual).

A client is FETCH, STORE, KV or LOAD. It has one request at a time; `up` is the first cycle in which the request is up
by everything decided so far, or None while it has no request or its cycle still depends on a grant to come. Such a
grant lies in the future, so an undecided request can never be up in time for the grant that is made now.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ..arch.config import DramConfig, HardwareConfig


class Burst(NamedTuple):
    """One AXI burst of whole beats."""

    address: int  # bytes; that of row 0 for a gather, whose rows all split alike
    beats: int
    setup_cycles: int = 0  # cycles before the request, to compute the address of a gathered segment


class Client(Protocol):
    """Who asks for bursts."""

    writes: bool

    @property
    def up(self) -> int | None:
        """First cycle in which the request is up, None if that is not known."""
        ...

    @property
    def burst(self) -> Burst:
        """What is requested, while `up` is not None."""
        ...

    def granted(self, grant: int, first: int, last: int) -> None:
        """Take note of the cycles of the grant, the first and the last beat."""
        ...


def segment_bursts(config: HardwareConfig, address: int, length_bytes: int, setup_cycles: int = 0) -> list[Burst]:
    """The bursts of one segment: cut at each multiple of `burst_bytes`."""
    bursts, end = [], address + length_bytes
    while address < end:
        stop = min(end, (address // config.burst_bytes + 1) * config.burst_bytes)
        bursts.append(Burst(address, (stop - address) // config.axi_bytes, setup_cycles))
        address, setup_cycles = stop, 0
    return bursts


class IdealDram:
    """Serves bursts in the order of their grants: fixed latency, then a beat every `cycles_per_beat`."""

    def __init__(self, config: DramConfig) -> None:
        self.config = config
        self.free = 0

    def serve(self, grant: int, burst: Burst, writes: bool) -> tuple[int, int]:
        """The cycles of the first and the last beat."""
        first = max(grant + self.config.latency_cycles, self.free)
        self.free = first + burst.beats * self.config.cycles_per_beat
        return first, self.free - self.config.cycles_per_beat


class Port:
    """The arbiter: one grant per cycle, to the first of `clients` whose request is up."""

    def __init__(self, dram: IdealDram, clients: Sequence[Client]) -> None:
        self.dram = dram
        self.clients = clients
        self.next_cycle = 0  # the first cycle in which a grant can still be made

    def grant(self) -> Client | None:
        """Grant the next burst and tell its client. Returns the client, or None if nothing is requested."""
        ups = [(client, client.up) for client in self.clients]
        earliest = min((up for _, up in ups if up is not None), default=None)
        if earliest is None:
            return None
        cycle = max(earliest, self.next_cycle)
        client = next(client for client, up in ups if up is not None and up <= cycle)
        self.next_cycle = cycle + 1
        client.granted(cycle, *self.dram.serve(cycle, client.burst, client.writes))
        return client
