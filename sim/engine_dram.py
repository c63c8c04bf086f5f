"""The memories behind the port for the compiled event loop: the recurrences of docs/architecture.md, burst by burst.

`dram.py` is the plain form. Sizes are powers of two, so they are held as shifts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arch.dram import TICKS, WINDOW, DramConfig
from .jit import inlined

TICK_SHIFT = TICKS.bit_length() - 1
NO_ROW = -1
TIMES = ("cl", "cwl", "t_rcd", "t_rp", "t_ras", "t_wr", "t_rtp", "t_rrd", "t_faw", "t_wtr", "t_rtw", "t_refi", "t_rfc")


def record(*names: str) -> np.dtype:
    """A record of whole numbers."""
    return np.dtype([(name, np.int64) for name in names], align=True)


PORT = record(
    "latency_cycles", "cycles_per_beat", "banked", "free",
    "channel_shift", "bank_shift", "row_shift", "interleave_shift", "access_shift", "access_ticks", *TIMES,
    "row_hits", "row_misses", "row_conflicts", "refreshes",
)  # fmt: skip
CHANNEL = record("refreshed", "quiet", "activate", "oldest", "bus", "wrote", "busy")
BANK = record("row", "column", "precharge")


class Dram(NamedTuple):
    """What a memory is, and its state."""

    port: NDArray  # (1,) PORT
    channels: NDArray  # (channels,) CHANNEL
    windows: NDArray[np.int64]  # (channels, WINDOW)
    banks: NDArray  # (channels · banks,) BANK


def make_dram(config: DramConfig) -> Dram:
    """A memory before cycle 0."""
    port = np.zeros(1, PORT)
    for name in ("latency_cycles", "cycles_per_beat", "banked", "access_ticks", *TIMES):
        port[name] = getattr(config, name)
    for name, size in (("channel", config.channels), ("bank", config.banks), ("row", config.row_bytes),
                       ("interleave", config.interleave_bytes), ("access", config.access_bytes)):  # fmt: skip
        port[f"{name}_shift"] = max(size.bit_length() - 1, 0)
    banks = np.zeros(config.channels * config.banks, BANK)
    banks["row"] = NO_ROW
    return Dram(port, np.zeros(config.channels, CHANNEL), np.zeros((config.channels, WINDOW), np.int64), banks)


def statistics(dram: Dram) -> dict | None:
    """As `BankedDram.statistics`; None for an ideal memory."""
    port = dram.port[0]
    if not port["banked"]:
        return None
    counts = {name: int(port[name]) for name in ("row_hits", "row_misses", "row_conflicts", "refreshes")}
    return counts | {"channel_busy_cycles": (-(-dram.channels["busy"] // TICKS)).tolist()}


@inlined
def serve(dram, grant, address, beats, beat_shift, writes):
    """The cycles of the first and the last beat of a burst."""
    port = dram.port[0]
    if port.banked:
        first = _serve_banked(dram, port, grant + port.latency_cycles, address, beats, beat_shift, writes)
    else:
        first = max(grant + port.latency_cycles, port.free)
    port.free = first + beats * port.cycles_per_beat
    return first, port.free - port.cycles_per_beat


@inlined
def _serve_banked(dram, port, arrival, address, beats, beat_shift, writes):
    address = address >> beat_shift << beat_shift
    block = address >> port.interleave_shift
    digits = block ^ block >> port.channel_shift
    digits ^= digits >> 2 * port.channel_shift
    digits ^= digits >> 4 * port.channel_shift
    number = digits & ((1 << port.channel_shift) - 1)
    line = block >> port.channel_shift << port.interleave_shift >> port.row_shift
    row = line >> port.bank_shift
    bank = dram.banks[(number << port.bank_shift) + ((line ^ row) & ((1 << port.bank_shift) - 1))]
    channel = dram.channels[number]
    if arrival - channel.refreshed >= port.t_refi:
        _refresh(dram, port, number, arrival)
    command = max(arrival, bank.column)
    if bank.row == row:
        port.row_hits += 1
    else:
        command = _open(dram, port, number, bank, row, arrival)
    first, end = _transfer(port, channel, address, beats, beat_shift, writes, arrival, command)
    recovery = port.t_wr if writes else -max(0, port.cl - port.t_rtp)
    bank.precharge = max(bank.precharge, ((end + TICKS - 1) >> TICK_SHIFT) + recovery)
    channel.quiet = max(channel.quiet, bank.precharge)
    return first


@inlined
def _refresh(dram, port, number, arrival):
    """All rows of the channel close."""
    channel = dram.channels[number]
    port.refreshes += 1
    channel.refreshed = arrival // port.t_refi * port.t_refi
    channel.activate = max(channel.refreshed, channel.quiet + port.t_rp) + port.t_rfc
    for place in range(number << port.bank_shift, (number + 1) << port.bank_shift):
        dram.banks[place].row = NO_ROW


@inlined
def _open(dram, port, number, bank, row, arrival):
    """Open a row. Returns the first cycle for a command to it."""
    channel = dram.channels[number]
    ready = arrival
    if bank.row == NO_ROW:
        port.row_misses += 1
    else:
        port.row_conflicts += 1
        ready = max(arrival, bank.precharge) + port.t_rp
    opened = max(max(ready, channel.activate), dram.windows[number, channel.oldest])
    dram.windows[number, channel.oldest] = opened + port.t_faw
    channel.oldest = (channel.oldest + 1) % WINDOW
    channel.activate = opened + port.t_rrd
    bank.row = row
    bank.column = opened + port.t_rcd
    bank.precharge = opened + port.t_ras
    return bank.column


@inlined
def _transfer(port, channel, address, beats, beat_shift, writes, arrival, command):
    """Cycle of the first beat on the port, and the tick in which the accesses end."""
    pace, size = port.cycles_per_beat, 1 << port.access_shift
    accesses = ((address + (beats << beat_shift) - 1) >> port.access_shift) - (address >> port.access_shift) + 1
    gap = 0
    if writes != channel.wrote:
        gap = port.t_rtw if writes else port.t_wtr + port.cl
    latency = port.cwl if writes else port.cl
    data = max((command + latency) << TICK_SHIFT, channel.bus + (gap << TICK_SHIFT))
    if writes:
        first = max(max(port.free, arrival), ((data + TICKS - 1) >> TICK_SHIFT) - beats * pace)
        end = max(data, (first + (beats - 1) * pace + 1) << TICK_SHIFT) + accesses * port.access_ticks
    else:
        end = data + accesses * port.access_ticks
        access_pace = pace << (port.access_shift - beat_shift)
        whole = max(
            (data + port.access_ticks + TICKS - 1) >> TICK_SHIFT,
            ((end + TICKS - 1) >> TICK_SHIFT) - (accesses - 1) * access_pace,
        )
        first = max(port.free, whole + ((address & (size - 1)) >> beat_shift) * pace)
    channel.busy += accesses * port.access_ticks
    channel.bus = end
    channel.wrote = writes
    return first, end
