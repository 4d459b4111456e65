"""Settings of one sandbox process, read from the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Waits between attempts, as in CONTRACT section 6: 5 s, 30 s, 2 min, 10 min, 1 h.
DEFAULT_RETRY_SECONDS = (5.0, 30.0, 120.0, 600.0, 3600.0)
# The sandbox's port in CONTRACT section 1.
DEFAULT_PORT = 8001
DEFAULT_BIND = "127.0.0.1"
_EVERY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, never bound to


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """Settings of one sandbox process, read once at its start."""

    directory: Path
    public_url: str
    control_key: str | None
    retry_seconds: tuple[float, ...]
    bind: str
    port: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> SandboxSettings:
        """Read the settings from environment variables.

        Raise ValueError, naming the variable, when a value cannot be used.
        """
        bind = environment.get("SLUICE_BIND") or DEFAULT_BIND
        port = _port(environment.get("SLUICE_SANDBOX_PORT") or str(DEFAULT_PORT))
        return cls(
            directory=Path(environment.get("SANDBOX_DATA") or ".sluice/sandbox").absolute(),
            public_url=(environment.get("SLUICE_SANDBOX_PUBLIC_URL") or _own_url(bind, port)).rstrip("/"),
            control_key=environment.get("SANDBOX_CONTROL_KEY") or None,
            retry_seconds=_retry_seconds(environment.get("SANDBOX_RETRY_SECONDS")),
            bind=bind,
            port=port,
        )


def _port(text: str) -> int:
    if re.fullmatch(r"(?:tcp|udp|sctp)://\S+:[0-9]+", text, re.ASCII):
        # Kubernetes sets such an address for a Service of this name; it is not this process's port.
        return DEFAULT_PORT
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise ValueError(f"SLUICE_SANDBOX_PORT must be a port number, not {text!r}")
    return int(text)


def _own_url(bind: str, port: int) -> str:
    """Return the URL under which a browser on this machine reaches the bound address."""
    host = "127.0.0.1" if bind in _EVERY_ADDRESS else bind
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _retry_seconds(text: str | None) -> tuple[float, ...]:
    if not text:
        return DEFAULT_RETRY_SECONDS
    try:
        seconds = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"SANDBOX_RETRY_SECONDS must be seconds divided by commas, not {text!r}") from None
    if not all(0 <= value < float("inf") for value in seconds):
        raise ValueError("SANDBOX_RETRY_SECONDS must hold finite seconds of zero or more")
    return seconds
