"""The `heddle` command: one file per subcommand."""

from importlib import import_module
from typing import Any

import click
from heddle.layers import nearest

from .ends import ends, output_written

COMMANDS = [
    "run", "generate", "embed", "check", "kv-report", "compile", "list", "lint", "explain", "simulate", "report",
    "cosim", "zoo", "bench", "sweep", "synth", "verilog", "registers", "configs",
]  # fmt: skip


class Commands(click.Group):
    """Imports the module of a subcommand when it is called for: `heddle --help` need not load PyTorch."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return COMMANDS

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        return getattr(import_module(f"{__name__}.{name}"), name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            near = nearest(name, COMMANDS)
            hint = f" (did you mean {near}?)" if near else ""
            ctx.fail(f"No such command {name!r}{hint}; commands are {', '.join(COMMANDS)}.")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        with output_written():
            return super().invoke(ctx)


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from heddle.release import VERSION, commit  # late: it asks git

    click.echo(f"heddle {VERSION}, commit {commit() or 'unknown'}")
    ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version,
              help="Show the version and the commit, and exit.")  # fmt: skip
def cli() -> None:
    """Transformers on accelerators that exist twice: one program, the same bits and the same cycles in both."""


def main() -> None:
    """Entry point. A mistake in the input is one line on stderr and exit code 2."""
    with ends():
        cli(standalone_mode=False)
