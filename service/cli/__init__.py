"""The `patchbay` command: serve, ask, check. Parses arguments and prints; every decision is made below."""

from service.cli.main import main

__all__ = ["main"]
