"""Translates Redis URLs between the two clients that read them."""

from __future__ import annotations


def kombu_url(url: str) -> str:
    """Returns `url` as Celery's transport spells it: redis-py says `unix://path`, kombu `redis+socket://path`."""
    return "redis+socket://" + url.removeprefix("unix://") if url.startswith("unix://") else url
