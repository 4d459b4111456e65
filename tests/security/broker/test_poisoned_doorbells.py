"""Messages that do not come from us: none runs, none loops, none stops the worker from doing its work."""

from __future__ import annotations

import base64
import json
import pickle
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.services.webhooks import settle
from testbed.servers import Servers
from testbed.stack import Stack
from testbed.waiting import wait_until

QUEUE = "ring.settle"


class Bomb:
    """Writes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return (open, (str(self._path), "w"))


def message(
    body: bytes, content_type: str = "application/json", task: str = "tasks.settle", **headers: Any
) -> dict[str, Any]:
    """Return a message as Celery puts it into Redis, protocol 2."""
    message_id = str(uuid.uuid4())
    return {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "utf-8" if content_type == "application/json" else "binary",
        "content-type": content_type,
        "headers": {"lang": "py", "task": task, "id": message_id, "root_id": message_id, **headers},
        "properties": {
            "correlation_id": message_id,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
            "delivery_tag": message_id,
            "body_encoding": "base64",
        },
    }


NO_ARGUMENTS = json.dumps([[], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]).encode()


def poison(kind: str, marker: Path) -> bytes:
    """Return the bytes of a message of this kind."""
    bomb = pickle.dumps(Bomb(marker))
    built = {
        "pickle": message(bomb, "application/x-python-serialize"),
        "pickle by its other name": message(bomb, "application/data"),
        "yaml": message(b"!!python/object/apply:os.system ['touch x']", "application/x-yaml"),
        "no content type": message(bomb, ""),
        "unknown task": message(NO_ARGUMENTS, task="os.system"),
        "a task of Celery's own": message(json.dumps([["x"], {}, {}]).encode(), task="celery.backend_cleanup"),
        "arguments": message(json.dumps([[1, "x"], {"a": 1}, {}]).encode()),
        "a body that is no JSON": message(b"{nonsense"),
        "a body that is no list": message(b'"text"'),
        "far in the future": message(NO_ARGUMENTS, eta="2999-01-01T00:00:00+00:00"),
        "a callback": message(json.dumps([[], {}, {"callbacks": [{"task": "os.system", "args": ["x"]}]}]).encode()),
        "no headers": {**message(NO_ARGUMENTS), "headers": {}},
        "no properties": {**message(NO_ARGUMENTS), "properties": {}},
        "large": message(json.dumps([["x" * 2_000_000], {}, {}]).encode()),
    }
    raw = {
        "bytes": b"\x80\x04\x95\xff\x00",
        "a JSON number": b"42",
        "a JSON list": b"[]",
        "an empty object": b"{}",
        "nothing": b"",
    }
    return raw[kind] if kind in raw else json.dumps(built[kind]).encode()


KINDS = (
    *("pickle", "pickle by its other name", "yaml", "no content type", "unknown task", "a task of Celery's own"),
    *("arguments", "a body that is no JSON", "a body that is no list", "far in the future", "a callback"),
    *("large", "no headers", "no properties", "bytes", "a JSON number", "a JSON list", "an empty object", "nothing"),
)


@pytest.fixture(scope="module")
def worker(servers: Servers) -> Iterator[Stack]:
    """Provide a stack with a settling worker."""
    with servers.open_databases() as opened, Stack.open(opened) as stack:
        stack.start("worker-settle")
        yield stack


@pytest.fixture
def mill(worker: Stack) -> Stack:
    """Provide the stack with its worker: one that ended in a test before does not fail the tests after it."""
    worker.start_ended()
    return worker


@pytest.mark.parametrize("kind", KINDS)
def test_a_poisoned_message_does_nothing_and_the_work_continues(mill: Stack, tmp_path: Path, kind: str) -> None:
    marker = tmp_path / "ran"
    worker = mill.running["worker-settle"]
    log = mill.databases.folder / "worker-settle.log"
    said = log.stat().st_size
    mill.runtime.redis.lpush(QUEUE, poison(kind, marker))
    wait_until(lambda: mill.runtime.redis.llen(QUEUE) == 0, "the message is taken")
    shop = mill.make_shop()
    payment = shop.deposit()
    shop.deliver(shop.body(payment))
    wait_until(lambda: str(shop.payment(payment.id).status) == "completed", f"settled after {kind}", 6)
    assert worker.poll() is None, "the worker ended"
    assert not marker.exists()
    # A ring may come after the webhook that it was for was settled: the worker takes it all the same.
    wait_until(lambda: mill.runtime.redis.llen(QUEUE) == 0, "nothing is left in the queue", 6)
    wait_until(lambda: mill.runtime.redis.hlen("unacked") == 0, "nothing is left unacknowledged", 6)
    # It is spoken of once or twice, not over and over.
    assert log.stat().st_size - said < 100_000


def test_a_ring_carries_nothing_that_could_be_poisoned(mill: Stack) -> None:
    assert settle.RING_SECONDS_MAX > 0
    # No worker listens for this queue's rings: each is a message.
    mill.runtime.redis.delete("bell:notify")
    with mill.runtime.redis.monitor() as monitor:
        mill.runtime.doorbells.ring("notify")
        for seen in monitor.listen():
            if "ring.notify" in seen["command"] and "PUSH" in seen["command"].upper():
                break
    sent = json.loads(seen["command"].split(" ", 2)[2])
    assert sent["content-type"] == "application/json"
    assert json.loads(base64.b64decode(sent["body"]))[:2] == [[], {}]
