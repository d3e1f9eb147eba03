"""The `patchbay` command: serve, engine, ask, check, plan. Parses and prints; decides nothing itself."""

from service.cli.main import main

__all__ = ["main"]
