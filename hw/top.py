"""The accelerator with the ports that an integrator gets: names that IP packagers infer, side bands, clock and reset.

`heddle verilog` writes this module, and the RTL bench runs it.
"""

from collections.abc import Iterator

from amaranth import ClockDomain, Module, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Flow, In, Out

from ..arch.config import HardwareConfig
from .accelerator import Accelerator, accelerator_signature
from .verilog import VerilogPlatform

PREFIXES = {"axi": "m_axi_", "control": "s_axil_"}  # port of the accelerator → what its signals begin with

# What each address channel of the DRAM port says besides: name → (bits, value). Values as AMD's UG1037 recommends.
SIDE_BANDS = {
    "lock": (1, 0),  # normal access, none exclusive
    "cache": (4, 0b0011),  # normal memory, not cacheable, bufferable: an interconnect may merge and split bursts
    "prot": (3, 0b000),  # data, secure, unprivileged
    "qos": (4, 0),  # no part in a scheme of priorities
}
PROT_BITS = 3

# Port → attributes with which Vivado's packager needs no names; other tools ignore them.
_ATTRIBUTES = {
    "aclk": {
        "X_INTERFACE_INFO": "xilinx.com:signal:clock:1.0 aclk CLK",
        "X_INTERFACE_PARAMETER": "ASSOCIATED_BUSIF m_axi:s_axil, ASSOCIATED_RESET aresetn",
    },
    "aresetn": {
        "X_INTERFACE_INFO": "xilinx.com:signal:reset:1.0 aresetn RST",
        "X_INTERFACE_PARAMETER": "POLARITY ACTIVE_LOW",
    },
    "interrupt": {
        "X_INTERFACE_INFO": "xilinx.com:signal:interrupt:1.0 interrupt INTERRUPT",
        "X_INTERFACE_PARAMETER": "SENSITIVITY LEVEL_HIGH",
    },
}


def top_signature(config: HardwareConfig, debug: bool = False) -> wiring.Signature:
    """The ports of `Top`."""
    ports = {
        flat_name(path): member
        for path, member in accelerator_signature(config).members.flatten()
        if member.is_port and (debug or path[0] in (*PREFIXES, "interrupt"))
    }
    for channel in ("aw", "ar"):
        ports |= {f"m_axi_{channel}{name}": Out(bits) for name, (bits, _) in SIDE_BANDS.items()}
        ports[f"s_axil_{channel}prot"] = In(PROT_BITS)
    return wiring.Signature(ports)


class Top(wiring.Component):
    """`Accelerator` of `config` behind flat ports.

    m_axi_*    AXI4 master: the DRAM port
    s_axil_*   AXI4-Lite slave: the registers; s_axil_awprot and s_axil_arprot are accepted and ignored
    interrupt  level, high while enabled and done, error or aborted

    With `debug` also `cycle`, `done`, `error`, `aborted` and `retire_<unit>_valid`, `_index`, `_start`, as those of
    `Accelerator`.

    In Verilog the clock is `aclk`, and `aresetn` resets, active low, at its rising edges (section "Clock and reset" of
    docs/architecture.md). In Amaranth both are those of the domain `sync`.
    """

    def __init__(self, config: HardwareConfig, debug: bool = False):
        self._config = config
        self.clock_ports = {name: Signal(name=name, attrs=_ATTRIBUTES[name]) for name in ("aclk", "aresetn")}
        super().__init__(top_signature(config, debug))
        self.interrupt.attrs.update(_ATTRIBUTES["interrupt"])

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.accelerator = accelerator = Accelerator(self._config)
        if isinstance(platform, VerilogPlatform):
            m.domains.sync = sync = ClockDomain()
            sync.clk = self.clock_ports["aclk"]
            m.d.comb += ResetSignal().eq(~self.clock_ports["aresetn"])
        for flow, inner, outer in flat_pairs(accelerator, self):
            m.d.comb += outer.eq(inner) if flow == Out else inner.eq(outer)
        for channel in ("aw", "ar"):
            m.d.comb += [getattr(self, f"m_axi_{channel}{name}").eq(value)
                         for name, (_, value) in SIDE_BANDS.items()]  # fmt: skip
        return m


def flat_name(path: tuple[str, ...]) -> str:
    """The name at Top of a port of the accelerator: ("axi", "awvalid") is m_axi_awvalid."""
    return "".join(PREFIXES.get(part, part) for part in path)


def flat_pairs(structured, top: Top) -> Iterator[tuple[Flow, Value, Value]]:
    """(flow, port of `structured`, port of `top`) for all that `top` has of the ports that the accelerator has."""
    for path, member, port in structured.signature.flatten(structured):
        if hasattr(top, flat_name(path)):
            yield member.flow, port, getattr(top, flat_name(path))
