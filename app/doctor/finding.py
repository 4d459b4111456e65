"""The result of a check of `sluice doctor`."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """Severity: FAIL does harm now, WARN may do harm, OK was checked and is fine."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. `detail` describes the state, and for WARN and FAIL the remedy."""

    level: Level
    check: str
    detail: str


def ok(check: str, detail: str) -> Finding:
    """Return a finding of level OK."""
    return Finding(Level.OK, check, detail)


def warn(check: str, detail: str) -> Finding:
    """Return a finding of level WARN."""
    return Finding(Level.WARN, check, detail)


def fail(check: str, detail: str) -> Finding:
    """Return a finding of level FAIL."""
    return Finding(Level.FAIL, check, detail)


def expect(
    check: str, is_fine: object, fine: str, problem: str, judge: Callable[[str, str], Finding] = fail
) -> Finding:
    """Return OK with the detail `fine` if `is_fine`, else FAIL, or what `judge` returns, with `problem`."""
    return ok(check, fine) if is_fine else judge(check, problem)


def is_loopback(host: str | None) -> bool:
    """Return whether `host` is this machine; an empty one means a unix socket."""
    if not host or host.startswith("/") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
