"""What a machine would cost: synthesis of its units, their area, their clock."""
