"""Keys, channels and commands of the broker that do not come from us: none stops the work, and none is left over."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis

from testbed.servers import Servers
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.security.broker.test_poisoned_doorbells import NO_ARGUMENTS, QUEUE, message

# The sweep rings every other second; a key of a wrong type may cost one of its rounds.
LATE_SECONDS = 10.0
CONTROL = "/{db}.celery.pidbox"


@pytest.fixture(scope="module")
def workers(servers: Servers) -> Iterator[Stack]:
    """Provide a stack with a settling worker, and with beat and the worker of the sweep that it needs."""
    with servers.open_databases() as opened, Stack.open(opened) as stack:
        stack.start("worker-settle", "worker-provider", "beat")
        yield stack


@pytest.fixture
def mill(workers: Stack) -> Stack:
    """Provide the stack with all its processes: one that ended in a test before does not fail the tests after it."""
    workers.start_ended()
    return workers


def settle_one(mill: Stack, what: str) -> None:
    """Settle one payment; fails where that takes longer than two rounds of the sweep."""
    shop = mill.make_shop()
    payment = shop.deposit()
    shop.deliver(shop.body(payment))
    mill.runtime.doorbells.ring("settle")
    wait_until(lambda: str(shop.payment(payment.id).status) == "completed", f"settled after {what}", LATE_SECONDS)


def unharmed(mill: Stack) -> None:
    """Fails where a process has ended."""
    assert {name: process.poll() for name, process in mill.running.items()} == dict.fromkeys(mill.running)


def test_a_worker_that_ended_is_seen_and_replaced(workers: Stack) -> None:
    ended = workers.running["worker-settle"]
    ended.kill()
    ended.wait()
    with pytest.raises(AssertionError):
        unharmed(workers)
    workers.start_ended()
    settle_one(workers, "the end of a worker")
    unharmed(workers)


WRITES: dict[str, Callable[[Redis, str], Any]] = {
    "text": lambda redis, key: redis.set(key, "x"),
    "a hash": lambda redis, key: redis.hset(key, "field", "x"),
    "a set": lambda redis, key: redis.sadd(key, "x"),
    "a list": lambda redis, key: redis.lpush(key, "x", "\x06\x16", "y"),
    "a sorted set": lambda redis, key: redis.zadd(key, {"x": 1}),
    "a stream": lambda redis, key: redis.xadd(key, {"x": "y"}),
}
KEYS = (
    *("ring.settle", "ring.provider", "ring.notify", "ring.sweep"),
    *("bell:settle", "bell:provider", "bell:notify"),
    *("unacked", "unacked_index", "unacked_mutex", "_kombu.binding_deadlines"),
    *("_kombu.binding.ring.settle", "_kombu.binding_permanent.ring.settle", "_kombu.binding.ring.sweep"),
    *("_kombu.binding.celery.pidbox", "_kombu.binding.celeryev", "_kombu.binding.reply.celery.pidbox"),
)


@pytest.mark.parametrize("kind", WRITES)
def test_keys_of_a_wrong_type_are_replaced_while_work_is_done(mill: Stack, kind: str) -> None:
    redis = mill.runtime.redis
    for key in KEYS:
        redis.delete(key)
        WRITES[kind](redis, key)
    settle_one(mill, kind)
    wait_until(
        lambda: all(redis.type(key) in (b"list", b"none") for key in KEYS if key.startswith("ring.")),
        "the queues are lists again",
    )
    unharmed(mill)


@pytest.mark.parametrize("key", ["ring.settle", "_kombu.binding.ring.settle", "_kombu.binding.celery.pidbox"])
def test_a_worker_that_starts_replaces_keys_of_a_wrong_type(servers: Servers, key: str) -> None:
    with servers.open_databases() as opened, Stack.open(opened) as stack:
        stack.runtime.redis.set(key, "x")
        stack.start("worker-settle")
        settle_one(stack, key)
        unharmed(stack)


COMMANDS: dict[str, dict[str, Any]] = {
    "shutdown": {},
    "cancel_consumer": {"queue": QUEUE},
    "rate_limit": {"task_name": "tasks.settle", "rate_limit": "1/h"},
    "time_limit": {"task_name": "tasks.settle", "hard": 0.001, "soft": 0.0001},
    "pool_shrink": {"n": 100},
    "pool_restart": {"reload": True},
    "revoke": {"task_id": "x", "terminate": True},
    "terminate": {"signal": "KILL", "task_id": "x"},
    "add_consumer": {"queue": "other"},
    "objgraph": {},
    "no such command": {"a": 1},
    "ping": {"unexpected": 1},
}


def broadcast(mill: Stack, content: bytes | str) -> None:
    database = mill.runtime.redis.connection_pool.connection_kwargs.get("db", 0)
    mill.runtime.redis.publish(CONTROL.format(db=database), content)


def command(method: object, arguments: object, **more: Any) -> str:
    """Return a remote control command as Celery broadcasts it."""
    body = json.dumps({"method": method, "arguments": arguments, "destination": None, "matcher": None, **more})
    sent = message(body.encode(), clock=1, expires=0)
    sent["properties"]["delivery_info"] = {"exchange": "celery.pidbox", "routing_key": ""}
    return json.dumps(sent)


@pytest.mark.parametrize("method", COMMANDS)
def test_a_broadcast_command_changes_nothing(mill: Stack, method: str) -> None:
    broadcast(mill, command(method, COMMANDS[method]))
    for _ in range(2):
        settle_one(mill, method)
    unharmed(mill)


BROADCASTS: dict[str, bytes | str] = {
    "nothing": b"",
    "binary": b"\xff\x00\xfe",
    "deep JSON": "[" * 200_000,
    "a number": "42",
    "an object": "{}",
    "no body": json.dumps({"properties": {}, "headers": {}}),
    "a method that is no text": command({"a": 1}, {}),
    "arguments that are none": command("ping", [1, 2]),
    "a reply that goes nowhere": command("ping", {}, reply_to=7),
    "a destination that is none": command("ping", {}, destination=7, matcher=7, pattern=7),
    "a clock that is none": json.dumps({**json.loads(command("ping", {})), "headers": {"clock": "x", "expires": "x"}}),
}


@pytest.mark.parametrize("kind", BROADCASTS)
def test_an_odd_broadcast_is_ignored(mill: Stack, kind: str) -> None:
    broadcast(mill, BROADCASTS[kind])
    settle_one(mill, kind)
    unharmed(mill)


def odd(**changed: Any) -> dict[str, Any]:
    """Return a doorbell whose headers are changed."""
    built = message(NO_ARGUMENTS)
    built["headers"] |= changed
    return built


def in_place(path: str, value: Any) -> dict[str, Any]:
    """Return a doorbell with another value at `path`, which is divided by dots."""
    built = message(NO_ARGUMENTS)
    *parents, name = path.split(".")
    folder = built
    for parent in parents:
        folder = folder[parent]
    folder[name] = value
    return built


DEEP = "[" * 100_000
DOORBELLS: dict[str, Any] = {
    "deep JSON": DEEP,
    "a deep body": message(DEEP.encode()),
    "an id that is a list": odd(id=["x"]),
    "an id that is an object": odd(id={"a": 1}),
    "a task that is a list": odd(task=["tasks.settle"]),
    "an absurd eta": odd(eta="99999-99-99"),
    "an eta that is an object": odd(eta={"a": 1}),
    "an absurd expiry": odd(expires=1e300),
    "an expiry that is a list": odd(expires=[1]),
    "an absurd time limit": odd(timelimit=[1e-9, 1e-9]),
    "a time limit that is text": odd(timelimit="x"),
    "retries that are text": odd(retries="x"),
    "a root that is an object": odd(root_id={"a": 1}, parent_id=[1]),
    "a shadow that is an object": odd(shadow={"a": 1}),
    "stamps that are text": odd(stamped_headers="x", stamps="x"),
    "a group": odd(group={"a": 1}, group_index="x"),
    "an origin that is an object": odd(origin={"a": 1}),
    "headers that are a list": in_place("headers", [1]),
    "headers that are text": in_place("headers", "x"),
    "properties that are a list": in_place("properties", [1]),
    "a tag that is a list": in_place("properties.delivery_tag", [1]),
    "delivery information that is text": in_place("properties.delivery_info", "x"),
    "a body encoding that is none": in_place("properties.body_encoding", "rot13"),
    "a body that is a number": in_place("body", 7),
    "a body that is no base64": in_place("body", "é"),
    "a content encoding that is none": in_place("content-encoding", "klingon"),
    "a reply that is an object": in_place("properties.reply_to", {"a": 1}),
    "a correlation that is an object": in_place("properties.correlation_id", {"a": 1}),
    "a priority that is text": in_place("properties.priority", "x"),
    "a typed value": {"__type__": "datetime", "__value__": "x"},
    "a chain": message(json.dumps([[], {}, {"chain": [{"task": "tasks.settle"}] * 50}]).encode()),
    "an embedded text": message(json.dumps([[], {}, "x"]).encode()),
    "arguments that are objects": message(json.dumps([{"a": 1}, [1], {}]).encode()),
}


@pytest.mark.parametrize("kind", DOORBELLS)
def test_an_odd_doorbell_is_dropped(mill: Stack, kind: str) -> None:
    built = DOORBELLS[kind]
    mill.runtime.redis.lpush(QUEUE, built if isinstance(built, str) else json.dumps(built))
    wait_until(lambda: mill.runtime.redis.llen(QUEUE) == 0, "the message is taken")
    settle_one(mill, kind)
    unharmed(mill)
