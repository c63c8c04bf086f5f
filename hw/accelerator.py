"""The accelerator: FETCH, dispatch, units and memories between a DRAM port (AXI4) and a control port (AXI4-Lite).

`MEMORY_PORTS` is the block diagram: which units write and read each memory.
"""

from collections.abc import Mapping

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import HardwareConfig, Memory, Unit
from ..arch.errors import HeddleError
from ..arch.isa import INSTRUCTIONS
from ..arch.registers import Register
from .axi import (
    FETCH_ID,
    KV_ID,
    LOAD_ID,
    OKAY,
    STORE_ID,
    BurstArbiter,
    WriteChannel,
    address_members,
    axi4_signature,
    axi_lite_signature,
)
from .counters import Counters
from .csr import Csr, register_content
from .dispatch import Dispatch, unit_name
from .errors import ErrorRegister
from .fetch import Fetch
from .instructions import UNITS
from .lane import CYCLE_BITS, INDEX_BITS
from .memories import BankedMemory
from .units.kv import Kv
from .units.load import Load
from .units.matrix import Matrix
from .units.norm import Norm
from .units.softmax import Softmax
from .units.store import Store
from .units.vector import Vector

UNIT_COMPONENTS: Mapping[Unit, type] = {
    Unit.LOAD: Load,
    Unit.STORE: Store,
    Unit.KV: Kv,
    Unit.MATRIX: Matrix,
    Unit.VECTOR: Vector,
    Unit.SOFTMAX: Softmax,
    Unit.NORM: Norm,
}

# Memory → (units that write it, units that read it).
MEMORY_PORTS: Mapping[Memory, tuple[tuple[Unit, ...], tuple[Unit, ...]]] = {
    Memory.ACT: ((Unit.LOAD, Unit.VECTOR, Unit.SOFTMAX), (Unit.MATRIX, Unit.STORE)),
    Memory.WEIGHT: ((Unit.LOAD, Unit.KV, Unit.VECTOR), (Unit.MATRIX, Unit.STORE, Unit.KV)),
    Memory.PARAM: ((Unit.LOAD, Unit.KV, Unit.VECTOR), (Unit.VECTOR, Unit.SOFTMAX, Unit.NORM, Unit.STORE, Unit.KV)),
    Memory.VALUE: ((Unit.LOAD, Unit.VECTOR, Unit.SOFTMAX, Unit.NORM),
                   (Unit.VECTOR, Unit.SOFTMAX, Unit.NORM, Unit.STORE)),
    Memory.ACC: ((Unit.MATRIX,), (Unit.MATRIX, Unit.VECTOR, Unit.SOFTMAX)),
    Memory.ROW: ((Unit.VECTOR, Unit.SOFTMAX, Unit.NORM), (Unit.VECTOR, Unit.SOFTMAX)),
    Memory.INDEX: ((Unit.LOAD, Unit.VECTOR), (Unit.LOAD, Unit.SOFTMAX, Unit.STORE)),
    Memory.PAGE: ((Unit.LOAD,), (Unit.KV,)),
}


def require_all_executed(units: Mapping[Unit, type]) -> None:
    """Raise HeddleError unless the component of each unit executes what the instruction set gives to it, by the
    `executes` of its class; a component without that may be any."""
    for unit, component in units.items():
        expected = {each for each in INSTRUCTIONS if each.unit is unit}
        executed = set(getattr(component, "executes", expected))
        wrong = ", ".join(sorted(each.__name__ for each in expected ^ executed))
        if wrong:
            raise HeddleError(f"hw/units/{unit_name(unit)}.py and arch/isa do not agree on {wrong}: what the unit "
                              f"executes must stand in `executes` of {component.__name__}")  # fmt: skip


def accelerator_signature(config: HardwareConfig) -> wiring.Signature:
    """The ports of `Accelerator`."""
    retirements = {}
    for unit in UNITS:
        name = f"retire_{unit_name(unit)}"
        retirements |= {f"{name}_valid": Out(1), f"{name}_index": Out(INDEX_BITS), f"{name}_start": Out(CYCLE_BITS)}
    return wiring.Signature({
        "axi": Out(axi4_signature(config)),
        "control": In(axi_lite_signature()),
        "interrupt": Out(1),
        "cycle": Out(CYCLE_BITS),
        "done": Out(1),
        "error": Out(1),
        "aborted": Out(1),
        **retirements,
    })  # fmt: skip


