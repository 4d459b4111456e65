"""`sluice listen`: a tenant's events, printed and forwarded as they come, whatever happens to the connection."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from app.cli.listening.event_stream import read_frames
from app.cli.listening.forwarding import is_loopback
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.support.clients.live_clients import LiveClients
from tests.support.clients.notification_feed import NotificationFeed
from tests.support.commands import Commands
from tests.support.repository import ROOT
from tests.support.webhook_receiver import Received, WebhookReceiver

SECRET = "whsec_" + "c2x1aWNlLWxpc3Rlbi1zZWNyZXQtb2YtYS10ZXN0Li4="


class Listener:
    """A `sluice listen` that runs as a person runs it."""

    def __init__(self, stack: Stack, feed: NotificationFeed, folder: Path, *arguments: str) -> None:
        self.out, self.remarks = folder / "out", folder / "remarks"
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")},
            "SLUICE_HOME": str(folder),
            "SLUICE_KEY": feed.shop.secret_key,
            "SLUICE_LISTEN_SECRET": SECRET,
            "SLUICE_PUBLIC_URL": stack.web,
            "SLUICE_SOCKETS_PUBLIC_URL": stack.sockets,
        }
        with self.out.open("wb") as out, self.remarks.open("wb") as remarks:
            words = [sys.executable, "-m", "app.cli", "listen", *arguments]
            self.process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=out, stderr=remarks)

    def wait_for(self, words: str) -> str:
        """Return all remarks once they have `words`."""

        def read() -> str | None:
            text = self.remarks.read_text()
            assert self.process.poll() is None, text
            return text if words in text else None

        return wait_until(read, words)

    def stop(self) -> int:
        """End it as Ctrl-C does, which tests that run in the background do not pass on; return the exit code."""
        self.process.terminate()
        return self.process.wait(10)


@contextlib.contextmanager
def listening(stack: Stack, feed: NotificationFeed, folder: Path, *arguments: str) -> Iterator[Listener]:
    listener = Listener(stack, feed, folder, *arguments)
    try:
        yield listener
    finally:
        if listener.process.poll() is None:
            listener.process.kill()
            listener.process.wait()


def verified(received: Received) -> int:
    """Return the number of a forwarded event, which the official library must verify."""
    message = Webhook(SECRET).verify(received.body, received.headers)
    assert received.headers["webhook-id"] == f"evt_{message['id']}"
    number: int = message["id"]
    return number


def test_events_are_forwarded_signed_and_resumed_after_a_restart(
    live_stack: Stack, live: LiveClients, feed: NotificationFeed, receiver: WebhookReceiver, tmp_path: Path
) -> None:
    receiver.answer = lambda received: 500 if received.body.startswith(b'{"id": 2,') else 204
    feed.notify("ann")
    arguments = ("--forward-to", f"{receiver.url}/hook", "--after", "0", "--json")
    with listening(live_stack, feed, tmp_path, *arguments) as listener:
        receiver.wait_for(1)
        feed.notify("bob")
        receiver.wait_for(2)
        live_stack.stop("sockets")
        # What happens while nobody listens is not left out.
        feed.notify("ann")
        live_stack.start("sockets")
        wait_until(live.is_ready, "it hears hints")
        feed.notify("bob")
        received = receiver.wait_for(4)
        remarks = listener.wait_for("connected again, after event 2")
        assert listener.stop() == 0
    assert [verified(one) for one in received] == [1, 2, 3, 4]
    assert {one.path for one in received} == {"/hook"}
    assert [json.loads(line)["id"] for line in listener.out.read_text().splitlines()] == [1, 2, 3, 4]
    assert f"signed with {SECRET}" in remarks
    assert "500 Internal Server Error" in remarks
    assert "--after 4 continues here" in listener.remarks.read_text()


def test_a_person_reads_one_line_for_each_event_of_the_wanted_type(
    live_stack: Stack, feed: NotificationFeed, tmp_path: Path
) -> None:
    shown = {"id": "0198-x", "user_id": "ann", "amount": "25.00", "currency": "USD", "status": "completed"}
    feed.write("ann", "bob")
    feed.databases.rows(
        "update notifications set payload = cast(:payload as jsonb) where tenant_id = :id and user_id = 'ann'",
        payload=json.dumps(shown | {"exception": "late"}),
        id=feed.tenant_id,
    )
    feed.databases.rows(
        "update notifications set type = 'payment.failed' where tenant_id = :id and user_id = 'bob'", id=feed.tenant_id
    )
    feed.number()
    with listening(live_stack, feed, tmp_path, "--after", "0", "--type", "payment.completed") as listener:
        line = wait_until(lambda: listener.out.read_text(), "a line")
        feed.revoke_key()
        # A key that is revoked ends it: nothing would come any more.
        assert listener.process.wait(15) == 1
    parts = line.strip().split("  ")[1:]
    assert parts == ["#1", "payment.completed", "25.00 USD", "user ann", "payment 0198-x", "completed", "late"]
    assert listener.out.read_text() == line
    assert "Error: the key was revoked or has expired" in listener.remarks.read_text()


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "words"),
    [
        (("--forward-to", "https://shop.example/hook"), {}, 2, "only with --allow-remote"),
        (("--forward-to", "http://10.0.0.1/hook"), {}, 2, "only with --allow-remote"),
        (("--forward-to", "http://localhost/", "--after", "0"), {"SLUICE_LISTEN_SECRET": "short"}, 2, "whsec_"),
        ((), {"SLUICE_KEY": "sk_wrong"}, 1, "was answered 401: A valid secret key"),
        ((), {"SLUICE_KEY": ""}, 1, "no stack is ready"),
    ],
)
def test_what_cannot_be_listened_to_says_why(
    live_stack: Stack,
    feed: NotificationFeed,
    arguments: tuple[str, ...],
    environment: dict[str, str],
    code: int,
    words: str,
) -> None:
    urls = {"SLUICE_PUBLIC_URL": live_stack.web, "SLUICE_SOCKETS_PUBLIC_URL": live_stack.sockets}
    known = {"SLUICE_KEY": feed.shop.secret_key, **urls}
    assert words in Commands(live_stack.databases).error("listen", *arguments, code=code, **(known | environment))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:3000/hook", True),
        ("http://[::1]/hook", True),
        ("http://localhost/hook", True),
        ("https://shop.localhost/hook", True),
        ("http://localhost.shop.example/hook", False),
        ("http://127.0.0.1.shop.example/hook", False),
        ("http://0.0.0.0/hook", False),
        ("http://192.168.0.7/hook", False),
    ],
)
def test_only_addresses_of_this_machine_are_loopback(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected


def test_frames_are_read_as_the_standard_has_them() -> None:
    lines = [b": beat", b"", b"id: 7", b"event: payment.failed", b'data: {"a": "\xe2\x80\xa8"}', b"", b"data: cut off"]
    (frame,) = read_frames(lines)
    assert (frame.id, frame.type, json.loads(frame.data)) == (7, "payment.failed", {"a": "\u2028"})
