"""Engines that run the RTL bench: Amaranth's own simulator, Icarus Verilog, Verilator."""

from . import amaranth, icarus, verilator

ENGINES = {"amaranth": amaranth.run, "icarus": icarus.run, "verilator": verilator.run}
