"""The control and status registers that the host sees through AXI4-Lite; arch/registers.py lists them."""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import HardwareConfig
from ..arch.registers import Register
from .axi import ADDRESS_BITS, OKAY, axi_lite_signature
from .instructions import UNIT_MASK_BITS
from .lane import CYCLE_BITS, INDEX_BITS
from .scalars import LOOKUPS, NUMBER, SCALAR_BITS, ScalarFile


def register_content(register: Register, **fields: Value) -> Value:
    """What `register` reads when its fields hold `fields`."""
    assert {*fields} == {field.name for field in register.fields}
    content: Value = Const(0, register.bits)
    for field in register.fields:
        content |= Cat(fields[field.name])[: field.bits] << field.low
    return content[: register.bits]


class Csr(wiring.Component):
    """Registers at `control`; what they show comes from outside.

    `start`, `clear` and `abort` are up in the cycle of a write of 1 to their bit of CONTROL. A read of CYCLES low keeps
    the high half for the read that follows. Unused addresses read as zero; every access is answered with OKAY.
    `scalars` are the scalar registers of `numbers`; while they are zeroed after a reset, accesses wait. `kv_base` and
    `kv_bytes` are the region of the KV cache in DRAM, `dram_base` and `dram_bytes` the region that a run may touch.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__({
            "control": In(axi_lite_signature()),
            "start": Out(1),
            "clear": Out(1),
            "abort": Out(1),
            "interrupt_enable": Out(1),
            "program": Out(ADDRESS_BITS),
            "groups": Out(32),
            "numbers": In(NUMBER).array(LOOKUPS),
            "scalars": Out(SCALAR_BITS).array(LOOKUPS),
            "kv_base": Out(ADDRESS_BITS),
            "kv_bytes": Out(ADDRESS_BITS),
            "dram_base": Out(ADDRESS_BITS),
            "dram_bytes": Out(ADDRESS_BITS),
            "status": In(Register.STATUS.bits),
            "error": In(Register.ERROR.bits),
            "error_instructions": In(INDEX_BITS).array(Register.ERROR_INSTRUCTIONS.count),
            "cycles": In(CYCLE_BITS),
            "instructions": In(32),
            "read_beats": In(32),
            "write_beats": In(32),
            "busy_cycles": In(32).array(UNIT_MASK_BITS),
            "waiting_cycles": In(32).array(UNIT_MASK_BITS),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.scalars = scalars = ScalarFile(LOOKUPS + 1)
        m.d.comb += [inner.eq(outer) for inner, outer in zip(scalars.numbers, self.numbers, strict=False)]
        m.d.comb += [outer.eq(inner) for inner, outer in zip(scalars.values, self.scalars, strict=False)]
        self._writes(m, scalars)
        self._reads(m, scalars)
        return m

    def _writes(self, m: Module, scalars: ScalarFile) -> None:
        bus = self.control
        accepted = Signal()
        m.d.comb += [
            accepted.eq(bus.awvalid & bus.wvalid & ~bus.bvalid & scalars.ready),
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

        for field in Register.CONTROL.fields:
            m.d.comb += getattr(self, field.name).eq(written(Register.CONTROL) & bus.wdata[field.low])
        m.d.comb += [
            scalars.number.eq(bus.awaddr[2:]),
            scalars.data.eq(bus.wdata),
            scalars.mask.eq(Mux(accepted & _is_scalar(bus.awaddr), bus.wstrb, 0)),
        ]
        for offset, register in self._stored().items():
            for low in range(0, len(register), 8):
                part = register[low : low + 8]
                with m.If(written(offset, low // 8)):
                    m.d.sync += part.eq(bus.wdata[low : low + len(part)])

    def _stored(self) -> dict[int, Value]:
        """Offset → register, for those that keep what the host writes: all whose access is RW, but for the scalars."""
        wide = {"PROGRAM": self.program, "KV_BASE": self.kv_base, "KV_BYTES": self.kv_bytes,
                "DRAM_BASE": self.dram_base, "DRAM_BYTES": self.dram_bytes}  # fmt: skip
        return _checked("RW", {
            Register.INTERRUPT: self.interrupt_enable,
            Register.GROUPS: self.groups,
            **{Register[f"{name}_LOW"]: register[:32] for name, register in wide.items()},
            **{Register[f"{name}_HIGH"]: register[32:] for name, register in wide.items()},
        })  # fmt: skip

    def _shown(self, cycles_high: Value) -> dict[int, Value]:
        """Offset → value, for those that the host only reads."""
        constants = {each: self._constants(each) for each in Register if each.value_of}
        return _checked("R", {
            Register.STATUS: self.status,
            Register.ERROR: self.error,
            Register.ERROR_INSTRUCTIONS: self.error_instructions,
            Register.CYCLES_LOW: self.cycles[:32],
            Register.CYCLES_HIGH: cycles_high,
            Register.INSTRUCTIONS: self.instructions,
            Register.READ_BEATS: self.read_beats,
            Register.WRITE_BEATS: self.write_beats,
            Register.BUSY: self.busy_cycles[: Register.BUSY.count],
            Register.WAITING: self.waiting_cycles[: Register.WAITING.count],
            **constants,
        })  # fmt: skip

    def _constants(self, register: Register) -> Const | list[Const]:
        assert register.value_of
        values = [Const(register.value_of(self._config, i), register.bits) for i in range(register.count)]
        return values if register.count > 1 else values[0]

    def _reads(self, m: Module, scalars: ScalarFile) -> None:
        bus = self.control
        cycles_high = Signal(CYCLE_BITS - 32)
        registers = {**self._stored(), **self._shown(cycles_high)}
        accepted = Signal()
        m.d.comb += [
            bus.arready.eq(~bus.rvalid & scalars.ready),
            accepted.eq(bus.arvalid & bus.arready),
            bus.rresp.eq(OKAY),
            scalars.numbers[LOOKUPS].eq(bus.araddr[2:]),
        ]
        with m.If(accepted):
            m.d.sync += [bus.rvalid.eq(1), bus.rdata.eq(0)]
            with m.Switch(bus.araddr[2:]):
                for offset, value in registers.items():
                    with m.Case(offset // 4):
                        m.d.sync += bus.rdata.eq(value)
            with m.If(_is_scalar(bus.araddr)):
                m.d.sync += bus.rdata.eq(scalars.values[LOOKUPS])
            with m.If(bus.araddr[2:] == Register.CYCLES_LOW // 4):
                m.d.sync += cycles_high.eq(self.cycles[32:])
        with m.Elif(bus.rready):
            m.d.sync += bus.rvalid.eq(0)


def _is_scalar(address: Value) -> Value:
    """Whether it is that of a scalar register: they stand at a multiple of what they take."""
    low = (4 * Register.SCALAR.count - 1).bit_length()
    return address[low:] == Register.SCALAR >> low


def _checked(access: str, content: dict) -> dict[int, Value]:
    """Offset → value, from register → value or values. Those of `access` in the definition must be there, as wide."""
    known = {register for register in Register if register.access == access and register is not Register.SCALAR}
    assert {*content} == known
    found = {}
    for register, values in content.items():
        values = values if register.count > 1 else [values]
        found |= dict(zip(register.offsets, values, strict=True))
        assert all(len(value) == register.bits for value in values), register.name
    return found
