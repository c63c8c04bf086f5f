"""Heddle: one program, the same bits and the same cycles in the simulator and in the RTL.

The public names, loaded when first used, so that `import heddle` is quick:

    program = heddle.compile(model, example_inputs, heddle.get_config("small"))
    result = heddle.simulate(program, {"image": image})
    comparison = heddle.lockstep(program, [{"image": image}], engine="verilator")

docs/api.md lists them. The imports below are for tools that read and do not run; a test holds them to `_HOME`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import isa as isa
    from .arch.config import PRESETS as PRESETS
    from .arch.config import HardwareConfig as HardwareConfig
    from .arch.config import Memory as Memory
    from .arch.config import Unit as Unit
    from .arch.config import get_config as get_config
    from .arch.dram import DRAM_PRESETS as DRAM_PRESETS
    from .arch.dram import DramConfig as DramConfig
    from .arch.errors import HeddleError as HeddleError
    from .arch.program import Program as Program
    from .arch.program import Tensor as Tensor
    from .arch.register_files import REGISTER_FILES as REGISTER_FILES
    from .backend import last_run as last_run
    from .compiler.audit import audit as audit
    from .compiler.builder import Tiling as Tiling
    from .compiler.cache import CachePlan as CachePlan
    from .compiler.captures import Captures as Captures
    from .compiler.decoder import compile_decoder as compile_decoder
    from .compiler.pipeline import compile as compile
    from .compiler.precision import PrecisionRule as PrecisionRule
    from .compiler.sensitivity import choose_precision as choose_precision
    from .compiler.smooth import calibrate as calibrate
    from .cosim.engines.job import Window as Window
    from .cosim.illegal_programs import illegal as illegal
    from .cosim.lockstep import ENGINES as ENGINES
    from .cosim.lockstep import Comparison as Comparison
    from .cosim.lockstep import lockstep as lockstep
    from .cosim.random_programs import random_program as random_program
    from .cosim.waves import record as record
    from .explore.synthesis import synthesise as synthesise
    from .fidelity import check as check
    from .hw.accelerator_verilog import accelerator_verilog as accelerator_verilog
    from .models.registry import WORKLOADS as WORKLOADS
    from .models.shapes import SHAPES as SHAPES
    from .models.text import LANGUAGE_MODELS as LANGUAGE_MODELS
    from .session import Session as Session
    from .shape import get_shape as get_shape
    from .sim.facts import facts as facts
    from .sim.lint import lint as lint
    from .sim.lint import require_ordered as require_ordered
    from .sim.machine import simulate as simulate
    from .sim.profile import Profile as Profile
    from .sim.result import Result as Result
    from .sim.roofline import roofline as roofline
    from .sim.roofline import write_roofline as write_roofline
    from .sim.timeline import write_timeline as write_timeline
    from .sim.trace import write_chrome_trace as write_chrome_trace
    from .sweeps import sweep as sweep
    from .text import greedy as greedy
    from .text import load_text as load_text
    from .training import SGD as SGD
    from .training import AdamW as AdamW
    from .training import Training as Training

    __version__: str

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
    "Tensor": "arch.program",
    "isa": "isa",
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
    "Result": "sim.result",
    "lint": "sim.lint",
    "require_ordered": "sim.lint",
    "Profile": "sim.profile",
    "facts": "sim.facts",
    "roofline": "sim.roofline",
    "write_roofline": "sim.roofline",
    "write_chrome_trace": "sim.trace",
    "write_timeline": "sim.timeline",
    "lockstep": "cosim.lockstep",
    "Comparison": "cosim.lockstep",
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

if not TYPE_CHECKING:  # or any name at all would have a type

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            return import_module(f"{__name__}.release").VERSION
        if name not in _HOME:
            raise AttributeError(f"module 'heddle' has no attribute {name!r}; it has {', '.join(_HOME)}")
        home = import_module(f"{__name__}.{_HOME[name]}")
        return home if home.__name__ == f"{__name__}.{name}" else getattr(home, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, "__version__"})
