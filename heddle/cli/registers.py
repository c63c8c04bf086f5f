"""heddle registers: the control and status registers for those who write drivers."""

from pathlib import Path

import click
import heddle

from .shared import json_option, load_config, output_option


@click.command(
    short_help="Print the registers: Markdown, C header, SystemRDL or JSON.",
    epilog="Example: heddle registers --format c -o heddle_registers.h",
)
@click.option(
    "--format", "kind", metavar="|".join(heddle.REGISTER_FILES), help="Of the text. [default: markdown]",
)  # fmt: skip
@click.option("--config", "config_name", metavar="NAME|FILE.toml", help="State what its constant registers read.")
@output_option
@json_option
def registers(kind: str | None, config_name: str | None, output: Path | None, as_json: bool) -> None:
    """Print the control and status registers, their bits and their meaning, as all accelerators have them."""
    kind = kind or ("json" if as_json else "markdown")
    if kind not in heddle.REGISTER_FILES:
        raise heddle.HeddleError(f"unknown format {kind!r}; formats are {', '.join(heddle.REGISTER_FILES)}")
    text = heddle.REGISTER_FILES[kind](load_config(config_name) if config_name else None)
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text)
    except OSError as error:
        raise heddle.HeddleError(f"cannot write {output}: {error.strerror}") from None
    click.echo(f"{output}: {len(text):,} bytes")
