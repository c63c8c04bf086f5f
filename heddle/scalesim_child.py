"""Runs a list of GEMMs through the package `scalesim` (SCALE-Sim) in a process of its own, for its time and memory.

    python scalesim_child.py DIRECTORY < {"rows": 16, "columns": 16, "gemms": [["name", M, N, K], …]}

prints {"cpu_seconds": …, "peak_bytes": …, "gemms": [{"cycles": …, "cpu_seconds": …}, …]}: time without imports, cycles
without those that fill the buffers first. It needs nothing of Heddle, so that nothing of it is counted.
"""

import contextlib
import io
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

# Enough buffer for every operand, so that only the array is simulated, as fast as scalesim can: a word is a byte, a kB
# 1,024, and half of a buffer is for what is in use. The widest weights of BERT-base, 768 × 3072, are 2,304 kB. With
# InterfaceBandwidth CALC the array never waits for memory; sizes change how long scalesim searches its buffers.
CONFIGURATION = """
[general]
run_name = gemms

[architecture_presets]
ArrayHeight: {rows}
ArrayWidth: {columns}
IfmapSramSzkB: 1024
FilterSramSzkB: 8192
OfmapSramSzkB: 1024
IfmapOffset: 0
FilterOffset: 10000000
OfmapOffset: 20000000
Dataflow: ws
Bandwidth: {bandwidth}
ReadRequestBuffer: 64
WriteRequestBuffer: 64

[layout]
IfmapCustomLayout: False
IfmapSRAMBankBandwidth: 16
IfmapSRAMBankNum: 16
IfmapSRAMBankPort: 2
FilterCustomLayout: False
FilterSRAMBankBandwidth: 16
FilterSRAMBankNum: 16
FilterSRAMBankPort: 2

[sparsity]
SparsitySupport: false
SparseRep: ellpack_block
OptimizedMapping: false
BlockSize: 8
RandomNumberGeneratorSeed: 40

[run_presets]
InterfaceBandwidth: CALC
UseRamulatorTrace: False
"""


def main() -> None:
    """Simulate, and print the figures."""
    from scalesim.scale_sim import scalesim  # pyright: ignore[reportMissingImports]
    from scalesim.single_layer_sim import single_layer_sim  # pyright: ignore[reportMissingImports]

    seconds, run = [], single_layer_sim.run

    def timed(layer: Any) -> None:
        begin = time.process_time()
        run(layer)
        seconds.append(time.process_time() - begin)

    single_layer_sim.run = timed
    request, directory = json.load(sys.stdin), Path(sys.argv[1])
    configuration, topology, layout = (directory / name for name in ("scale.cfg", "gemms.csv", "layout.csv"))
    configuration.write_text(CONFIGURATION.format(**request, bandwidth=request["rows"]))
    lines = ["layer, m, n, k,", *(f"{name}, {m}, {n}, {k}," for name, m, n, k in request["gemms"])]
    topology.write_text("\n".join(lines) + "\n")
    layout.write_text("layer,\n")
    begin = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        simulation = scalesim(
            save_disk_space=True, verbose=False, config=str(configuration), topology=str(topology),
            layout=str(layout), input_type_gemm=True,
        )  # fmt: skip
        simulation.run_scale(top_path=str(directory))
    used, peak = time.process_time() - begin, peak_bytes()
    layers = simulation.runner.single_layer_sim_object_list
    gemms = [
        {"cycles": int(layer.get_compute_report_items()[1]), "cpu_seconds": spent}
        for layer, spent in zip(layers, seconds, strict=True)
    ]
    print(json.dumps({"cpu_seconds": used, "peak_bytes": peak, "gemms": gemms}))


def peak_bytes() -> int:
    """Most memory that this process has had: not from getrusage, whose maximum begins with that of the parent."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    (line,) = (each for each in status.read_text().splitlines() if each.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
