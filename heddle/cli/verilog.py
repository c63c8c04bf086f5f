"""heddle verilog: the accelerator as Verilog."""

from pathlib import Path

import click
import heddle
from heddle.layers import require_writable, write_whole

from .shared import command, config_option, json_option, load_config, output_option, print_json, progress


@command(
    short_help="Write an accelerator as Verilog.",
    epilog="Example: heddle verilog --config small -o accelerator.v",
)
@config_option
@output_option
@click.option("--debug", is_flag=True, help="With ports that show cycle, done, error, aborted and each retirement.")
@json_option
def verilog(config_name: str, output: Path | None, debug: bool, as_json: bool) -> None:
    """Write the accelerator of a configuration as Verilog with AXI4 and AXI4-Lite ports.

    The module is heddle; clock aclk, reset aresetn, ports m_axi_*, s_axil_* and interrupt, as packagers of IP infer
    them.
    """
    config = load_config(config_name)
    path = output or Path(f"heddle_{config.file_name}.v")
    require_writable(path)
    with progress(f"Elaborating {config.title}", None):
        text = heddle.accelerator_verilog(config, debug)
    write_whole(path, text)
    figures = {"file": str(path), "size_bytes": len(text), "modules": text.count("\nendmodule")}
    if as_json:
        print_json(figures, config)
    else:
        click.echo(f"{path}: {figures['modules']} modules, {figures['size_bytes']:,} bytes")
