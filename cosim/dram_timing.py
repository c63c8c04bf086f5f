"""When the banked DRAM of docs/architecture.md moves the first beat of a burst, worked out at its address handshake.

It is written from the page alone and shares no code with sim/dram.py. The names are those of the page. The sizes and
timing parameters of the memory are built in; `latency` and `cycles_per_beat` are inputs.
"""

from functools import reduce
from operator import xor

from amaranth import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..arch.dram import TICKS, WINDOW, DramConfig
from ..hw.axi import ADDRESS_BITS

LATENCY_BITS, BEAT_BITS = 12, 8  # of the run-time inputs, and of DramConfig's ranges
CYCLE_BITS = 40
TICK_BITS = CYCLE_BITS + (TICKS - 1).bit_length()


class DramTiming(wiring.Component):
    """A burst is shown by `address`, `last` (beats − 1), `size` (log2 of a beat's bytes) and `write`; `due` is the
    cycle of its first beat if its handshake is in this `cycle`. `taken` says that it is: then the state goes on.

    `cycle` is small after reset, and grows by at most one in each clock cycle.
    """

    def __init__(self, config: DramConfig):
        self._config = config
        super().__init__({
            "cycle": In(CYCLE_BITS),
            "latency": In(LATENCY_BITS),
            "cycles_per_beat": In(BEAT_BITS),
            "taken": In(1),
            "write": In(1),
            "address": In(ADDRESS_BITS),
            "last": In(8),
            "size": In(3),
            "due": Out(CYCLE_BITS),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self._config
        start = Signal(ADDRESS_BITS)  # of the first beat
        beats, length = Signal(9), Signal(16)
        m.d.comb += [
            start.eq(self.address >> self.size << self.size),
            beats.eq(self.last + 1),
            length.eq(beats << self.size),
        ]
        channel, bank, row = self._place(m, start)
        self._state(m, channel, bank)
        arrival = Signal(CYCLE_BITS)  # e
        m.d.comb += arrival.eq(self.cycle + self.latency)
        activate = self._refresh(m, arrival)
        command = self._open(m, row, arrival, activate)

        # Data bus and port.
        wait = Mux(self.wrote, config.t_wtr + config.cl, config.t_rtw)
        at = _signal(m, "at", TICK_BITS, _latest(
            (command + Mux(self.write, config.cwl, config.cl)) * TICKS,
            self.bus + Mux(self.write != self.wrote, wait, 0) * TICKS,
        ))  # fmt: skip
        shift = _log2(config.access_bytes)
        further = _signal(m, "further", 16, ((start + length - 1) >> shift) - (start >> shift))  # N − 1
        moving = _signal(m, "moving", 48, (further + 1) * config.access_ticks)
        on_port = _signal(m, "on_port", 24, beats * self.cycles_per_beat)  # n·v
        per_access = config.access_bytes >> self.size  # m
        skipped = start[:shift] >> self.size  # k
        read_end = _signal(m, "read_end", TICK_BITS, at + moving)
        whole = _latest(
            _ceil(at + config.access_ticks), _less(_ceil(read_end), further * per_access * self.cycles_per_beat)
        )
        read_due = _signal(m, "read_due", CYCLE_BITS, _latest(self.free, whole + skipped * self.cycles_per_beat))
        write_due = _signal(m, "write_due", CYCLE_BITS, _latest(self.free, arrival, _less(_ceil(at), on_port)))
        write_start = _latest(at, (write_due + on_port - self.cycles_per_beat + 1) * TICKS)
        end = _signal(m, "end", TICK_BITS, Mux(self.write, write_start + moving, read_end))
        m.d.comb += self.due.eq(Mux(self.write, write_due, read_due))

        recovered = _ceil(end) + Mux(self.write, config.t_wr, 0) - Mux(self.write, 0, max(0, config.cl - config.t_rtp))
        precharge = _signal(m, "precharge", CYCLE_BITS, _latest(self.opened_precharge, recovered))
        with m.If(self.taken):
            m.d.sync += [
                self.free.eq(self.due + on_port),
                self.bus.eq(end),
                self.wrote.eq(self.write),
                self.quiet.eq(_latest(self.quiet, precharge)),
            ]
            m.d.comb += self.bank_write.precharge.eq(precharge)
        return m

    def _place(self, m: Module, start: Signal):
        """Channel, bank (of all channels) and row of an address."""
        config = self._config
        block = start[_log2(config.interleave_bytes) :]
        channel_bits = _log2(config.channels)
        digits = [block[place * channel_bits : (place + 1) * channel_bits] for place in range(8)]
        channel = reduce(xor, digits) if channel_bits else Const(0, 1)
        line = block[channel_bits + _log2(config.row_bytes) - _log2(config.interleave_bytes) :]
        bank_bits = _log2(config.banks)
        row = line[bank_bits:]
        bank = line[:bank_bits] ^ row[:bank_bits] if bank_bits else Cat()
        place = Signal(max(1, channel_bits + bank_bits))
        m.d.comb += place.eq(Cat(bank, channel[:channel_bits]))
        return channel, place, row

    def _state(self, m: Module, channel, bank: Signal) -> None:
        """The state, as views of what belongs to the channel and the bank at hand."""
        config = self._config
        every = range(config.channels)

        def of_channel(name: str, bits: int):
            return Array([Signal(bits, name=f"{name}_{number}") for number in every])[channel]

        self.free = Signal(CYCLE_BITS)
        self.refreshed, self.quiet = of_channel("refreshed", CYCLE_BITS), of_channel("quiet", CYCLE_BITS)
        self.activate = of_channel("activate", CYCLE_BITS)
        self.window = [of_channel(f"window_{age}", CYCLE_BITS) for age in range(WINDOW)]  # oldest first
        self.bus, self.wrote = of_channel("bus", TICK_BITS), of_channel("wrote", 1)
        self.open_of_channel = of_channel("open", config.banks)  # the banks whose row is open
        # What the memory holds of a bank counts only while its row is open; so it need not be cleared.
        layout = data.StructLayout({"row": ADDRESS_BITS, "column": CYCLE_BITS, "precharge": CYCLE_BITS})
        m.submodules.bank_state = memory = Memory(shape=layout, depth=max(2, config.channels * config.banks), init=[])
        read, write = memory.read_port(domain="comb"), memory.write_port()
        m.d.comb += [read.addr.eq(bank), write.addr.eq(bank), write.en.eq(self.taken)]
        self.bank_read, self.bank_write = read.data, write.data
        self.bank_number = bank[: _log2(config.banks)] if config.banks > 1 else 0

    def _refresh(self, m: Module, arrival: Signal) -> Signal:
        """`activate` after the refresh, if one has fallen due."""
        config = self._config
        interval, following = Signal(CYCLE_BITS), Signal(CYCLE_BITS, init=config.t_refi)
        latest = Signal(CYCLE_BITS)  # i
        m.d.comb += latest.eq(Mux(arrival >= following, following, interval))
        with m.If(arrival >= following):
            m.d.sync += [interval.eq(following), following.eq(following + config.t_refi)]
        self.refreshes = Signal()
        m.d.comb += self.refreshes.eq(latest > self.refreshed)
        with m.If(self.taken):
            m.d.sync += self.refreshed.eq(latest)
        after = _latest(latest, self.quiet + config.t_rp) + config.t_rfc
        return _signal(m, "allowed", CYCLE_BITS, Mux(self.refreshes, after, self.activate))

    def _open(self, m: Module, row, arrival: Signal, activate: Signal):
        """Open the row, if it is not. The first cycle for a command to it."""
        config, held = self._config, self.bank_read
        is_open, hit = Signal(), Signal()
        still_open = Mux(self.refreshes, 0, self.open_of_channel)
        m.d.comb += [is_open.eq(still_open.bit_select(self.bank_number, 1)), hit.eq(is_open & (held.row == row))]
        ready = Mux(is_open, _latest(arrival, held.precharge) + config.t_rp, arrival)
        opened = _signal(m, "opened", CYCLE_BITS, _latest(ready, activate, self.window[0]))
        column = _signal(m, "column", CYCLE_BITS, Mux(hit, held.column, opened + config.t_rcd))
        self.opened_precharge = Mux(hit, held.precharge, opened + config.t_ras)
        m.d.comb += [self.bank_write.row.eq(row), self.bank_write.column.eq(column)]
        with m.If(self.taken):
            m.d.sync += self.open_of_channel.eq(still_open | (1 << self.bank_number))
            with m.If(~hit):
                m.d.sync += self.activate.eq(opened + config.t_rrd)
                m.d.sync += self.window[-1].eq(opened + config.t_faw)
                m.d.sync += [older.eq(newer) for older, newer in zip(self.window, self.window[1:], strict=False)]
            with m.Else():
                m.d.sync += self.activate.eq(activate)
        return _latest(arrival, column)


def _signal(m: Module, name: str, bits: int, value) -> Signal:
    """The value as a signal of its own, so that it is worked out once."""
    signal = Signal(bits, name=name)
    m.d.comb += signal.eq(value)
    return signal


def _latest(*values):
    """The largest of some values."""
    return reduce(lambda a, b: Mux(a > b, a, b), values)


def _less(a, b):
    """a − b, but not below 0."""
    return Mux(a > b, (a - b)[:TICK_BITS], 0)


def _ceil(ticks):
    """The cycle that has begun by then, or begins there."""
    return (ticks + (TICKS - 1)) >> (TICKS - 1).bit_length()


def _log2(value: int) -> int:
    return value.bit_length() - 1
