"""Options and value types that several commands share."""

from __future__ import annotations

import datetime
import re
import urllib.parse
from collections.abc import Callable
from typing import Any, TypeVar

import click

from app.providers.registry import list_names
from app.services.tenants.changes import local_actor

_F = TypeVar("_F", bound=Callable[..., Any])

LIMIT = 50  # One or two screens.
LIMIT_MAX = 10_000  # Some megabytes of JSON; for more, query the database.

_DURATION = re.compile(r"([0-9]{1,9})([smhd]?)", re.ASCII)
_UNIT_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


class Duration(click.ParamType[int]):
    """Seconds, written `90`, `90s`, `15m`, `24h` or `7d`; at most `seconds_max`."""

    name = "duration"

    def __init__(self, seconds_max: int) -> None:
        self.seconds_max = seconds_max

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = _DURATION.fullmatch(value)
        if not match:
            self.fail(f"{value!r} is no duration such as 90s, 15m, 24h or 7d", param, ctx)
        seconds = int(match.group(1)) * _UNIT_SECONDS[match.group(2)]
        if seconds > self.seconds_max:
            self.fail(f"{value} is longer than {self.seconds_max // 3600} hours", param, ctx)
        return seconds


class WebAddress(click.ParamType[str]):
    """An absolute http or https URL."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            parts = urllib.parse.urlsplit(value)
            is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_good = False
        if not is_good:
            self.fail(f"{value!r} is no URL such as https://shop.example/paid", param, ctx)
        return str(value)


class AdapterName(click.ParamType[str]):
    """The name of an installed adapter; whether that can be used is found when it is."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        names = list_names()
        if value not in names:
            self.fail(f"{value!r} is not installed; there are {', '.join(names)}", param, ctx)
        return str(value)


class Moment(click.ParamType[datetime.datetime]):
    """A time: RFC 3339, or only a date; without an offset it is UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime.datetime:
        if isinstance(value, datetime.datetime):
            return value
        try:
            moment = datetime.datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time such as 2026-01-31 or 2026-01-31T12:00:00Z", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


class End(click.ParamType[datetime.datetime]):
    """A time in the future, as a time or as a duration from now; at most ten years ahead."""

    name = "end"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime.datetime:
        if isinstance(value, datetime.datetime):
            return value
        now = datetime.datetime.now(datetime.UTC)
        if _DURATION.fullmatch(value):
            moment = now + datetime.timedelta(seconds=Duration(10 * 366 * 86_400).convert(value, param, ctx))
        else:
            moment = Moment().convert(value, param, ctx)
        if moment <= now:
            self.fail(f"{value} is not in the future", param, ctx)
        return moment


def tenant_option(*, required: bool = False) -> Callable[[_F], _F]:
    """Add `--tenant`, a name or an id."""
    text = "Name or id." if required else "Name or id; all tenants without it."
    return click.option("--tenant", metavar="TENANT", required=required, help=text)


def limit_option(function: _F) -> _F:
    """Add `--limit`, how many rows to print."""
    kind = click.IntRange(1, LIMIT_MAX)
    return click.option("--limit", type=kind, default=LIMIT, show_default=True, help="How many at most.")(function)


def operator() -> str:
    """Return the command line's actor for the audit."""
    return local_actor()
