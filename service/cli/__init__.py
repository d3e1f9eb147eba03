"""The `patchbay` command: serve, engine, ask, check, plan. Parses and prints; every decision is made below."""

from service.cli.main import main

__all__ = ["main"]
