"""The accelerator as the benches see it: through the very ports that an integrator gets, side bands left aside."""

from amaranth import ClockSignal, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from ..arch.config import HardwareConfig
from ..hw.accelerator import accelerator_signature
from ..hw.accelerator_verilog import TOP, accelerator_verilog
from ..hw.top import Top, flat_pairs
from ..hw.verilog import VerilogPlatform, instance


class Guest(wiring.Component):
    """The module of hw/top.py with its debug ports, behind the ports of `Accelerator`.

    In Verilog it is an instance of the module that `heddle verilog --debug` writes.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__(accelerator_signature(config))

    def elaborate(self, platform) -> Module:
        m = Module()
        top = Top(self._config, debug=True)
        if isinstance(platform, VerilogPlatform):
            platform.texts[TOP] = accelerator_verilog(self._config, debug=True)
            m.submodules.top = instance(top, TOP, i_aclk=ClockSignal(), i_aresetn=~ResetSignal())
        else:
            m.submodules.top = top
        for flow, outer, inner in flat_pairs(self, top):
            m.d.comb += outer.eq(inner) if flow == Out else inner.eq(outer)
        return m
