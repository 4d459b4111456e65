"""The `sluice` command; each of its commands is a module in a package below `app.cli.commands`, found by its name."""

from app.cli.root import main

__all__ = ["main"]
