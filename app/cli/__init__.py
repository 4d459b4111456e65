"""The `sluice` command: one module in a room of `app.cli.commands` per command, found by its name."""

from app.cli.root import main

__all__ = ["main"]
