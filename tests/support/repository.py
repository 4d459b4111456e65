"""The folder of the repository, for tests that start commands or read documents; modules may move below it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
