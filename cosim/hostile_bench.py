"""The bench for AXI: the accelerator on a hostile DRAM, with every rule of the port watched."""

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..arch.config import HardwareConfig
from ..hw.axi import ADDRESS_BITS, axi4_signature, axi_lite_signature
from .axi_rules import AxiRules, Rule
from .guest import Guest
from .hostile_dram import HostileDram

_OF_THE_BENCH = ("axi", "base", "reseed", "bursts")


class HostileBench(wiring.Component):
    """Everything around one accelerator. `reseed` starts another run on the DRAM (see there for its whims), and forgets
    the rules that were `broken`. `quiet`: nothing is in flight on the port.
    """

    def __init__(self, config: HardwareConfig, dram_bytes: int):
        self._config = config
        self.dram = HostileDram(config, dram_bytes)
        members = self.dram.signature.members
        super().__init__({
            "control": In(axi_lite_signature()),
            "interrupt": Out(1),
            "dram_base": In(ADDRESS_BITS),
            "used_bytes": In(ADDRESS_BITS),
            "reseed": In(1),
            "bursts": Out(16),
            "broken": Out(len(Rule)),
            "quiet": Out(1),
            **{name: member for name, member in members.items() if name not in _OF_THE_BENCH},
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.dram = dram = self.dram
        m.submodules.rules = rules = AxiRules(self._config)
        m.submodules.accelerator = accelerator = Guest(self._config)
        connect(m, accelerator.axi, dram.axi)
        connect(m, flipped(self.control), accelerator.control)
        for name in axi4_signature(self._config).members:
            m.d.comb += getattr(rules.axi, name).eq(getattr(dram.axi, name))
        for name, member in dram.signature.members.items():
            if name not in _OF_THE_BENCH and member.dimensions:
                for inner, outer in zip(getattr(dram, name), getattr(self, name), strict=True):
                    m.d.comb += inner.eq(outer)
            elif name not in _OF_THE_BENCH:
                m.d.comb += getattr(dram, name).eq(getattr(self, name))
        m.d.comb += [
            self.interrupt.eq(accelerator.interrupt),
            dram.base.eq(self.dram_base),
            dram.reseed.eq(self.reseed),
            self.bursts.eq(dram.bursts),
            rules.base.eq(self.dram_base),
            rules.size_bytes.eq(self.used_bytes),
            rules.forget.eq(self.reseed),
            self.broken.eq(rules.broken),
            self.quiet.eq(rules.quiet),
        ]
        return m
