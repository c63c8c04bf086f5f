"""For each unit: what an instruction changes (execute) and how long it takes (cycles)."""
