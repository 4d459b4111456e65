"""Timestamps in the form that the sandbox stores and shows: RFC 3339, UTC."""

from __future__ import annotations

from datetime import UTC, datetime

from sandbox.values.refusal import Refusal


def render(moment: datetime) -> str:
    """Return RFC 3339 UTC with six fraction digits, which sorts as text."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def now() -> str:
    """Return the current time in the stored form."""
    return render(datetime.now(UTC))


def parse(text: object, field: str) -> str:
    """Return an RFC 3339 time with an offset in the stored form.

    Raise Refusal 422 that names `field`.
    """
    if isinstance(text, str) and "T" in text:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = None
        if moment is not None and moment.tzinfo is not None:
            return render(moment)
    raise Refusal(422, "invalid_field", f"{field} must be an RFC 3339 time with an offset")


def to_seconds(text: str) -> float:
    """Return a time in the stored form as seconds since 1970."""
    return datetime.fromisoformat(text).timestamp()


def to_epoch(text: str) -> int:
    """Return a time in the stored form as whole seconds since 1970."""
    return int(to_seconds(text))


def from_epoch(seconds: float) -> str:
    """Return seconds since 1970 in the stored form."""
    return render(datetime.fromtimestamp(seconds, UTC))
