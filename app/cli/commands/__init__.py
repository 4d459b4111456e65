"""The commands: `dead_letters.py` is `sluice dead-letters` and holds it as `command`; there is no other list."""
