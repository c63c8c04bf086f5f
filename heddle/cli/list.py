"""heddle list: a program file, readable."""

import click
import heddle

from .shared import command, json_option, print_json, print_part, print_table


@command(
    short_help="List a program file.",
    epilog="Example: heddle list digits-vit.heddle | less",
)
@click.argument("file")
@json_option
def list(file: str, as_json: bool) -> None:
    """List the instructions and tensors of a program FILE."""
    program = heddle.Program.load(file)
    if as_json:
        print_json({
            "program": program.name, "part": program.part or None, "instructions": len(program.instructions),
            "dram_bytes": program.dram_bytes, "useful_macs": program.total_macs,
            "listing": program.listing().splitlines(),
            "tensors": [
                {"name": t.name, "kind": t.kind, "address": t.address, "shape": t.shape,
                 "memory": t.memory.name.lower(), "size_bytes": t.size_bytes}
                for t in program.tensors.values()
            ],
        }, program.config)  # fmt: skip
        return
    click.echo(program.listing())
    print_part(program)
    rows = [
        (t.name, t.kind, f"{t.address:#x}", "×".join(map(str, t.shape)), t.memory.name.lower(), t.size_bytes)
        for t in program.tensors.values()
    ]
    print_table(
        f"{program.name} for {program.config.title} ({program.config.fingerprint}), {program.dram_bytes:,} bytes",
        ["tensor", "kind", "address", "shape", "layout", "bytes"], rows,
    )  # fmt: skip
