"""What the doctor finds."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is: FAIL will lose time or safety now, WARN may, OK was looked at and is fine."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `detail` says what is there, and for WARN and FAIL what to do."""

    level: Level
    check: str
    detail: str


def ok(check: str, detail: str) -> Finding:
    """Return that something is as it should be."""
    return Finding(Level.OK, check, detail)


def warn(check: str, detail: str) -> Finding:
    """Return that something may do harm."""
    return Finding(Level.WARN, check, detail)


def fail(check: str, detail: str) -> Finding:
    """Return that something does harm."""
    return Finding(Level.FAIL, check, detail)


def is_loopback(host: str | None) -> bool:
    """Whether only this machine is reached by `host`; an empty one means a unix socket."""
    if not host or host.startswith("/") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
