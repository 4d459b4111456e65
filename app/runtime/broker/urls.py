"""Celery's connection to the broker: kombu's URL and transport options."""

from __future__ import annotations

from typing import Any

from celery import Celery

from app.runtime.redis_client import sentinel_options
from app.runtime.redis_urls import is_amqp, kombu_url, read_sentinels

__all__ = ["broker_options", "configure_broker", "kombu_url"]


def broker_options(url: str, *, seconds: float) -> dict[str, Any]:
    """Return the transport options for a broker; `seconds` limits reads and writes, which have none by default."""
    if is_amqp(url):
        return {"connect_timeout": seconds, "read_timeout": seconds, "write_timeout": seconds}
    options: dict[str, Any] = {
        # Doorbells may be lost, so acknowledgements are off: they cost four Redis commands each.
        "ack_emulation": False,
        "socket_connect_timeout": 0.5,
        "socket_timeout": seconds,
        "socket_keepalive": True,
        "priority_steps": [0],
    }
    if url.startswith("sentinel://"):
        found = read_sentinels(url)
        options |= {"master_name": found.master_name, "sentinel_kwargs": sentinel_options(found)}
    return options


def configure_broker(app: Celery, url: str, *, seconds: float) -> None:
    """Configure an application for a broker."""
    app.conf.broker_url = kombu_url(url)
    app.conf.broker_transport_options = broker_options(url, seconds=seconds)
