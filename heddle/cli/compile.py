"""heddle compile: a model to a program file."""

from pathlib import Path

import click
import heddle

from .shared import compile_workload, config_option, console, get_workload, json_option, load_config, print_json


@click.command(
    short_help="Compile a model into a program file.",
    epilog="Example: heddle compile digits-vit --config small -o digits-vit.heddle",
)
@click.argument("model")
@config_option
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
@click.option("--passes", is_flag=True, help="Print the graph after each pass.")
@json_option
def compile(model: str, config_name: str, output: Path, passes: bool, as_json: bool) -> None:
    """Compile MODEL (see `heddle run --help` for names) for an accelerator into one program file."""
    workload, config = get_workload(model), load_config(config_name)
    if not output.parent.is_dir():
        raise heddle.HeddleError(f"cannot write {output}: its directory does not exist")
    program = compile_workload(workload, config, _show if passes else None)
    program.save(output)
    figures = {
        "model": model, "config": config.name, "file": str(output), "instructions": len(program.instructions),
        "dram_bytes": program.dram_bytes, "useful_macs": program.useful_macs,
    }  # fmt: skip
    if as_json:
        print_json(figures)
    else:
        console.print(f"{output}: {figures['instructions']} instructions, {program.useful_macs:,} useful MACs, "
                      f"{program.dram_bytes:,} bytes of DRAM, for {config.name} ({config.fingerprint})")  # fmt: skip


def _show(name: str, result: object) -> None:
    """The result of one pass, on standard error."""
    click.echo(f"── {name} " + "─" * (100 - len(name)) + f"\n{result}\n", err=True)
