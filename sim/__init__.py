"""The simulator: what a program computes, bit for bit, and when, cycle for cycle."""
