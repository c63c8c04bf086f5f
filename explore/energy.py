"""Energy of a run: counts of events (sim/events.py) by a table of energies, each with a band and its source.

A table is a TOML file: explore/energy/NAME.toml, or a user's own.

    name, node_nm, voltage, source        of the table
    [operations.NAME]                     int8_mac, bf16_mac, float_multiply, float_add
    [sram]                                an access of `bits` to a memory of `bytes`; others by bits, and by
                                          (bytes / its bytes) ** exponent: of a memory of ours, a bank
    [dram]                                a bit through the port
    each: value, low, high, unit (pJ; of dram pJ/bit), quality, source

A figure without source, quality or band does not load: a number that nobody can check is none. Bands add up: low is
what all low figures give together. What is not counted: leakage, clocks, and the registers of the array (no table here
has them).
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..arch.config import HardwareConfig, Memory
from ..arch.errors import HeddleError, require_type, unknown

FOLDER = Path(__file__).with_name("energy")
OPERATIONS = ("int8_mac", "bf16_mac", "float_multiply", "float_add")
UNITS = {"dram": "pJ/bit"}  # of other figures: pJ
DEFAULT = "horowitz-45"
DRAM = "dram"  # in place of a unit: what lies behind the port
_PICO = 1e-12


@dataclass(frozen=True)
class Band:
    """Joules: likely, and from low to high."""

    low: float = 0.0
    value: float = 0.0
    high: float = 0.0

    def __add__(self, other: Band) -> Band:
        return Band(self.low + other.low, self.value + other.value, self.high + other.high)

    def times(self, factor: float) -> Band:
        """So many of them."""
        return Band(self.low * factor, self.value * factor, self.high * factor)


@dataclass(frozen=True, eq=False)
class Table:
    """Energies of one technology."""

    name: str
    node_nm: float
    source: str
    operations: Mapping[str, Band]  # joules of one
    sram: Band  # joules of an access …
    sram_bits: int  # … of so many bits
    sram_bytes: int  # … to a memory of so many bytes
    sram_exponent: float
    dram: Band  # joules of a bit
    sources: Mapping[str, str]  # figure → where it is from

    def access(self, bits: int, size_bytes: float) -> Band:
        """Joules of a word of so many bits in a memory of that size."""
        scale = (size_bytes / self.sram_bytes) ** self.sram_exponent
        return self.sram.times(scale * bits / self.sram_bits)


def tables() -> list[str]:
    """The names of those that ship."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_table(name: str | os.PathLike[str]) -> Table:
    """The table of that name, or of the .toml file at that path. Raises HeddleError if there is none, and for one with
    a figure that lacks a source, a band or a unit."""
    known = ", ".join(tables())
    require_type("an energy table", name, (str, os.PathLike), f"one of {known}, or the path of a .toml file")
    text = os.fspath(name)
    path = Path(text) if text.endswith(".toml") else FOLDER / f"{text}.toml"
    if not text.endswith(".toml") and text not in tables():
        raise unknown("energy table", text, tables(), "tables", ", or the path of a .toml file")
    try:
        return _read(str(path), path.stat().st_mtime_ns)
    except OSError as error:
        raise HeddleError(f"cannot read energy table {text}: {error.strerror}") from None


@lru_cache(maxsize=32)
def _read(path: str, changed: int) -> Table:
    try:
        content = tomllib.loads(Path(path).read_text())
    except ValueError as error:
        raise HeddleError(f"energy table {path} is no TOML: {error}") from None
    for key, kind in (("name", str), ("node_nm", int | float), ("source", str), ("operations", dict)):
        if not isinstance(content.get(key), kind):
            raise HeddleError(f"energy table {path} must state {key}")
    for each in content["operations"]:
        if each not in OPERATIONS:
            raise unknown(f"operation in energy table {path}:", each, OPERATIONS, "operations")
    figures = {each: content["operations"].get(each) for each in OPERATIONS} | {
        each: content.get(each) for each in ("sram", "dram")
    }
    bands = {each: _band(path, each, given) for each, given in figures.items()}
    sram: Mapping[str, Any] = content["sram"]
    for key in ("bits", "bytes", "exponent"):
        if isinstance(sram.get(key), bool) or not isinstance(sram.get(key), int | float) or sram[key] <= 0:
            raise HeddleError(f"energy table {path}: sram must state {key}, a number above 0")
    return Table(
        content["name"], content["node_nm"], content["source"], {each: bands[each] for each in OPERATIONS},
        bands["sram"], sram["bits"], sram["bytes"], sram["exponent"], bands["dram"],
        {each: (given or {})["source"] for each, given in figures.items()},
    )  # fmt: skip


