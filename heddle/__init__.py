"""Heddle: one program, the same bits and the same cycles in the simulator and in the RTL.

The public names, loaded when first used, so that `import heddle` is quick:

    program = heddle.compile(model, example_inputs, heddle.get_config("small"))
    result = heddle.simulate(program, {"image": image})
    comparison = heddle.lockstep(program, [{"image": image}], engine="verilator")
"""

from importlib import import_module
from importlib.metadata import version
from typing import Any

_HOME = {
    "HeddleError": "arch.errors",
    "HardwareConfig": "arch.config",
    "DramConfig": "arch.dram",
    "DRAM_PRESETS": "arch.dram",
    "Memory": "arch.config",
    "Unit": "arch.config",
    "WORKLOADS": "models.registry",
    "PRESETS": "arch.config",
    "get_config": "arch.config",
    "Program": "arch.program",
    "compile": "compiler.pipeline",
    "compile_decoder": "compiler.decoder",
    "last_run": "backend",
    "check": "fidelity",
    "audit": "compiler.audit",
    "Training": "training",
    "SGD": "training",
    "AdamW": "training",
    "calibrate": "compiler.smooth",
    "choose_precision": "compiler.sensitivity",
    "Captures": "compiler.captures",
    "CachePlan": "compiler.cache",
    "Tiling": "compiler.builder",
    "PrecisionRule": "compiler.precision",
    "Session": "session",
    "LANGUAGE_MODELS": "models.text",
    "SHAPES": "models.shapes",
    "get_shape": "shape",
    "greedy": "text",
    "load_text": "text",
    "simulate": "sim.machine",
    "lint": "sim.lint",
    "require_ordered": "sim.lint",
    "Profile": "sim.profile",
    "facts": "sim.facts",
    "roofline": "sim.roofline",
    "write_roofline": "sim.roofline",
    "write_chrome_trace": "sim.trace",
    "write_timeline": "sim.timeline",
    "lockstep": "cosim.lockstep",
    "ENGINES": "cosim.lockstep",
    "record": "cosim.waves",
    "Window": "cosim.engines.job",
    "random_program": "cosim.random_programs",
    "illegal": "cosim.illegal_programs",
    "accelerator_verilog": "hw.accelerator_verilog",
    "REGISTER_FILES": "arch.register_files",
    "sweep": "sweeps",
    "synthesise": "explore.synthesis",
}
__all__ = [*_HOME]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("heddle")
    if name not in _HOME:
        raise AttributeError(f"module 'heddle' has no attribute {name!r}; it has {', '.join(_HOME)}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, "__version__"})
