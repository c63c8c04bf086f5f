"""The `heddle` command."""


def main() -> None:
    """Entry point."""
