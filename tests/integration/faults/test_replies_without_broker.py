"""A worker whose broker goes away while it answers a remote control command notices it."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kombu.exceptions import OperationalError

from app.runtime.broker.celery_app import celery_app
from app.runtime.broker.remote_control import RemoteControl
from testbed.servers import NO_SYNC, new_celery, open_servers


def test_a_reply_that_the_broker_does_not_take_is_lost_at_once(tmp_path: Path) -> None:
    reply = ({"ok": "pong"}, "reply.celery.pidbox", "somebody", "ticket")
    with (
        open_servers(tmp_path, NO_SYNC) as servers,
        servers.open_redis() as url,
        contextlib.closing(new_celery(url)) as celery,
        celery.connection_for_write() as connection,
        ThreadPoolExecutor(1) as worker,
    ):
        node = RemoteControl(celery).mailbox.Node("worker@here", channel=connection.channel())
        node.reply(*reply)
        servers.valkey.stop()
        try:
            with pytest.raises(OperationalError):
                worker.submit(node.reply, *reply).result(20)
        finally:
            servers.valkey.restart()


def test_workers_answer_like_that() -> None:
    assert isinstance(celery_app.control, RemoteControl)
