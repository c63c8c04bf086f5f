"""Runs a list of GEMMs through the package `scalesim` (SCALE-Sim) in a process of its own, for its time and memory.

    python scalesim_child.py DIRECTORY < {"rows": 16, "columns": 16, "gemms": [["name", M, N, K], …]}

prints {"cycles": …, "cpu_seconds": …, "peak_bytes": …}. It needs nothing of Heddle, so that nothing of it is counted.
"""

import contextlib
import io
import json
import resource
import sys
import time
from pathlib import Path

# Enough buffer for every operand, so that only the array is simulated, as fast as scalesim can.
CONFIGURATION = """
[general]
run_name = gemms

[architecture_presets]
ArrayHeight: {rows}
ArrayWidth: {columns}
IfmapSramSzkB: 1024
FilterSramSzkB: 1024
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
        cycles = sum(each.get_compute_report_items()[0] for each in simulation.runner.single_layer_sim_object_list)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"cycles": int(cycles), "cpu_seconds": time.process_time() - begin, "peak_bytes": peak}))


if __name__ == "__main__":
    main()
