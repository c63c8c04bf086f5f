"""The contract of the machine: configuration, instructions, numbers and programs.

Everything here is standard library and numpy only. RTL and simulator both read it; neither reads the other.
"""
