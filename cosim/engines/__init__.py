"""Engines that run the RTL bench: Amaranth's own simulator, Icarus Verilog, Verilator.

Each has `require()`, which raises HeddleError if something is not installed, and `run(config, jobs, trace_depth)`,
which runs every job from reset and returns their outcomes; the images of all jobs must have one size.
"""

from . import amaranth, icarus, verilator

MODULES = {"verilator": verilator, "icarus": icarus, "amaranth": amaranth}
