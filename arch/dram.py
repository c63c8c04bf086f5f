"""The memory behind the DRAM port: how it is timed, and the timing parameters of some that can be bought.

Timing itself is defined in docs/architecture.md ("DRAM port"), for `ideal` and for `banked` memories.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated

from .errors import HeddleError, require_type, unknown
from .ranges import is_whole, make_plain
from .stated import Stated, check_kinds, check_ranges

TICKS = 256  # of a channel's data bus, in a cycle
FETCH_BYTES = 256  # the longest burst of FETCH, whatever `burst_bytes` is
WINDOW = 4  # activations that `t_faw` limits


@dataclass(frozen=True)
class DramConfig:
    """The memory behind the AXI port: not part of the accelerator, so not part of its fingerprint.

    `ideal` serves bursts in order of request: first beat `latency_cycles` after the request, then a beat every
    `cycles_per_beat`. `banked` does the same through channels, banks and rows; the remaining fields are its own (by
    JEDEC's names, in cycles of the accelerator) and stay 0 for `ideal`.
    """

    model: Annotated[str, Stated(
        "how it is timed; presets are banked (heddle configs --drams)", choices=("ideal", "banked"),
    )] = "ideal"  # fmt: skip
    latency_cycles: Annotated[int, Stated(
        "from a request to its first beat; banked: of the controller and the PHY, before the first command", "cycles",
        1, 4095,
    )] = 32  # fmt: skip
    cycles_per_beat: Annotated[int, Stated("from a beat to the next one", "cycles", 1, 255)] = 1
    channels: Annotated[int, Stated("channels, each with a bus of its own", "channels", 1, 64, power_of_two=True)] = 0
    banks: Annotated[int, Stated("banks of a channel, each with one open row", "banks", 1, 64, power_of_two=True)] = 0
    row_bytes: Annotated[int, Stated(
        "bytes of a row of a bank", "bytes", 256, 1 << 20, power_of_two=True, rule="at least interleave_bytes",
    )] = 0  # fmt: skip
    interleave_bytes: Annotated[int, Stated(
        "the next so many bytes are in the next channel", "bytes", 256, 1 << 16, power_of_two=True,
        rule="at least a burst",
    )] = 0  # fmt: skip
    access_bytes: Annotated[int, Stated(
        "what one column command moves", "bytes", 4, 4096, power_of_two=True,
        rule="from axi_bytes to interleave_bytes",
    )] = 0  # fmt: skip
    access_ticks: Annotated[int, Stated(
        "what this takes on the data bus of the channel", "1/256 cycles", 1, 1 << 20,
    )] = 0  # fmt: skip
    cl: Annotated[int, Stated("read command to data", "cycles", 1, 4095)] = 0
    cwl: Annotated[int, Stated("write command to data", "cycles", 1, 4095)] = 0
    t_rcd: Annotated[int, Stated("activate to command", "cycles", 1, 4095)] = 0
    t_rp: Annotated[int, Stated("precharge to activate", "cycles", 1, 4095)] = 0
    t_ras: Annotated[int, Stated("activate to precharge", "cycles", 1, 4095)] = 0
    t_wr: Annotated[int, Stated("end of write data to precharge", "cycles", 1, 4095)] = 0
    t_rtp: Annotated[int, Stated("read command to precharge", "cycles", 1, 4095)] = 0
    t_rrd: Annotated[int, Stated("activate to activate", "cycles", 1, 4095)] = 0
    t_faw: Annotated[int, Stated("activate to the fourth activate after it", "cycles", 1, 4095)] = 0
    t_wtr: Annotated[int, Stated("end of write data to read command", "cycles", 1, 4095)] = 0
    t_rtw: Annotated[int, Stated("between read data and write data", "cycles", 0, 4095)] = 0
    t_refi: Annotated[int, Stated(
        "refresh to refresh", "cycles", 1, 1 << 20, rule="more than latency_cycles + t_rfc",
    )] = 0  # fmt: skip
    t_rfc: Annotated[int, Stated("refresh to activate", "cycles", 1, 1 << 16)] = 0

    def __post_init__(self) -> None:
        if self.model not in ("ideal", "banked"):
            raise HeddleError(f"dram.model must be 'ideal' or 'banked', not {self.model!r}; "
                              f"presets of banked memories are {', '.join(DRAM_PRESETS)}")  # fmt: skip
        check_ranges(self, ("latency_cycles", "cycles_per_beat"), "dram.")
        make_plain(self, *(field.name for field in fields(self)))
        if self.model == "ideal":
            stated = [field.name for field in _BANKED if not is_whole(value := getattr(self, field.name)) or value]
            if stated:
                raise HeddleError(f"dram.{stated[0]} is of banked memories: set dram.model to 'banked', or omit it")
            return
        check_ranges(self, prefix="dram.")
        check_kinds(self, "dram.")
        if self.interleave_bytes > self.row_bytes:
            raise HeddleError(f"dram.row_bytes must be at least dram.interleave_bytes ({self.interleave_bytes}), "
                              f"not {self.row_bytes}")  # fmt: skip
        if self.access_bytes > self.interleave_bytes:
            raise HeddleError(f"dram.access_bytes must be at most dram.interleave_bytes ({self.interleave_bytes}), "
                              f"not {self.access_bytes}")  # fmt: skip
        if self.t_refi <= self.latency_cycles + self.t_rfc:
            raise HeddleError(f"dram.t_refi must be more than latency_cycles + t_rfc "
                              f"({self.latency_cycles + self.t_rfc}), not {self.t_refi}")  # fmt: skip

    @property
    def banked(self) -> bool:
        """Whether it has channels, banks and rows."""
        return self.model == "banked"

    @property
    def structure(self) -> DramConfig:
        """What of it is built into the RTL bench: `latency_cycles` and `cycles_per_beat` are inputs there, here 1."""
        return replace(self, latency_cycles=1, cycles_per_beat=1)

    def require_port(self, axi_bytes: int, burst_bytes: int) -> None:
        """Raise HeddleError unless it can serve a port of this width and these bursts."""
        if not self.banked:
            return
        if self.interleave_bytes < max(burst_bytes, FETCH_BYTES):
            raise HeddleError(f"dram.interleave_bytes must be at least the longest burst "
                              f"({max(burst_bytes, FETCH_BYTES)} bytes), not {self.interleave_bytes}")  # fmt: skip
        if self.access_bytes < axi_bytes:
            raise HeddleError(f"dram.access_bytes must be at least axi_bytes ({axi_bytes}), not {self.access_bytes}")

    def bytes_per_cycle(self, axi_bytes: int) -> float:
        """Most bytes it moves in a cycle behind a port of `axi_bytes`: what the port can, or all channels together."""
        port = axi_bytes / self.cycles_per_beat
        if not self.banked:
            return port
        return min(port, self.channels * self.access_bytes * TICKS / self.access_ticks)

    def to_dict(self) -> dict:
        """The fields that its model has."""
        content = asdict(self)
        return content if self.banked else {k: v for k, v in content.items() if k not in {f.name for f in _BANKED}}


_BANKED = fields(DramConfig)[3:]


@dataclass(frozen=True)
class DramPart:
    """A memory as its standard describes it: sizes of one channel, times in picoseconds.

    `groups` > 1: accesses follow each other at full rate (tCCD_S) only if they alternate between bank groups. So that
    one burst may do so, equal rows of two banks in two groups form one row here, opened and closed together: half as
    many banks, rows twice as long, and activations that count twice.
    """

    source: str
    channels: int
    banks: int
    groups: int
    row_bytes: int
    access_bytes: int
    access_ps: int
    cl_ps: int
    cwl_ps: int
    t_rcd_ps: int
    t_rp_ps: int
    t_ras_ps: int
    t_wr_ps: int
    t_rtp_ps: int
    t_rrd_ps: int
    t_faw_ps: int
    t_wtr_ps: int
    t_rtw_ps: int
    t_refi_ps: int
    t_rfc_ps: int
    latency_ps: int = 20_000  # controller and PHY, both ways together

    @property
    def gigabytes_per_second(self) -> float:
        """Of all channels together, at most."""
        return self.channels * self.access_bytes / self.access_ps * 1000

    def config(self, clock_mhz: int, axi_bytes: int, burst_bytes: int) -> DramConfig:
        """This memory behind a port of an accelerator. Times are rounded up to cycles (bus times to 1/256 cycles).

        A burst must fit into a row, and a beat into an access. Where it would not, as many banks as it takes work
        together as one, and as many accesses.
        """
        interleave = max(burst_bytes, FETCH_BYTES)
        gang = max(2 if self.groups > 1 else 1, interleave // self.row_bytes)
        accesses = max(1, axi_bytes // self.access_bytes)
        if gang > self.banks:
            raise HeddleError(f"a burst of {burst_bytes} bytes does not fit into the rows of {self.banks} banks of "
                              f"{self.row_bytes} bytes: make burst_beats smaller")  # fmt: skip

        def cycles(picoseconds: int) -> int:
            return -(-picoseconds * clock_mhz // 1_000_000)

        ticks = -(-self.access_ps * accesses * TICKS * clock_mhz // 1_000_000)
        return DramConfig(
            model="banked", latency_cycles=max(1, cycles(self.latency_ps)), channels=self.channels,
            banks=self.banks // gang, row_bytes=self.row_bytes * gang, interleave_bytes=interleave,
            access_bytes=self.access_bytes * accesses, access_ticks=ticks, cl=cycles(self.cl_ps),
            cwl=cycles(self.cwl_ps), t_rcd=cycles(self.t_rcd_ps), t_rp=cycles(self.t_rp_ps),
            t_ras=cycles(self.t_ras_ps), t_wr=cycles(self.t_wr_ps), t_rtp=cycles(self.t_rtp_ps),
            t_rrd=cycles(self.t_rrd_ps * gang), t_faw=cycles(self.t_faw_ps * gang), t_wtr=cycles(self.t_wtr_ps),
            t_rtw=cycles(self.t_rtw_ps), t_refi=cycles(self.t_refi_ps), t_rfc=cycles(self.t_rfc_ps),
        )  # fmt: skip


# The standards give most times in nanoseconds and some in clocks, which are given here as a product.
DRAM_PRESETS: dict[str, DramPart] = {
    "DDR4-2400": DramPart(
        source="JESD79-4, one channel of 64 bits: eight 8 Gb ×8 devices, bin 2400R (16-16-16), tCK 0.833 ns",
        channels=1, banks=16, groups=4, row_bytes=8192, access_bytes=64, access_ps=4 * 833,
        cl_ps=16 * 833, cwl_ps=12 * 833, t_rcd_ps=16 * 833, t_rp_ps=16 * 833, t_ras_ps=32_000,
        t_wr_ps=15_000, t_rtp_ps=7_500, t_rrd_ps=4 * 833, t_faw_ps=21_000, t_wtr_ps=7_500, t_rtw_ps=2 * 833,
        t_refi_ps=7_800_000, t_rfc_ps=350_000,
    ),
    "LPDDR4-3200": DramPart(
        source="JESD209-4, two channels of 16 bits, 8 Gb each, RL 28 + tDQSCK 3, WL 14 (set A), tCK 0.625 ns",
        channels=2, banks=8, groups=1, row_bytes=2048, access_bytes=32, access_ps=8 * 625,
        cl_ps=31 * 625, cwl_ps=14 * 625, t_rcd_ps=18_000, t_rp_ps=18_000, t_ras_ps=42_000,
        t_wr_ps=18_000, t_rtp_ps=7_500, t_rrd_ps=10_000, t_faw_ps=40_000, t_wtr_ps=10_000, t_rtw_ps=2 * 625,
        t_refi_ps=3_904_000, t_rfc_ps=280_000,
    ),
    "LPDDR5-6400": DramPart(
        source="JESD209-5, two channels of 16 bits, 8 Gb each, bank-group mode, BL16, RL 17, WL 9 (set A), tCK 1.25 ns",
        channels=2, banks=16, groups=4, row_bytes=2048, access_bytes=32, access_ps=2 * 1250,
        cl_ps=17 * 1250, cwl_ps=9 * 1250, t_rcd_ps=18_000, t_rp_ps=18_000, t_ras_ps=42_000,
        t_wr_ps=34_000, t_rtp_ps=7_500, t_rrd_ps=5_000, t_faw_ps=20_000, t_wtr_ps=12_000, t_rtw_ps=1250,
        t_refi_ps=3_906_000, t_rfc_ps=210_000,
    ),
    "HBM2": DramPart(
        source="JESD235A, one stack of eight 8 Gb channels of 128 bits (legacy mode, BL2) at 2.0 Gb/s, tCK 1 ns; times "
        "that vendors choose as in DRAMsim3's HBM2_8Gb_x128, tRFC of 8 Gb as in Samsung's PIMSimulator",
        channels=8, banks=16, groups=4, row_bytes=2048, access_bytes=32, access_ps=1000,
        cl_ps=14_000, cwl_ps=4_000, t_rcd_ps=14_000, t_rp_ps=14_000, t_ras_ps=34_000,
        t_wr_ps=16_000, t_rtp_ps=6_000, t_rrd_ps=4_000, t_faw_ps=30_000, t_wtr_ps=8_000, t_rtw_ps=2_000,
        t_refi_ps=3_900_000, t_rfc_ps=350_000,
    ),
}  # fmt: skip


Dram = DramConfig | DramPart | str  # what is taken for a memory: see `as_dram`


def as_dram(memory: Dram, clock_mhz: int, axi_bytes: int, burst_bytes: int) -> DramConfig:
    """A memory behind a port: a DramConfig as it is, a part or the preset of that name as `DramPart.config`; `ideal` is
    a preset too. Raises HeddleError if there is none."""
    if isinstance(memory, DramConfig):
        return memory
    if memory == "ideal":
        return DramConfig()
    if isinstance(memory, str):
        if memory not in DRAM_PRESETS:
            raise unknown("DRAM", memory, ["ideal", *DRAM_PRESETS], "presets")
        memory = DRAM_PRESETS[memory]
    require_type("dram", memory, DramPart, f"a DramConfig, a DramPart or one of ideal, {', '.join(DRAM_PRESETS)}")
    return memory.config(clock_mhz, axi_bytes, burst_bytes)
