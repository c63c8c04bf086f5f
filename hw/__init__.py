"""The accelerator as Amaranth RTL: parameterised by a HardwareConfig, timed as docs/architecture.md says."""
