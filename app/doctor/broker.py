"""Check Redis and Celery: what could lose, delay or forge doorbells."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

from celery import Celery
from redis.exceptions import RedisError

from app.doctor.finding import Finding, expect, fail, is_loopback, ok, warn
from app.runtime.broker.celery_app import celery_app
from app.runtime.broker.queues import BROKER_ERRORS, measure_queues, open_amqp
from app.runtime.broker.urls import configure_broker
from app.runtime.redis_client import open_client
from app.runtime.redis_urls import is_amqp
from app.runtime.runtime import connect_redis
from app.runtime.settings import Settings

VERSION_MIN = (6, 2)  # Required by the transport of Celery 5.7.
MEMORY_SHARE_MAX = 0.8  # Share of maxmemory; at the limit Redis refuses writes.
QUEUE_LENGTH_MAX = 1000  # Rings are coalesced to a few per second and queue: a thousand mean minutes without a worker.
PING_SECONDS = 1.0  # A worker answers while it runs tasks, also from another machine within milliseconds.

# Settings that doorbells rely on; the reasons are in celeryconfig.py.
_CELERY = {
    "accept_content": ["json"],
    "task_serializer": "json",
    "task_ignore_result": True,
    "result_backend": None,
    "task_acks_late": False,
    "task_reject_on_worker_lost": None,
    "worker_prefetch_multiplier": 1,
    "worker_disable_prefetch": True,
    "broker_channel_error_retry": True,
    "task_create_missing_queues": False,
}


def examine_redis(settings: Settings) -> Iterator[Finding]:
    """Yield findings about Redis, and about the broker if that is another server."""
    redis_url, broker_url = settings.required("redis_url"), settings.required("broker_url")
    yield from _examine_server("Redis", redis_url)
    if broker_url == redis_url:
        yield ok("Broker", "the same Redis; set BROKER_URL to another one before other programs use this one")
    else:
        yield from _examine_server("Broker", broker_url)


def _examine_server(name: str, url: str) -> Iterator[Finding]:
    if is_amqp(url):
        yield from _examine_rabbitmq(name, url)
        return
    client = connect_redis(url)
    try:
        state: Mapping[str, Any] = client.info()
        lengths = {queue.name: int(client.llen(queue.name)) for queue in celery_app.conf.task_queues}
    except (RedisError, OSError) as error:
        yield fail(name, f"does not answer: {error}")
        return
    finally:
        client.close()
    yield _examine_version(name, state)
    yield from _examine_memory(name, state)
    yield from _examine_access(name, url)
    yield from _examine_lengths(name, lengths)


def _examine_rabbitmq(name: str, url: str) -> Iterator[Finding]:
    parts = urllib.parse.urlsplit(url)
    try:
        with open_amqp(url) as connection:
            server = connection.connection.server_properties
        lengths = measure_queues(url)
    except BROKER_ERRORS as error:
        yield fail(name, f"does not answer: {str(error) or type(error).__name__}")
        return
    yield ok(name, f"{server.get('product', 'AMQP')} {server.get('version', '')}".strip())
    is_local = is_loopback(parts.hostname)
    if parts.username in (None, "guest"):
        yield (warn if is_local else fail)(f"{name} password", "the user is guest: create another user")
    if parts.scheme == "amqp" and not is_local:
        yield warn(f"{name} encryption", "another machine, without TLS: use amqps://")
    yield from _examine_lengths(name, lengths)


def _examine_lengths(name: str, lengths: Mapping[str, int]) -> Iterator[Finding]:
    waiting = {queue: length for queue, length in lengths.items() if length > QUEUE_LENGTH_MAX}
    if waiting:
        shown = ", ".join(f"{queue}: {length}" for queue, length in waiting.items())
        yield warn(f"{name} queues", f"too many doorbells wait ({shown}): start workers for them")


def _examine_version(name: str, state: Mapping[str, Any]) -> Finding:
    spoken = str(state.get("redis_version", "0"))
    shown = f"Valkey {state['valkey_version']}" if "valkey_version" in state else f"version {spoken}"
    if tuple(int(part) for part in spoken.split(".")[:2]) < VERSION_MIN:
        return fail(name, f"{shown} is too old: {'.'.join(map(str, VERSION_MIN))} is needed")
    if state.get("role") != "master":
        return fail(name, f"{shown} is a replica, which cannot be written to")
    return ok(name, shown)


def _examine_memory(name: str, state: Mapping[str, Any]) -> Iterator[Finding]:
    policy = state.get("maxmemory_policy")
    evicts = f"maxmemory-policy is {policy}: doorbells could be evicted; set it to noeviction"
    yield expect(f"{name} eviction", policy == "noeviction", "noeviction", evicts)
    if not state.get("aof_enabled"):
        yield warn(f"{name} persistence", "appendonly is off: after a restart work waits for the sweep")
    limit, used = int(state.get("maxmemory", 0)), int(state.get("used_memory", 0))
    if limit and used > limit * MEMORY_SHARE_MAX:
        yield warn(f"{name} memory", f"{used} of {limit} bytes are used: at the limit Redis refuses doorbells")


def _examine_access(name: str, url: str) -> Iterator[Finding]:
    """Yield whether a password and TLS protect the broker: anyone who can write to it can ring and fill it."""
    is_local = is_loopback(urllib.parse.urlsplit(url.partition(";")[0]).hostname)
    is_required, advice = not _needs_no_password(url), "none is needed: set requirepass or an ACL user"
    yield expect(f"{name} password", is_required, "required", advice, warn if is_local else fail)
    if url.startswith("redis://") and not is_local:
        yield warn(f"{name} encryption", "another machine, without TLS: use rediss://")


def _needs_no_password(url: str) -> bool:
    split = [urllib.parse.urlsplit(part) for part in url.split(";")]
    bare = ";".join(part._replace(netloc=part.netloc.rpartition("@")[2]).geturl() for part in split)
    client = open_client(bare, socket_timeout=1, socket_connect_timeout=1)
    try:
        return bool(client.ping())
    except RedisError:
        return False
    finally:
        client.close()


def examine_celery(settings: Settings) -> Iterator[Finding]:
    """Yield findings about Celery's settings and about queues without a worker."""
    wrong = [
        f"{name} is {celery_app.conf[name]!r}" for name, value in _CELERY.items() if celery_app.conf[name] != value
    ]
    options, is_redis = celery_app.conf.broker_transport_options, not is_amqp(str(celery_app.conf.broker_url))
    if is_redis and options.get("ack_emulation") is not False:
        wrong.append("ack_emulation is on")
    if not options.get("socket_timeout" if is_redis else "read_timeout"):
        wrong.append("socket_timeout is not set: a dead connection blocks without end")
    fine = "JSON only, no results, doorbells acknowledged on receipt"
    yield expect("Celery", not wrong, fine, f"{'; '.join(wrong)}: use celeryconfig.py unchanged")
    yield _examine_workers(settings.required("broker_url"))


def _examine_workers(broker_url: str) -> Finding:
    app = Celery(set_as_current=False)
    # Celery's defaults wait without limit for an unreachable broker and retry a hundred times.
    configure_broker(app, broker_url, seconds=PING_SECONDS * 2)
    try:
        answers = app.control.inspect(timeout=PING_SECONDS).active_queues() or {}
    except BROKER_ERRORS as error:
        return fail("Workers", f"cannot be queried: {error}")
    finally:
        app.close()
    served = {queue["name"] for queues in answers.values() for queue in queues}
    unserved = [queue.name for queue in celery_app.conf.task_queues if queue.name not in served]
    return expect(
        "Workers",
        not unserved,
        f"{len(answers)} answer, and every queue is served ({', '.join(sorted(answers))})",
        f"no worker serves {', '.join(unserved)}: start worker-settle, worker-provider and worker-deliver",
    )
