"""heddle registers: the control and status registers for those who write drivers."""

import json
from pathlib import Path

import click
import heddle
from heddle.layers import unknown, write_whole

from .shared import command, json_option, load_config, output_option, print_json, refuse


@command(
    short_help="Print the registers: Markdown, C header, SystemRDL or JSON.",
    epilog="Example: heddle registers --format c -o heddle_registers.h",
)
@click.option("--format", "kind", metavar="|".join(heddle.REGISTER_FILES), default="markdown", show_default=True,
              help="Of the text.")  # fmt: skip
@click.option("--config", "config_name", metavar="NAME|FILE.toml", help="State what its constant registers read.")
@output_option
@json_option
def registers(kind: str, config_name: str | None, output: Path | None, as_json: bool) -> None:
    """Print the control and status registers, their bits and their meaning, as all accelerators have them."""
    if kind not in heddle.REGISTER_FILES:
        raise unknown("format", kind, heddle.REGISTER_FILES, "formats")
    config = None if config_name is None else load_config(config_name)
    text = heddle.REGISTER_FILES[kind](config)
    if output is not None:
        write_whole(output, text)
    if as_json:
        if output is None:
            refuse("is of the text: --json has the registers under its own names", "kind")
        content = {"registers": json.loads(heddle.REGISTER_FILES["json"](config))}
        print_json(content if output is None else {"file": str(output), **content}, config)
    elif output is None:
        click.echo(text, nl=False)
    else:
        click.echo(f"{output}: {len(text.encode()):,} bytes")
