"""The control and status registers that the host sees through AXI4-Lite; arch/registers.py lists them."""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..arch.config import HardwareConfig
from ..arch.registers import Register
from . import counters
from .axi import ADDRESS_BITS, CONTROL_ADDRESS_BITS, OKAY, axi_lite_signature
from .lane import CYCLE_BITS, INDEX_BITS
from .pipeline import register
from .ram import Ram
from .scalars import LOOKUPS, NUMBER, SCALAR_BITS, ScalarFile

READ_CYCLES = 3 + counters.VALUE_CYCLES  # from taking an address to the answer
WORD_BITS = 32
WORD_COUNT = 128  # those behind are unused
KEPT_COUNT = 64  # of the RAM


def register_content(register: Register, **fields: Value) -> Value:
    """What `register` reads when its fields hold `fields`."""
    assert {*fields} == {field.name for field in register.fields}
    content: Value = Const(0, register.bits)
    for field in register.fields:
        content |= Cat(fields[field.name])[: field.bits] << field.low
    return content[: register.bits]


class Csr(wiring.Component):
    """Registers at `control`; what they show comes from outside.

    `start`, `clear` and `abort` are up in the cycle of a write of 1 to their bit of CONTROL. A read shows what stands
    there READ_CYCLES − 1 cycles after its address is taken; one of CYCLES low keeps the high half for the read that
    follows. Unused addresses read as zero; every access is answered with OKAY. What the host writes it reads from a
    RAM; so are scalar registers, of which `scalars` are those of `numbers`. After a reset both are zeroed, word by
    word, and accesses wait. `kv_base` and `kv_bytes` are the region of the KV cache in DRAM, `dram_base` and
    `dram_bytes` the region that a run may touch.

    `counter` is that of `counter_number`, asked for as Counters says. `error_instruction` is number `error_number` of
    ERROR_INSTRUCTIONS.
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
            "error_number": Out(range(Register.ERROR_INSTRUCTIONS.count)),
            "error_instruction": In(INDEX_BITS),
            "cycles": In(CYCLE_BITS),
            "will_ask_counter": Out(1),
            "asks_counter": Out(1),
            "counter_number": Out(counters.NUMBER),
            "counter": In(counters.BITS),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.scalars = scalars = ScalarFile(LOOKUPS)
        m.submodules.words = words = Ram(WORD_BITS, KEPT_COUNT, granularity=8, block=True)
        m.d.comb += [inner.eq(outer) for inner, outer in zip(scalars.numbers, self.numbers, strict=True)]
        m.d.comb += [outer.eq(inner) for inner, outer in zip(scalars.values, self.scalars, strict=True)]
        zeroed = Signal(range(KEPT_COUNT + 1))  # words of the RAM that are since the reset
        ready = zeroed[-1]
        place, mask, data = Signal(range(KEPT_COUNT)), Signal(WORD_BITS // 8), Signal(WORD_BITS)
        steps = Signal(READ_CYCLES - 1)  # one bit that is set, or none: how many cycles ago an address was taken
        written = self._writes(m, ready & ~steps[0])  # then the RAM is read
        with m.If(ready):
            m.d.comb += [place.eq(_place(self.control.awaddr[2:])), mask.eq(written), data.eq(self.control.wdata)]
        with m.Else():
            m.d.comb += [place.eq(zeroed), mask.eq(~0)]
            m.d.sync += zeroed.eq(zeroed + 1)
        m.d.comb += [
            words.write_address.eq(place),
            words.write_mask.eq(mask),
            words.write_data.eq(data),
            scalars.number.eq(place),
            scalars.mask.eq(Mux(_is_scalar(place), mask, 0)),
            scalars.data.eq(data),
        ]
        self._reads(m, ready, steps, words)
        return m

    def _writes(self, m: Module, ready: Value) -> Signal:
        """Takes what the host writes; returns which bytes of a word go to the RAMs."""
        bus = self.control
        accepted = Signal()
        m.d.comb += [
            accepted.eq(bus.awvalid & bus.wvalid & ~bus.bvalid & ready),
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
        for offset, stored in self._stored().items():
            for low in range(0, len(stored), 8):
                part = stored[low : low + 8]
                with m.If(written(offset, low // 8)):
                    m.d.sync += part.eq(bus.wdata[low : low + len(part)])
        kept = Signal(WORD_BITS // 8)
        word = bus.awaddr[2:]
        for byte in range(len(kept)):
            wide = [offset // 4 for offset, stored in self._kept().items() if len(stored) > 8 * byte]
            is_kept = word.matches(*wide) | (_is_scalar(word) & (word != Register.SCALAR // 4))  # number 0 stays 0
            m.d.comb += kept[byte].eq(accepted & bus.wstrb[byte] & is_kept)
        return kept

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

    def _kept(self) -> dict[int, Value]:
        """Those that the host reads from the RAM: they are made of whole bytes."""
        return {offset: stored for offset, stored in self._stored().items() if len(stored) % 8 == 0}

    def _reads(self, m: Module, ready: Value, steps: Signal, words: Ram) -> None:
        """Answers reads: first the RAMs are asked, then one of all values is chosen."""
        bus = self.control
        cycles_high = Signal(CYCLE_BITS - 32)
        accepted, answers = Signal(), Signal()
        word = Signal(CONTROL_ADDRESS_BITS - 2)
        m.d.comb += [
            bus.arready.eq(~bus.rvalid & ~steps.any() & ready),
            accepted.eq(bus.arvalid & bus.arready),
            answers.eq(steps[-1]),
            bus.rresp.eq(OKAY),
            words.read_en.eq(steps[0]),
            words.read_address.eq(_place(word)),
            self.will_ask_counter.eq(accepted | steps[0]),
            self.asks_counter.eq(steps[1]),
            self.counter_number.eq(word),
            self.error_number.eq(word - Register.ERROR_INSTRUCTIONS // 4),
        ]
        m.d.sync += steps.eq(Cat(accepted, steps))
        with m.If(accepted):
            m.d.sync += word.eq(bus.araddr[2:])
        with m.If(answers):
            m.d.sync += bus.rvalid.eq(1)
        with m.Elif(bus.rready):
            m.d.sync += bus.rvalid.eq(0)

        kept = [*(offset // 4 for offset in self._kept()), *_words(Register.SCALAR)]
        constant = [place for each in Register if each.value_of for place in _words(each)]
        sources = [
            (register(m, words.read_data, "kept"), kept),
            (self._constants(m, word), constant),
            *self._shown(cycles_high),
        ]
        data: Value = Const(0, WORD_BITS)
        for value, places in sources:
            chosen = Signal()
            m.d.sync += chosen.eq(word.matches(*places))
            data = data | Mux(chosen, value, 0)
        with m.If(answers):
            m.d.sync += bus.rdata.eq(data)
            with m.If(word == Register.CYCLES_LOW // 4):
                m.d.sync += cycles_high.eq(self.cycles[32:])

    def _shown(self, cycles_high: Value) -> list[tuple[Value, list[int]]]:
        """What is neither in the RAM nor constant: value, and the places of the words that show it."""
        shown = {
            Register.STATUS: self.status,
            Register.INTERRUPT: self.interrupt_enable,
            Register.ERROR: self.error,
            Register.ERROR_INSTRUCTIONS: self.error_instruction,
            Register.CYCLES_LOW: self.cycles[:32],
            Register.CYCLES_HIGH: cycles_high,
        }
        assert all(len(value) == each.bits for each, value in shown.items())
        changing = {each for each in Register if each.access == "R" and not each.value_of}
        assert {*shown, *counters.REGISTERS} == {*changing, Register.INTERRUPT}
        return [
            *((value, _words(each)) for each, value in shown.items()),
            (self.counter, [place for each in counters.REGISTERS for place in _words(each)]),
        ]

    def _constants(self, m: Module, word: Value) -> Value:
        """What the machine is, two cycles after `word`."""
        content = [0] * WORD_COUNT
        for each in Register:
            if each.value_of:
                for number, place in enumerate(_words(each)):
                    content[place] = each.value_of(self._config, number)
        m.submodules.constants = rom = Memory(shape=WORD_BITS, depth=WORD_COUNT, init=content)
        port = rom.read_port()
        m.d.comb += port.addr.eq(word)
        return register(m, port.data, "constant")


def _words(register: Register) -> list[int]:
    """The numbers of the words that registers of one meaning are."""
    return [offset // 4 for offset in register.offsets]


def _place(word: Value) -> Value:
    """Where in the RAM a word is that is kept there: those behind the scalar registers stand before them."""
    return Cat(word[:3], word[3] | word[6], word[4:6])


def _is_scalar(word: Value) -> Value:
    """Whether it is that of a scalar register: they stand at a multiple of what they take."""
    low = (Register.SCALAR.count - 1).bit_length()
    return word[low:] == Register.SCALAR // 4 >> low


def _checked(access: str, content: dict) -> dict[int, Value]:
    """Offset → value, from register → value. Those of `access` in the definition must be there, as wide."""
    known = {register for register in Register if register.access == access and register is not Register.SCALAR}
    assert {*content} == known
    assert all(len(value) == register.bits for register, value in content.items())
    return {register.value: value for register, value in content.items()}
