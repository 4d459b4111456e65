"""One JSON object per line, gunicorn's own lines included, without addresses' queries and credentials."""

from __future__ import annotations

import logging
import os
import re
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

# Queries hold tickets; credentials begin with their kind.
_QUERY = re.compile(r"\?[^\s'\"]*")
_CREDENTIAL = re.compile(r"\b(sk|ct|whsec)_[A-Za-z0-9._~+/=-]+")


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Returns the event with queries and credentials cut out of every text."""
    return {
        name: _CREDENTIAL.sub(r"\1_...", _QUERY.sub("?...", value)) if isinstance(value, str) else value
        for name, value in event.items()
    }


_SHARED: list[Any] = [
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
    redact,
]


def make_formatter() -> logging.Formatter:
    """Returns the formatter for lines of the standard library's logging."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
    )


def configure_logs() -> None:
    """Sends this process's own lines to the error output as JSON, from SLUICE_LOG_LEVEL upwards."""
    level = logging.getLevelNamesMapping().get(os.environ.get("SLUICE_LOG_LEVEL", "INFO").upper(), logging.INFO)
    structlog.configure(
        processors=[*_SHARED, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


LOG_CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": make_formatter}},
    "handlers": {"errors": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}},
    "root": {"level": "WARNING", "handlers": ["errors"]},
    "loggers": {"gunicorn.error": {"level": "WARNING", "handlers": ["errors"], "propagate": False}},
}
