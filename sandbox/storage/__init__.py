"""The one SQLite file that holds the sandbox's state."""
