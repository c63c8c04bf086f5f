"""Choosing a machine: sweeps of spaces, search, energy, area; synthesis of units, their area, their clock."""
