"""Heddle: one program, the same bits and the same cycles in the simulator and in the RTL."""
