"""What a simulation returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..arch.config import FETCH_GROUP, INSTRUCTION_BYTES, Unit
from ..arch.errors import HeddleError
from ..arch.isa import INSTRUCTIONS
from ..arch.notebook import page_table
from ..arch.program import Program
from .dispatch import Dispatched, DispatchedKinds, dispatched_kinds
from .stalls import stall_breakdown
from .state import Words
from .trace import UNITS, Record, Timing, busy_cycles, chrome_trace, utilisation


@dataclass(repr=False)
class Result:
    """When things happened (`timing`) and what DRAM holds at the end (`final`), where they were asked for."""

    program: Program
    timing: Timing | None = None
    final: Words | None = None

    def __repr__(self) -> str:
        cycles = f"{self.cycles:,} cycles" if self.timing is not None else "values only"
        return f"<Result of {self.program.name} on {self.program.config.name}: {cycles}>"

    def _repr_html_(self) -> str:
        """What a notebook shows of it."""
        content = {}
        if self.timing is not None:
            content |= {"cycles": f"{self.cycles:,}", "MAC utilisation": f"{self.mac_utilisation:.1%}"}
            content |= {f"{unit} executing": f"{busy / self.cycles:.1%}" for unit, busy in self.busy.items() if busy}
        if self.final is not None:
            content |= {f"output {name}": " × ".join(map(str, array.shape)) for name, array in self.outputs.items()}
        return page_table(f"Result of {self.program.name} on {self.program.config.title}", content)

    @property
    def cycles(self) -> int:
        """Cycles from the start pulse to `done`."""
        return self._timing.cycles

    @cached_property
    def trace(self) -> list[Record]:
        """Start and retire of each instruction, in program order."""
        places = np.flatnonzero(self.work.units >= 0)
        units = [UNITS[number] for number in self.work.units[places].tolist()]
        cycles = (self._timing.array(name)[places].tolist() for name in ("start", "retire"))
        return list(map(Record, places.tolist(), units, *cycles))

    @cached_property
    def busy(self) -> dict[str, int]:
        """Cycles in which each unit (by its name in lower case) executed, start and retire both counted."""
        return _by_name(busy_cycles(self.work.units, self._timing))

    @cached_property
    def stalls(self) -> dict[str, dict[str, int]]:
        """For each unit, cycles by cause, as `stall_breakdown` describes; they sum to `cycles`."""
        return _by_name(stall_breakdown(self._timing, self.work.units))

    @cached_property
    def dispatched(self) -> list[Dispatched]:
        """The instructions up to the halt as the units got them, by the scalar registers."""
        work, written = self.work, self.program.kinds.examples
        as_written = [before is after for before, after in zip(written, work.examples, strict=True)]
        instructions = [
            each if as_written[kind] else work.instruction(index)
            for index, (each, kind) in enumerate(zip(self.program.instructions, work.of.tolist(), strict=False))
        ]
        return list(map(Dispatched, instructions, work.void.tolist()))

    @cached_property
    def work(self) -> DispatchedKinds:
        """The same, by kinds."""
        return dispatched_kinds(self.program.kinds, self.program.scalar_values, self.program.config)

    @cached_property
    def bytes(self) -> dict[str, int]:
        """DRAM bytes moved by `fetch` and by the instructions that move any."""
        config = self.program.config
        moved = dict.fromkeys(("fetch", *(each.__name__.lower() for each in INSTRUCTIONS if each.dram)), 0)
        moved["fetch"] = self.program.groups * FETCH_GROUP * INSTRUCTION_BYTES
        for each, count in zip(self.work.examples, self.work.counts.tolist(), strict=True):
            if each.dram:
                moved[each.name] += count * each.transfer(config).moved_bytes
        return moved

    @cached_property
    def beats(self) -> dict[str, int]:
        """Beats on the DRAM port during the run: what was `read` and what was `written`. A beat may hold less than its
        width."""
        config = self.program.config
        moved = {"read": self._timing.fetch_beats, "written": 0}
        for each, count in zip(self.work.examples, self.work.counts.tolist(), strict=True):
            if each.dram:
                one = each.transfer(config)
                beats = count * one.pieces * -(-one.piece_bytes // config.axi_bytes)
                moved["written" if one.write else "read"] += beats
        return moved

    @property
    def dram(self) -> dict | None:
        """How the bursts found a banked DRAM: `row_hits`, `row_misses` (no row was open), `row_conflicts` (another one
        was), `refreshes` that came before a burst, `channel_busy_cycles`. None if it was ideal."""
        return self._timing.dram

    @property
    def mac_utilisation(self) -> float:
        """Useful multiply-accumulates per PE and cycle, from 0 to 1."""
        return utilisation(self.program.total_macs, self.cycles, self.program.config)

    @property
    def batch(self) -> int:
        """How many sets of inputs were run."""
        return self._final.own.shape[0]

    @cached_property
    def outputs(self) -> dict[str, NDArray]:
        """Output tensors by name, (batch, *shape)."""
        config, found = self.program.config, {}
        for tensor in self.program.outputs():
            start, length = tensor.address // config.axi_bytes, -(-tensor.size_bytes // config.axi_bytes)
            raw = self._final.read(start, 0, 1, length)
            raw = np.broadcast_to(raw, (self.batch, *raw.shape[1:])).reshape(self.batch, -1)
            found[tensor.name] = replace(tensor, address=0).unpack(raw, config)
        return found

    @property
    def cache(self) -> NDArray[np.uint8]:
        """The region of the KV cache after the run, (batch, cache_bytes): what another run can start with."""
        start, size = self.program.cache_address, self.program.cache_bytes
        beat = self.program.config.axi_bytes
        raw = self._final.read(start // beat, 0, 1, -(-size // beat)).reshape(-1, size)
        return np.array(np.broadcast_to(raw, (self.batch, size)))

    @property
    def image(self) -> NDArray[np.uint8]:
        """All of DRAM after the run, (batch, dram_bytes). Made afresh: large for a large batch."""
        return np.stack([self.image_of(index) for index in range(self.batch)])

    def image_of(self, index: int) -> NDArray[np.uint8]:
        """All of DRAM after the run of one set of inputs, (dram_bytes,)."""
        final = self._final
        image = final.shared[0].copy()
        image[final.low : final.high] = np.where(
            final.differs[0, final.low : final.high, None], final.own[index], image[final.low : final.high]
        )
        return image.reshape(-1)

    def chrome_trace(self) -> dict:
        """The run for chrome://tracing or ui.perfetto.dev; `trace.write_chrome_trace` writes it."""
        return chrome_trace(self.trace, self.program.instructions, self.program.labels, self.program.config)

    def to_dict(self) -> dict:
        """What `heddle simulate --json` prints: plain values under stable names."""
        program = self.program
        content: dict = {"program": program.name, "part": program.part or None}
        content["instructions"] = len(program.instructions)
        content["moved_bytes"] = self.bytes
        if self.timing is not None:
            content |= {
                "cycles": self.cycles,
                "useful_macs": self.program.total_macs,
                "mac_utilisation": self.mac_utilisation,
                "busy_cycles": self.busy,
                "stall_cycles": self.stalls,
            }
            if self.dram is not None:
                content["dram_events"] = self.dram
        if self.final is not None:
            content["batch"] = self.batch
        return content

    @property
    def _timing(self) -> Timing:
        if self.timing is None:
            raise HeddleError("this simulation was run without timing: pass timing=True")
        return self.timing

    @property
    def _final(self) -> Words:
        if self.final is None:
            raise HeddleError("this simulation was run without values: pass values=True")
        return self.final


def _by_name(content: Mapping[Unit, object]) -> dict:
    return {unit.name.lower(): value for unit, value in content.items()}
