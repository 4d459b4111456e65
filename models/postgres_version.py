"""The versions of PostgreSQL that Sluice works with; migrations, the doctor and the documents take them from here."""

from __future__ import annotations

from sqlalchemy import Connection, text

# 14 and older let PUBLIC create in schema `public` and have no view that runs with its caller's rights.
MAJOR_MIN = 15
# The embedded server's, and so what every test runs against.
MAJOR_BEST = 18


class UnsupportedServer(RuntimeError):
    """The server's version is older than MAJOR_MIN."""


def read_version(connection: Connection) -> tuple[int, str]:
    """Return the server's major version, and its version in words."""
    number = int(connection.execute(text("show server_version_num")).scalar_one())
    return number // 10_000, f"version {number // 10_000}.{number % 10_000}"


def check_version(connection: Connection) -> str:
    """Return the server's version in words. Raise UnsupportedServer where it is too old."""
    major, version = read_version(connection)
    if major < MAJOR_MIN:
        raise UnsupportedServer(
            f"PostgreSQL {version} is too old: {MAJOR_MIN} or newer is needed, {MAJOR_BEST} recommended"
        )
    return version
