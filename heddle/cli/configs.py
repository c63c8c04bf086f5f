"""heddle configs: the presets, or one configuration in full."""

import click
import heddle

from .shared import json_option, print_json, print_table


@click.command(
    short_help="List the presets, or print one as TOML.",
    epilog="Example: heddle configs small > mine.toml",
)
@click.argument("name", required=False)
@json_option
def configs(name: str | None, as_json: bool) -> None:
    """List the presets; with NAME, print that configuration as TOML, to edit and pass as --config FILE.toml."""
    if name is not None:
        config = heddle.get_config(name)
        if as_json:
            print_json({**config.to_dict(), "fingerprint": config.fingerprint})
        else:
            click.echo(config.to_toml(), nl=False)
        return
    if as_json:
        print_json([{**config.to_dict(), "fingerprint": config.fingerprint} for config in heddle.PRESETS.values()])
        return
    memories = [heddle.Memory[name] for name in ("ACT", "WEIGHT", "ACC", "VALUE")]
    rows = [
        (
            config.name, f"{config.rows}×{config.columns}", config.vector_lanes, config.value_format, config.axi_bytes,
            *(f"{config.words(memory) * config.word_bits(memory) // 8192:,}" for memory in memories),
            config.fingerprint,
        )
        for config in heddle.PRESETS.values()
    ]  # fmt: skip
    columns = ["preset", "array", "lanes", "values", "DRAM B/cycle", "ACT KiB", "WEIGHT KiB", "ACC KiB", "VALUE KiB",
               "fingerprint"]  # fmt: skip
    print_table("Configurations", columns, rows)
