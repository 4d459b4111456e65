"""Logs: one JSON object per line, escaped, with secrets taken out."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

# Credentials that may stand in a message or an exception: keys, tokens, webhook secrets, passwords in URLs.
_SECRETS = re.compile(
    r"(sk_|ct_|whsec_|sbk_)[A-Za-z0-9+/=._~-]{6,}|(?<=://)[^\s/@:]*:[^\s/@]+(?=@)|(?i:bearer)\s+[^\s\"']+"
)
# Thirteen to nineteen digits, blanks or hyphens between them: the form of a card number.
_CARD = re.compile(r"(?<![0-9A-Za-z-])(?:\d[ -]?){12,18}\d(?![0-9A-Za-z-])")


def _passes_luhn(digits: str) -> bool:
    total = 0
    for place, character in enumerate(reversed(digits)):
        digit = int(character)
        if place % 2:
            digit = digit * 2 - 9 if digit > 4 else digit * 2
        total += digit
    return total % 10 == 0


def redact(text: str) -> str:
    """Returns `text` with credentials and card-like numbers (Luhn) masked."""

    def mask_card(match: re.Match[str]) -> str:
        digits = re.sub(r"[ -]", "", match.group())
        return f"[card ...{digits[-4:]}]" if _passes_luhn(digits) else match.group()

    return _CARD.sub(mask_card, _SECRETS.sub("[secret]", text))


def _redact_event(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str) and key not in ("timestamp", "level"):
            event[key] = redact(value)
    return event


def _name_process(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["process"] = os.environ.get("SLUICE_PROCESS", "sluice")
    return event


def configure_logging() -> None:
    """Sends structlog's and the standard library's logs to standard error, one JSON object per line."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _name_process,
    ]
    final: list[Any] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        _redact_event,
        structlog.processors.JSONRenderer(default=str),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=final))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(os.environ.get("SLUICE_LOG_LEVEL", "INFO").upper())
    # What these say at INFO is one line per request or task: too much for what it tells.
    for noisy in ("celery", "kombu", "amqp", "urllib3", "granian", "granian.access", "_granian", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
