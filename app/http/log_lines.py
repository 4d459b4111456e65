"""gunicorn's own log lines: one JSON object each, without query strings, which hold tickets."""

from __future__ import annotations

import logging
import re
from typing import Any

import structlog
from gunicorn import glogging
from structlog.typing import EventDict, WrappedLogger

from app.runtime.logs import redact

_QUERY = re.compile(r"\?[^\s'\"]*")


def cut_queries(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Return the event with query strings and secrets removed from every text."""
    return {
        name: redact(_QUERY.sub("?...", value)) if isinstance(value, str) else value for name, value in event.items()
    }


class SilentAccess(glogging.Logger):  # type: ignore[misc]
    """gunicorn's logger without access lines, which it would build and drop for each head that it refuses."""

    def access(self, *_: Any) -> None:
        """Log nothing."""


def make_formatter() -> logging.Formatter:
    """Return the formatter for lines of the standard library's logging."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            cut_queries,
            structlog.processors.JSONRenderer(),
        ],
    )


LOG_CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": make_formatter}},
    "handlers": {"errors": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}},
    "root": {"level": "WARNING", "handlers": ["errors"]},
    "loggers": {"gunicorn.error": {"level": "WARNING", "handlers": ["errors"], "propagate": False}},
}
