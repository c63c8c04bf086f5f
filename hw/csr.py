"""The control and status registers that the host sees through AXI4-Lite."""

from amaranth import Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import SCALAR_COUNT, HardwareConfig
from .axi import ADDRESS_BITS, OKAY, axi_lite_signature
from .instructions import UNIT_MASK_BITS
from .lane import CYCLE_BITS, INDEX_BITS
from .scalars import SCALAR_BITS

# Byte offsets of the registers (docs/architecture.md).
CONTROL, STATUS, INTERRUPT, ERROR = 0x00, 0x04, 0x08, 0x0C
PROGRAM_LOW, PROGRAM_HIGH, GROUPS, VERSION = 0x10, 0x14, 0x18, 0x1C
CYCLES_LOW, CYCLES_HIGH, INSTRUCTIONS = 0x20, 0x24, 0x28
READ_BEATS, WRITE_BEATS, ERROR_INSTRUCTIONS = 0x2C, 0x30, (0x34, 0x38)
BUSY, WAITING = 0x40, 0x60  # + 4 · unit
SCALAR = 0x80  # + 4 · register
KV_BASE_LOW, KV_BASE_HIGH, KV_BYTES_LOW, KV_BYTES_HIGH = 0x100, 0x104, 0x108, 0x10C

START_BIT, CLEAR_BIT = 0, 1  # of CONTROL
BUSY_BIT, DONE_BIT, ERROR_BIT = 0, 1, 2  # of STATUS


class Csr(wiring.Component):
    """Registers at `control`; what they show comes from outside.

    `start` and `clear` are up in the cycle of a write of 1 to their bit of CONTROL. A read of CYCLES low keeps the high
    half for the read that follows. Unused addresses read as zero; every access is answered with OKAY. Of
    `scalars` number 0 stays zero. `kv_base` and `kv_bytes` are the region of the KV cache in DRAM.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__({
            "control": In(axi_lite_signature()),
            "start": Out(1),
            "clear": Out(1),
            "interrupt_enable": Out(1),
            "program": Out(ADDRESS_BITS),
            "groups": Out(32),
            "scalars": Out(SCALAR_BITS).array(SCALAR_COUNT),
            "kv_base": Out(ADDRESS_BITS),
            "kv_bytes": Out(ADDRESS_BITS),
            "status": In(3),
            "error": In(16),
            "error_instructions": In(INDEX_BITS).array(2),
            "cycles": In(CYCLE_BITS),
            "instructions": In(32),
            "read_beats": In(32),
            "write_beats": In(32),
            "busy_cycles": In(32).array(UNIT_MASK_BITS),
            "waiting_cycles": In(32).array(UNIT_MASK_BITS),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        self._writes(m)
        self._reads(m)
        return m

    def _writes(self, m: Module) -> None:
        bus = self.control
        accepted = Signal()
        m.d.comb += [
            accepted.eq(bus.awvalid & bus.wvalid & ~bus.bvalid),
            bus.awready.eq(accepted),
            bus.wready.eq(accepted),
            bus.bresp.eq(OKAY),
        ]
        with m.If(accepted):
            m.d.sync += bus.bvalid.eq(1)
        with m.Elif(bus.bready):
            m.d.sync += bus.bvalid.eq(0)

        def written(offset: int, byte: int = 0) -> Value:
            return accepted & (bus.awaddr[2:] == offset // 4) & bus.wstrb[byte]

        m.d.comb += [
            self.start.eq(written(CONTROL) & bus.wdata[START_BIT]),
            self.clear.eq(written(CONTROL) & bus.wdata[CLEAR_BIT]),
        ]
        with m.If(written(INTERRUPT)):
            m.d.sync += self.interrupt_enable.eq(bus.wdata[0])
        for offset, register in self._stored().items():
            for byte in range(len(register) // 8):
                with m.If(written(offset, byte)):
                    m.d.sync += register.word_select(byte, 8).eq(bus.wdata.word_select(byte, 8))

    def _stored(self) -> dict[int, Value]:
        """Offset → register, for those that keep what the host writes."""
        return {
            PROGRAM_LOW: self.program[:32],
            PROGRAM_HIGH: self.program[32:],
            GROUPS: self.groups,
            KV_BASE_LOW: self.kv_base[:32],
            KV_BASE_HIGH: self.kv_base[32:],
            KV_BYTES_LOW: self.kv_bytes[:32],
            KV_BYTES_HIGH: self.kv_bytes[32:],
            **{SCALAR + 4 * number: self.scalars[number] for number in range(1, SCALAR_COUNT)},
        }

    def _reads(self, m: Module) -> None:
        bus = self.control
        cycles_high = Signal(CYCLE_BITS - 32)
        registers: dict[int, Value] = {
            STATUS: self.status,
            INTERRUPT: self.interrupt_enable,
            ERROR: self.error,
            **self._stored(),
            VERSION: Const(int(self._config.fingerprint[:8], 16), 32),
            CYCLES_LOW: self.cycles[:32],
            CYCLES_HIGH: cycles_high,
            INSTRUCTIONS: self.instructions,
            READ_BEATS: self.read_beats,
            WRITE_BEATS: self.write_beats,
            **{offset: self.error_instructions[number] for number, offset in enumerate(ERROR_INSTRUCTIONS)},
            **{BUSY + 4 * unit: self.busy_cycles[unit] for unit in range(UNIT_MASK_BITS)},
            **{WAITING + 4 * unit: self.waiting_cycles[unit] for unit in range(UNIT_MASK_BITS)},
        }
        accepted = Signal()
        m.d.comb += [bus.arready.eq(~bus.rvalid), accepted.eq(bus.arvalid & ~bus.rvalid), bus.rresp.eq(OKAY)]
        with m.If(accepted):
            m.d.sync += [bus.rvalid.eq(1), bus.rdata.eq(0)]
            with m.Switch(bus.araddr[2:]):
                for offset, value in registers.items():
                    with m.Case(offset // 4):
                        m.d.sync += bus.rdata.eq(value)
            with m.If(bus.araddr[2:] == CYCLES_LOW // 4):
                m.d.sync += cycles_high.eq(self.cycles[32:])
        with m.Elif(bus.rready):
            m.d.sync += bus.rvalid.eq(0)
