"""heddle configs: the presets, or one configuration in full."""

from dataclasses import asdict

import click
import heddle

from .shared import command, json_option, print_json, print_table, refuse


@command(
    short_help="List the presets, or print one as TOML.",
    epilog="Example: heddle configs small > mine.toml",
)
@click.argument("name", required=False)
@click.option("--dram", metavar="NAME", help="With NAME: behind this memory.")
@click.option("--drams", is_flag=True, help="List the memories that can be behind the port.")
@json_option
def configs(name: str | None, dram: str | None, drams: bool, as_json: bool) -> None:
    """List the presets; with NAME, print that configuration as TOML, to edit and pass as --config FILE.toml."""
    if drams:
        refuse("means nothing beside --drams, which lists the memories alone", "name", "dram")
        _list_drams(as_json)
        return
    if dram is not None and name is None:
        raise heddle.HeddleError("--dram needs a configuration to be behind: heddle configs NAME --dram ...")
    if name is not None:
        config = heddle.get_config(name)
        if dram is not None:
            config = config.with_dram(dram)
        if as_json:
            print_json({"config": config.to_dict()}, config)
        else:
            click.echo(config.to_toml(), nl=False)
        return
    if as_json:
        print_json({"configs": [
            {**config.identity(), "config": config.to_dict()} for config in heddle.PRESETS.values()
        ]})  # fmt: skip
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


def _list_drams(as_json: bool) -> None:
    """The memories of --dram."""
    parts = heddle.DRAM_PRESETS
    if as_json:
        rate = {name: {"gigabytes_per_second": part.gigabytes_per_second} for name, part in parts.items()}
        print_json({"drams": {name: asdict(part) | rate[name] for name, part in parts.items()}})
        return
    rows = [
        (name, f"{part.gigabytes_per_second:.1f}", part.channels, part.banks, part.row_bytes, part.source)
        for name, part in parts.items()
    ]
    print_table("Memories", ["--dram", "GB/s", "channels", "banks", "row bytes", "from"], rows, text=(0, 5))
