"""Engines that run the RTL bench: Amaranth's own simulator, Icarus Verilog, Verilator.

Each has `require()`, which raises HeddleError if something is not installed, and `run(config, jobs, trace_depth)`,
which runs every job from reset and returns their outcomes; for Amaranth's, the images must have one size.
"""

from . import amaranth, icarus, verilator

MODULES = {"verilator": verilator, "icarus": icarus, "amaranth": amaranth}
