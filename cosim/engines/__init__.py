"""Engines that run the RTL bench: Amaranth's own simulator, Icarus Verilog, Verilator.

Each `run[name](config, jobs, trace_depth)` runs every job from reset and returns their outcomes; the images of all jobs
must have one size.
"""

from . import amaranth, icarus, verilator

run = {"verilator": verilator.run, "icarus": icarus.run, "amaranth": amaranth.run}
