"""heddle explain: what the compiler decided for a program, and what can be seen of it in the instructions."""

from collections import Counter
from itertools import groupby
from typing import Any

import click
import heddle

from .report import at_position, position_option
from .shared import command, console, json_option, load_program, print_json, print_part, print_table

SHOWN = 3  # of the shapes of one operator


@command(
    short_help="What the compiler decided for a program file.", epilog="Example: heddle explain digits-vit.heddle"
)
@click.argument("file")
@click.option("--config", "config_name", metavar="NAME|FILE.toml", help="Refuse FILE if for another accelerator.")
@position_option
@json_option
def explain(file: str, config_name: str | None, position: int | None, as_json: bool) -> None:
    """Print every decision of the compiler for a program FILE with what else it considered, and the facts that follow:
    panels and chunks, the order of loops, how full the memories are, how far LOAD runs ahead, layers that repeat."""
    program = at_position(load_program(file, config_name), position)
    result = heddle.simulate(program, values=False)
    facts = heddle.facts(program, result)
    if as_json:
        print_json({
            "program": program.name, "part": program.part or None, "instructions": len(program.instructions),
            "cycles": result.cycles, "useful_macs": program.total_macs,
            "choices": [
                {"what": each.what, "chosen": each.chosen, "considered": each.considered} for each in program.choices
            ],
            "periods": [
                {"start": each.start, "length": each.length, "count": each.count} for each in program.periods
            ],
            **facts.to_dict(),
        }, program.config)  # fmt: skip
        return
    console.print(f"[bold]{program.name}[/] on {program.config.title}: {len(program.instructions):,} instructions, "
                  f"{program.total_macs:,} useful MACs, {result.cycles:,} cycles")  # fmt: skip
    print_part(program)
    _print_choices(program)
    for each in program.periods:
        last = each.start + each.length * each.count - 1
        console.print(f"instructions {each.start:,} to {last:,}: {each.count} equal parts of {each.length:,}, "
                      f"compiled once")  # fmt: skip
    _print_parts("Layers", "layer", facts.layers)
    _print_parts("Operators, over all layers", "operator", facts.operators)
    _print_shapes(facts.operators)
    _print_memories(facts, len(program.instructions))


def _print_choices(program: Any) -> None:
    if not program.choices:
        console.print("The file does not say what the compiler considered.")
    for choice in program.choices:
        rows = []
        for what, cycles in choice.considered.items():
            estimate = f"{cycles:,}" if isinstance(cycles, int) else cycles
            rows.append((what, estimate, "chosen" if what == choice.chosen else ""))
        if choice.considered:
            print_table(f"{choice.what}: {choice.chosen}", ["considered", "cycles, by estimate", ""], rows, text=(0, 2))
        else:
            console.print(f"[bold]{choice.what}[/]: {choice.chosen}")


def _print_parts(title: str, what: str, parts: Any) -> None:
    """A row for each part, and one for equal parts that follow each other."""
    rows = []
    for figures, equal in groupby(parts, key=_figures):
        names = [part.name for part in equal]
        name = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}, each"
        rows.append((name, *figures))
    columns = [what, "instructions", "tile MACs", "DRAM read", "written", "most of them"]
    print_table(title, columns, rows, text=(0, 5))


def _figures(part: Any) -> tuple[str, ...]:
    moved = f"{part.dram_read_bytes:,}", f"{part.dram_written_bytes:,}"
    counts = part.instruction_counts
    return f"{sum(counts.values()):,}", f"{part.tile_macs:,}", *moved, _first(counts, 4)


def _print_shapes(operators: Any) -> None:
    rows = [
        (part.name, _first(part.panels, SHOWN), _loop(part.loops), _first(part.chunks, SHOWN))
        for part in operators
        if part.panels or part.chunks
    ]
    columns = ["operator", "products (rows × K × N)", "what changes from one to the next", "loads"]
    print_table("Panels, loops and chunks", columns, rows, text=(0, 1, 2, 3))


def _print_memories(facts: Any, instructions: int) -> None:
    followed = facts.followed_instructions
    of_the_first = f" in the first {followed:,} instructions" if followed < instructions else ""
    rows = [
        (each.memory.upper(), f"{each.words:,}", f"{each.touched_words:,}", f"{each.touched_words / each.words:.0%}",
         f"{each.live_words:,}", f"{each.live_words / each.words:.0%}")
        for each in facts.occupancy
    ]  # fmt: skip
    live = f"; live{of_the_first}" if of_the_first else ""
    print_table(f"Memories{live}", ["memory", "words", "used", "", "live at most", ""], rows)
    rows = [
        (each.memory.upper(), each.loads, f"{each.cycles_ahead:,}", each.instructions_ahead, f"{each.in_time:.0%}")
        for each in facts.ahead
    ]
    columns = ["loads into", "loads", "cycles ahead (median)", "instructions ahead (median)", "in time"]
    print_table("How far LOAD runs ahead of the first reader" + of_the_first, columns, rows)


def _first(counts: Counter[str], most: int) -> str:
    """The most frequent, with their counts."""
    named = [f"{count:,} of {what}" for what, count in counts.most_common(most)]
    others = sum(counts.values()) - sum(count for _, count in counts.most_common(most))
    return ", ".join(named + ([f"{others:,} of other kinds"] if others else []))


def _loop(changes: Counter[str]) -> str:
    total = sum(changes.values())
    return ", ".join(f"{what} {count / total:.0%}" for what, count in changes.most_common()) if total else ""
