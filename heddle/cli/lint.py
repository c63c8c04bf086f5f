"""heddle lint: whether the result of a program could depend on timing."""

import sys
from collections import Counter

import click
import heddle

from .shared import command, console, json_option, load_program, print_json, print_part, refuse

SHOWN = 20


@command(short_help="Find races in a program file.", epilog="Example: heddle lint digits-vit.heddle --all")
@click.argument("file")
@click.option("--config", "config_name", metavar="NAME|FILE.toml", help="Refuse FILE if for another accelerator.")
@click.option("--all", "show_all", is_flag=True, help=f"Print all findings, not the first {SHOWN}.")
@json_option
def lint(file: str, config_name: str | None, show_all: bool, as_json: bool) -> None:
    """Find what in a program FILE depends on timing: instructions that touch the same words or bytes, or could meet at
    a bank's port, while no token orders them; tokens that nothing takes; wrong places in DRAM.

    Exits with 0 if there is nothing, with 1 if there are findings, with 2 if FILE is not a legal program.
    """
    if as_json:
        refuse("is for the lines: --json has all findings", "show_all")
    program = load_program(file, config_name)
    findings = heddle.lint(program)
    counts = Counter(each.kind for each in findings)
    if as_json:
        print_json({
            "program": program.name, "part": program.part or None,
            "instructions": len(program.instructions),
            "clean": not findings, "counts": counts, "findings": [each.to_dict() for each in findings],
        }, program.config)  # fmt: skip
        sys.exit(1 if findings else 0)
    for each in findings if show_all else findings[:SHOWN]:
        console.print(f"[bold]{each.kind}[/]: ", end="")
        console.print(each.message, markup=False)
    if not show_all and len(findings) > SHOWN:
        console.print(f"and {len(findings) - SHOWN} more: --all prints them")
    found = ", ".join(f"{count} of kind {kind}" for kind, count in counts.items())
    console.print(f"{program.name} on {program.config.title}: {len(program.instructions):,} instructions: "
                  + (found or "nothing depends on timing"))  # fmt: skip
    print_part(program)
    sys.exit(1 if findings else 0)