class Accelerator(wiring.Component):
    """One machine of `config`. `units` may replace the component of a unit (each is called with `config`).

    axi        AXI4 master: the DRAM port
    control    AXI4-Lite slave: the registers of hw/csr.py
    interrupt  enabled, and done, error or aborted
    cycle      0 in the cycle of the start pulse, then counting until the run ends
    done       the last run has come to its end; `error`: it was stopped by an error; `aborted`: by the host
    retire_<unit>_valid, _index, _start: one record in the cycle of each retirement

    A start that comes while the machine still drains (beats of instructions fetched in vain after halt, units that run
    on after an error or an abort) takes effect when it has; one during a run is ignored. It clears done, error, aborted
    and the counters.
    """

    def __init__(self, config: HardwareConfig, units: Mapping[Unit, type] = UNIT_COMPONENTS):
        self._config = config
        self._units = units
        super().__init__(accelerator_signature(config))

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.csr = csr = Csr(self._config)
        m.submodules.counters = counters = Counters()
        m.submodules.errors = errors = ErrorRegister()
        m.submodules.fetch = fetch = Fetch(self._config)
        m.submodules.dispatch = dispatch = Dispatch(self._config)
        m.submodules.arbiter = arbiter = BurstArbiter(self._config)
        units = {unit: self._units[unit](self._config) for unit in UNITS}
        require_all_executed(self._units)
        for unit, component in units.items():
            m.submodules[unit_name(unit)] = component
            control = getattr(dispatch, unit_name(unit))
            m.d.comb += [
                component.start.eq(control.start),
                component.instruction.eq(control.instruction),
                control.ready.eq(component.ready),
                control.retire.eq(component.retire),
            ]
        self._wire_memories(m, units, errors)
        self._wire_dram_port(m, arbiter, fetch, units[Unit.LOAD], units[Unit.STORE], units[Unit.KV], errors)
        self._wire_regions(m, csr, fetch, dispatch, units[Unit.LOAD], units[Unit.STORE], units[Unit.KV], errors)
        self._run(m, csr, fetch, dispatch, counters, errors)
        self._report(m, csr, dispatch, counters, errors)
        return m

    def _wire_memories(self, m: Module, units: dict, errors: ErrorRegister) -> None:
        for memory, (writers, readers) in MEMORY_PORTS.items():
            name = memory.name.lower()
            reads = {unit: getattr(units[unit], f"{name}_read") for unit in readers}
            writes = {unit: getattr(units[unit], f"{name}_write") for unit in writers}
            bits = ({unit: len(port.data) for unit, port in ports.items()} for ports in (reads, writes))
            m.submodules[f"{name}_memory"] = banks = BankedMemory(self._config, memory, *bits)
            for kind, ports in (("read", reads), ("write", writes)):
                for unit, port in ports.items():
                    wiring.connect(m, port, getattr(banks, f"{kind}_{unit_name(unit)}"))
            m.d.comb += [
                errors.conflict[memory].eq(banks.conflict),
                errors.conflict_units[memory].eq(banks.conflict_units),
            ]

    def _wire_dram_port(self, m: Module, arbiter, fetch, load, store, kv, errors) -> None:
        axi = self.axi
        wiring.connect(m, fetch.request, arbiter.fetch)
        wiring.connect(m, load.request, arbiter.load)
        wiring.connect(m, store.request, arbiter.store)
        wiring.connect(m, kv.request, arbiter.kv)
        m.submodules.write_channel = written = WriteChannel(self._config)
        wiring.connect(m, kv.gives, written.kv)
        for name, member in {**address_members("aw"), **address_members("ar")}.items():
            outer, inner = getattr(axi, name), getattr(arbiter, name)
            m.d.comb += outer.eq(inner) if member.flow is Out else inner.eq(outer)
        m.d.comb += [
            axi.rready.eq(1),
            axi.bready.eq(1),
            fetch.beat.eq(axi.rvalid & (axi.rid == FETCH_ID)),
            fetch.data.eq(axi.rdata),
            fetch.bad.eq(axi.rresp != OKAY),
            load.beat.eq(axi.rvalid & (axi.rid == LOAD_ID)),
            load.data.eq(axi.rdata),
            load.last_beat.eq(axi.rlast),
            kv.beat.eq(axi.rvalid & (axi.rid == KV_ID)),
            kv.data.eq(axi.rdata),
            kv.last_beat.eq(axi.rlast),
            written.opens.eq(arbiter.opens),
            written.opens_kv.eq(arbiter.opens_kv),
            written.store.valid.eq(store.beat_valid),
            written.store.data.eq(store.data),
            written.store.strobe.eq(~0),
            written.store.last.eq(store.last_beat),
            store.beat_ready.eq(written.store.ready),
            *[getattr(axi, name).eq(getattr(written, name)) for name in ("wvalid", "wdata", "wstrb", "wlast")],
            written.wready.eq(axi.wready),
            store.response.eq(axi.bvalid & (axi.bid == STORE_ID)),
            kv.response.eq(axi.bvalid & (axi.bid == KV_ID)),
        ]
        bad_read = axi.rvalid & (axi.rresp != OKAY) & (axi.rid != FETCH_ID)  # FETCH keeps it for dispatch
        bad_write = axi.bvalid & (axi.bresp != OKAY)
        m.d.sync += [
            errors.response.eq(bad_read | bad_write),
            errors.response_units[Unit.LOAD].eq(bad_read & (axi.rid == LOAD_ID)),
            errors.response_units[Unit.STORE].eq(bad_write & (axi.bid == STORE_ID)),
            errors.response_units[Unit.KV].eq((bad_read & (axi.rid == KV_ID)) | (bad_write & (axi.bid == KV_ID))),
        ]

    def _wire_regions(self, m: Module, csr, fetch, dispatch, load, store, kv, errors) -> None:
        """Regions are those of the start: what the host writes during a run moves nothing that is under way."""
        for base, size_bytes, guarded in (
            (csr.dram_base, csr.dram_bytes, (fetch, load, store)),
            (csr.kv_base, csr.kv_bytes, (kv,)),
        ):
            kept_base, kept_bytes = Signal.like(base), Signal.like(size_bytes)
            with m.If(fetch.start):
                m.d.sync += [kept_base.eq(base), kept_bytes.eq(size_bytes)]
            for each in guarded:
                m.d.comb += [each.base.eq(kept_base), each.size_bytes.eq(kept_bytes)]
        m.d.comb += [
            errors.beyond.eq(kv.beyond),
            errors.beyond_dram.eq((fetch.beyond & ~dispatch.halted) | load.beyond | store.beyond),
            errors.beyond_dram_units[Unit.LOAD].eq(load.beyond),
            errors.beyond_dram_units[Unit.STORE].eq(store.beyond),
        ]

    def _run(self, m: Module, csr, fetch, dispatch, counters, errors) -> None:
        """The life of a run: from the start pulse in cycle 0 to the cycle in which all has retired after halt, or an
        error is up, or all has run out after an abort."""
        running, requested, stopping = Signal(), Signal(), Signal()  # stopping: aborted, and something is under way
        asked, start, aborts, drained, no_program = Signal(), Signal(), Signal(), Signal(), Signal()
        forgets = Signal()  # from the write on, even if the start must wait: what is read next is of the new run
        count = Signal(CYCLE_BITS)
        run, ends = Signal(), Signal()
        m.d.comb += [
            asked.eq(csr.start & ~csr.abort & ~run),
            start.eq((asked | requested) & ~running & ~stopping & dispatch.quiet & fetch.idle),
            run.eq(running & ~errors.error & ~stopping),
            drained.eq(stopping & dispatch.quiet & fetch.idle),
            ends.eq(dispatch.finish | drained | errors.error),
            aborts.eq(csr.abort & (requested | (running & ~ends & ~errors.raised))),
            forgets.eq(csr.clear | asked | start),
            self.cycle.eq(Mux(start, 0, count)),
            fetch.start.eq(start),
            fetch.run.eq(run),
            fetch.program.eq(csr.program),
            fetch.groups.eq(csr.groups),
            dispatch.clear.eq(start),
            dispatch.run.eq(run),
            dispatch.cycle.eq(self.cycle),
            *(inner.eq(outer) for inner, outer in zip(csr.numbers, fetch.numbers, strict=True)),
            *(inner.eq(outer) for inner, outer in zip(fetch.scalars, csr.scalars, strict=True)),
            dispatch.arrives.eq(fetch.arrives),
            dispatch.word.eq(fetch.word),
            dispatch.word_units.eq(fetch.word_units),
            dispatch.i_valid.eq(fetch.o_valid),
            dispatch.i_decoded.eq(fetch.o_decoded),
            dispatch.i_bad.eq(fetch.o_bad),
            fetch.o_take.eq(dispatch.i_take),
            counters.clear.eq(forgets),
            counters.run.eq(running),
            errors.clear.eq(forgets),
            errors.watch.eq(running & ~requested & ~asked),
            errors.no_program.eq(run & no_program),
            errors.no_halt.eq(run & fetch.exhausted & ~dispatch.halted),
        ]
        m.d.sync += [
            requested.eq((requested | asked) & ~start & ~csr.abort),
            stopping.eq((stopping | aborts) & ~drained & ~errors.error),
        ]
        with m.If(start):
            m.d.sync += [running.eq(1), count.eq(1), no_program.eq(csr.groups == 0)]
        with m.Elif(ends):
            m.d.sync += running.eq(0)
        with m.Elif(running):
            m.d.sync += count.eq(count + 1)
        with m.If(forgets):
            m.d.sync += [self.done.eq(0), self.aborted.eq(0)]
        with m.If(dispatch.finish & ~errors.raised):
            m.d.sync += self.done.eq(1)
        with m.If(drained & ~errors.raised & ~errors.error & ~requested & ~asked):
            m.d.sync += self.aborted.eq(1)
        busy = running | requested | stopping | ~dispatch.quiet | ~fetch.idle
        m.d.comb += csr.status.eq(
            register_content(Register.STATUS, busy=busy, done=self.done, error=self.error, aborted=self.aborted)
        )

    def _report(self, m: Module, csr, dispatch, counters, errors) -> None:
        wiring.connect(m, wiring.flipped(self.control), csr.control)
        axi = self.axi
        for unit in UNITS:
            for part in ("valid", "index", "start"):
                name = f"retire_{unit_name(unit)}_{part}"
                m.d.comb += getattr(self, name).eq(getattr(dispatch, name))
            m.d.comb += counters.retired[unit].eq(getattr(dispatch, f"retire_{unit_name(unit)}_valid"))
        for name in ("unread", "unknown", "illegal", "deadlock"):
            m.d.comb += getattr(errors, name).eq(getattr(dispatch, name))
        for name in ("executing", "newest", "heads"):
            for inner, outer in zip(getattr(errors, name), getattr(dispatch, name), strict=True):
                m.d.comb += inner.eq(outer)
        m.d.comb += [
            counters.busy.eq(dispatch.busy),
            counters.starved.eq(dispatch.starved),
            counters.read_beat.eq(axi.rvalid & axi.rready),
            counters.write_beat.eq(axi.wvalid & axi.wready),
            errors.waiting.eq(dispatch.starved),
            errors.next_index.eq(dispatch.next_index),
            errors.overflow.eq(dispatch.overflow),
            errors.overflow_units.eq(dispatch.overflow_units),
            csr.cycles.eq(self.cycle),
            csr.error.eq(errors.code),
            errors.number.eq(csr.error_number),
            csr.error_instruction.eq(errors.instruction),
            counters.will_ask.eq(csr.will_ask_counter),
            counters.asks.eq(csr.asks_counter),
            counters.number.eq(csr.counter_number),
            csr.counter.eq(counters.value),
            self.error.eq(errors.error),
            self.interrupt.eq(csr.interrupt_enable & (self.done | self.error | self.aborted)),
        ]
