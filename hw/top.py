"""The accelerator with the ports that an integrator gets: names that IP packagers infer, side bands, clock and reset.

`heddle verilog` writes this module, and the RTL bench runs it.
"""

from amaranth import ClockDomain, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import HardwareConfig
from .accelerator import Accelerator
from .axi import axi4_signature, axi_lite_signature
from .verilog import VerilogPlatform

MASTER, SLAVE = "m_axi_", "s_axil_"  # prefixes of the DRAM port and of the control port

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


class Top(wiring.Component):
    """`Accelerator` of `config` behind flat ports.

    m_axi_*    AXI4 master: the DRAM port
    s_axil_*   AXI4-Lite slave: the registers; s_axil_awprot and s_axil_arprot are accepted and ignored
    interrupt  level, high while enabled and done or error

    With `debug` also `cycle`, `done`, `error` and `retire_<unit>_valid`, `_index`, `_start`, as `Accelerator` gives them.

    In Verilog the clock is `aclk`, and `aresetn` resets, active low, at its rising edges (section "Clock and reset" of
    docs/architecture.md). In Amaranth both are those of the domain `sync`.
    """

    def __init__(self, config: HardwareConfig, debug: bool = False):
        self._accelerator = Accelerator(config)
        self.clock_ports = {name: Signal(name=name, attrs=_ATTRIBUTES[name]) for name in ("aclk", "aresetn")}
        inner = self._accelerator.signature.members
        self._debug = [name for name in inner if name not in ("axi", "control", "interrupt")] if debug else []
        ports = {MASTER + name: member for name, member in axi4_signature(config).members.items()}
        for channel in ("aw", "ar"):
            ports |= {f"{MASTER}{channel}{name}": Out(bits) for name, (bits, _) in SIDE_BANDS.items()}
            ports[f"{SLAVE}{channel}prot"] = In(PROT_BITS)
        ports |= {SLAVE + name: member for name, member in axi_lite_signature().flip().members.items()}
        super().__init__({**ports, "interrupt": Out(1), **{name: inner[name] for name in self._debug}})
        self.interrupt.attrs.update(_ATTRIBUTES["interrupt"])

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.accelerator = accelerator = self._accelerator
        if isinstance(platform, VerilogPlatform):
            m.domains.sync = sync = ClockDomain()
            sync.clk = self.clock_ports["aclk"]
            m.d.comb += sync.rst.eq(~self.clock_ports["aresetn"])
        for prefix, port in ((MASTER, accelerator.axi), (SLAVE, accelerator.control)):
            for name, member in port.signature.members.items():
                inner, outer = getattr(port, name), getattr(self, prefix + name)
                m.d.comb += outer.eq(inner) if member.flow is Out else inner.eq(outer)
        for channel in ("aw", "ar"):
            m.d.comb += [getattr(self, f"{MASTER}{channel}{name}").eq(value)
                         for name, (_, value) in SIDE_BANDS.items()]  # fmt: skip
        m.d.comb += [getattr(self, name).eq(getattr(accelerator, name)) for name in ("interrupt", *self._debug)]
        return m