def _band(path: str, name: str, given: Any) -> Band:
    """A figure. Raises HeddleError if it is bare."""
    if not isinstance(given, Mapping):
        raise HeddleError(f"energy table {path} must have {name}: a table with value, low, high, unit, quality, source")
    for key in ("unit", "quality", "source"):
        if not isinstance(given.get(key), str) or not given[key].strip():
            raise HeddleError(f"energy table {path}: {name} must state its {key}")
    if given["unit"] != (unit := UNITS.get(name, "pJ")):
        raise HeddleError(f"energy table {path}: {name} must be in {unit}, not {given['unit']}")
    numbers = [given.get(key) for key in ("low", "value", "high")]
    if any(isinstance(each, bool) or not isinstance(each, int | float) for each in numbers):
        raise HeddleError(f"energy table {path}: {name} must state value, low and high")
    low, value, high = (float(each) for each in numbers if each is not None)
    if not 0 <= low <= value <= high < float("inf"):
        raise HeddleError(f"energy table {path}: {name} must have low ≤ value ≤ high, not {low:g}, {value:g}, {high:g}")
    return Band(low * _PICO, value * _PICO, high * _PICO)


def energy(events: Mapping[str, int], config: HardwareConfig, table: Table) -> dict[str, Band]:
    """Joules by unit, and `dram` behind the port."""
    found: dict[str, Band] = {}
    prices = _prices(config, table)
    for name, count in events.items():
        unit, _, what = name.partition(".")
        price = prices.get(what)
        if unit == "port":
            unit, price = DRAM, table.dram.times(8) if what in ("read_bytes", "written_bytes") else None
        if price is not None:
            found[unit] = found.get(unit, Band()) + price.times(count)
    return found


def energy_of_kinds(events: Mapping[str, int], config: HardwareConfig, table: Table) -> dict[str, Band]:
    """Joules by what is done: products, vector arithmetic, each memory, `dram`."""
    found: dict[str, Band] = {}
    prices = _prices(config, table)
    for name, count in events.items():
        unit, _, what = name.partition(".")
        if unit == "port" and what in ("read_bytes", "written_bytes"):
            kind, price = DRAM, table.dram.times(8)
        elif what in prices:
            price = prices[what]
            kind = {"macs": "products", "multiplies": "vector arithmetic", "adds": "vector arithmetic"}.get(
                what, what.partition(".")[0]
            )
        else:
            continue
        found[kind] = found.get(kind, Band()) + price.times(count)
    return found


def total(bands: Mapping[str, Band]) -> Band:
    """All of them."""
    return sum(bands.values(), Band())


def _prices(config: HardwareConfig, table: Table) -> dict[str, Band]:
    """What follows the unit in the name of an event → joules of one."""
    return dict(_prices_of(config, table))


@lru_cache(maxsize=1024)
def _prices_of(config: HardwareConfig, table: Table) -> tuple[tuple[str, Band], ...]:
    mac = table.operations["int8_mac" if config.pe == "int8" else "bf16_mac"]
    found = {"macs": mac, "multiplies": table.operations["float_multiply"], "adds": table.operations["float_add"]}
    for memory in Memory:
        bits = config.word_bits(memory)
        price = table.access(bits, config.bank_words(memory) * bits / 8)
        found |= {f"{memory.name.lower()}.reads": price, f"{memory.name.lower()}.writes": price}
    return tuple(found.items())
