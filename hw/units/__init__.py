"""The units that execute instructions; one file each, of the same name as in sim/units."""
