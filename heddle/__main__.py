"""`python -m heddle` is the command."""

from .cli import main

main()
