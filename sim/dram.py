"""The one DRAM port: which burst is granted in which cycle, and when its beats move ("DRAM port" in the manual).

`IdealDram` and `BankedDram` say when the beats of a burst move, `Port` which client is granted the next.

A client is FETCH, STORE, KV or LOAD. It has one request at a time; `up` is the first cycle in which the request is up
by everything decided so far, or None while it has no request or its cycle still depends on a grant to come. Such a
grant lies in the future, so an undecided request can never be up in time for the grant that is made now.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ..arch.config import HardwareConfig
from ..arch.dram import TICKS, WINDOW, DramConfig


class Burst(NamedTuple):
    """One AXI burst of whole beats."""

    address: int  # bytes; where it hangs on data, that of row or page 0, for all split alike
    beats: int
    setup_cycles: int = 0  # cycles before the request, to compute the address of a gathered segment
    beat_bytes: int = 0  # of a beat narrower than the port, else 0


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


NO_ROW = -1


class BankedDram:
    """Serves bursts in the order of their grants through channels, banks and rows ("Banked DRAM" in the manual).

    All state is in flat lists of whole numbers: cycles, but `bus` in ticks; of bank b of channel c at c·banks + b. The
    counts tell what the bursts found, `busy` for how many ticks each channel's data bus moved data.
    """

    def __init__(self, config: DramConfig, axi_bytes: int) -> None:
        self.config = config
        self.axi_bytes = axi_bytes
        self.free = 0  # first cycle for the next beat on the port
        channels, banks = config.channels, config.channels * config.banks
        self.refreshed = [0] * channels
        self.quiet = [0] * channels  # from then on all banks could be precharged
        self.activate = [0] * channels  # first cycle in which a row can be opened
        self.window = [0] * (channels * WINDOW)  # `t_faw` after the latest activations
        self.oldest = [0] * channels  # of the window
        self.bus = [0] * channels
        self.wrote = [False] * channels  # direction of the bus
        self.row = [NO_ROW] * banks
        self.column = [0] * banks  # first cycle for a command to the open row
        self.precharge = [0] * banks  # first cycle in which the row can be closed
        self.hits = self.misses = self.conflicts = self.refreshes = 0
        self.busy = [0] * channels

    @property
    def statistics(self) -> dict:
        """What `Result.dram` holds: how bursts found their rows, and how long data moved."""
        busy = [-(-ticks // TICKS) for ticks in self.busy]
        return {
            "row_hits": self.hits, "row_misses": self.misses, "row_conflicts": self.conflicts,
            "refreshes": self.refreshes, "channel_busy_cycles": busy,
        }  # fmt: skip

    def place(self, address: int) -> tuple[int, int, int]:
        """Channel, bank and row of an address."""
        config = self.config
        block = address // config.interleave_bytes
        line = block // config.channels * config.interleave_bytes // config.row_bytes
        row = line // config.banks
        digits = block  # each place becomes the exclusive or of two, of four, of eight digits to the base `channels`
        for places in (1, 2, 4):
            digits ^= digits // config.channels**places
        return digits % config.channels, (line ^ row) % config.banks, row

    def serve(self, grant: int, burst: Burst, writes: bool) -> tuple[int, int]:
        """The cycles of the first and the last beat."""
        config = self.config
        width = burst.beat_bytes or self.axi_bytes
        if burst.address % width:
            burst = burst._replace(address=burst.address - burst.address % width)
        channel, bank, row = self.place(burst.address)
        bank += channel * config.banks
        arrival = grant + config.latency_cycles
        self._refresh(channel, arrival)
        command = self._open(channel, bank, row, arrival)
        first, end = self._move(channel, burst, writes, arrival, command)
        self.free = first + burst.beats * config.cycles_per_beat
        recovery = config.t_wr if writes else -max(0, config.cl - config.t_rtp)
        self.precharge[bank] = max(self.precharge[bank], -(-end // TICKS) + recovery)
        self.quiet[channel] = max(self.quiet[channel], self.precharge[bank])
        return first, self.free - config.cycles_per_beat

    def _refresh(self, channel: int, arrival: int) -> None:
        """Refresh the channel if that has fallen due since the burst before."""
        config = self.config
        due = arrival // config.t_refi * config.t_refi
        if due > self.refreshed[channel]:
            self.refreshes += 1
            self.refreshed[channel] = due
            self.activate[channel] = max(due, self.quiet[channel] + config.t_rp) + config.t_rfc
            for bank in range(channel * config.banks, (channel + 1) * config.banks):
                self.row[bank] = NO_ROW

    def _open(self, channel: int, bank: int, row: int, arrival: int) -> int:
        """Open the row, if it is not. The first cycle for a command to it."""
        config = self.config
        if self.row[bank] == row:
            self.hits += 1
            return max(arrival, self.column[bank])
        if self.row[bank] == NO_ROW:
            self.misses += 1
            ready = arrival
        else:
            self.conflicts += 1
            ready = max(arrival, self.precharge[bank]) + config.t_rp
        place = channel * WINDOW + self.oldest[channel]
        opened = max(ready, self.activate[channel], self.window[place])
        self.window[place] = opened + config.t_faw
        self.oldest[channel] = (self.oldest[channel] + 1) % WINDOW
        self.activate[channel] = opened + config.t_rrd
        self.row[bank] = row
        self.column[bank] = opened + config.t_rcd
        self.precharge[bank] = opened + config.t_ras
        return self.column[bank]

    def _move(self, channel: int, burst: Burst, writes: bool, arrival: int, command: int) -> tuple[int, int]:
        """Cycle of the first beat on the port, and the tick in which the accesses end."""
        config, pace = self.config, self.config.cycles_per_beat
        beat_bytes = burst.beat_bytes or self.axi_bytes
        size, unit = config.access_bytes, config.access_ticks
        accesses = (burst.address + burst.beats * beat_bytes - 1) // size - burst.address // size + 1
        gap = 0
        if writes != self.wrote[channel]:
            gap = config.t_rtw if writes else config.t_wtr + config.cl
        data = max(TICKS * (command + (config.cwl if writes else config.cl)), self.bus[channel] + TICKS * gap)
        if writes:
            first = max(self.free, arrival, -(-data // TICKS) - burst.beats * pace)
            data = max(data, TICKS * (first + (burst.beats - 1) * pace + 1))
            end = data + accesses * unit
        else:
            end = data + accesses * unit
            whole = max(-(-(data + unit) // TICKS), -(-end // TICKS) - (accesses - 1) * (size // beat_bytes) * pace)
            first = max(self.free, whole + burst.address % size // beat_bytes * pace)
        self.busy[channel] += accesses * unit
        self.bus[channel] = end
        self.wrote[channel] = writes
        return first, end


def make_dram(config: HardwareConfig, dram: DramConfig) -> IdealDram | BankedDram:
    """The model that `dram` asks for, behind the port of an accelerator. Raises HeddleError if they do not fit."""
    dram.require_port(config.axi_bytes, config.burst_bytes)
    return BankedDram(dram, config.axi_bytes) if dram.banked else IdealDram(dram)


class Port:
    """The arbiter: one grant per cycle, to the first of `clients` whose request is up."""

    def __init__(self, dram: IdealDram | BankedDram, clients: Sequence[Client]) -> None:
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
