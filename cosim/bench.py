"""The RTL bench: accelerator, DRAM and trace recorders in one design, so that tests only load, start and wait.

test body ── control (AXI4-Lite) ─►    Guest    ══ AXI4 ══ Dram
          ◄── interrupt ──────────┘     │ retire ports
                                        └─► trace_<unit>: one record for each retired instruction
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..arch.config import HardwareConfig, Unit
from ..hw.axi import ADDRESS_BITS, axi_lite_signature
from .dram import BEAT_BITS, LATENCY_BITS, Dram
from .guest import Guest
from .storage import Storage

RECORD_BYTES = 16  # index in 4 bytes, start and retire in 6 each, little-endian


class Bench(wiring.Component):
    """Everything around one accelerator.

    `latency` and `cycles_per_beat` set the timing of the DRAM, whose other parameters are built in. It stands at
    `dram_base`, and only its first `used_bytes` bytes may be touched. `records_<unit>` counts the records in
    `trace_<unit>`, which holds the last `trace_depth`; `violation` tells that the AXI port broke a rule.
    """

    def __init__(self, config: HardwareConfig, dram_bytes: int, trace_depth: int):
        self._config = config
        self._trace_depth = trace_depth
        self.dram = Dram(config, dram_bytes)
        self.traces = {unit: Storage(RECORD_BYTES, RECORD_BYTES * trace_depth) for unit in Unit}
        super().__init__({
            "control": In(axi_lite_signature()),
            "interrupt": Out(1),
            "latency": In(LATENCY_BITS),
            "cycles_per_beat": In(BEAT_BITS),
            "dram_base": In(ADDRESS_BITS),
            "used_bytes": In(ADDRESS_BITS),
            "violation": Out(1),
            **{f"records_{unit.name.lower()}": Out(32) for unit in Unit},
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.dram = dram = self.dram
        m.submodules.accelerator = accelerator = Guest(self._config)
        connect(m, accelerator.axi, dram.axi)
        connect(m, flipped(self.control), accelerator.control)
        m.d.comb += [
            self.interrupt.eq(accelerator.interrupt),
            dram.latency.eq(self.latency),
            dram.cycles_per_beat.eq(self.cycles_per_beat),
            dram.base.eq(self.dram_base),
            dram.used_bytes.eq(self.used_bytes),
            dram.waits.eq(accelerator.cycle == 0),  # refreshes count from the start pulse
            self.violation.eq(dram.violation),
        ]
        for unit, trace in self.traces.items():
            name = unit.name.lower()
            m.submodules[f"trace_{name}"] = trace
            count = getattr(self, f"records_{name}")
            valid = getattr(accelerator, f"retire_{name}_valid")
            record = Signal(8 * RECORD_BYTES, name=f"record_{name}")
            m.d.comb += [
                record[:32].eq(getattr(accelerator, f"retire_{name}_index")),
                record[32:80].eq(getattr(accelerator, f"retire_{name}_start")),
                record[80:].eq(accelerator.cycle),
                trace.write_address.eq(count),
                trace.write_data.eq(record),
                trace.write_mask.eq(Mux(valid, (1 << RECORD_BYTES) - 1, 0)),
            ]
            with m.If(valid):
                m.d.sync += count.eq(count + 1)
        return m
