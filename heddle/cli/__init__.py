"""The `heddle` command: one file per subcommand."""

import sys
from importlib import import_module

import click

from .. import HeddleError

COMMANDS = [
    "run", "generate", "check", "kv-report", "compile", "list", "lint", "explain", "simulate", "report", "cosim",
    "bench", "verilog", "registers", "configs",
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


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="heddle")
def cli() -> None:
    """Transformers on accelerators that exist twice: one program, the same bits and the same cycles in both."""


def main() -> None:
    """Entry point. A mistake in the input is one line on stderr and exit code 2."""
    try:
        cli(standalone_mode=False)
    except HeddleError as error:
        click.echo(f"heddle: {error}", err=True)
        sys.exit(2)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("heddle: stopped", err=True)
        sys.exit(130)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        sys.stderr.close()
        sys.exit(0)
