"""Lock-step of simulator and RTL on three engines: Amaranth's simulator, Icarus and Verilator."""
