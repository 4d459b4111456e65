"""Every kind of client sees each event of a stream at once, with nothing that has to be set for it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import requests
import sseclient

from app.local.spawn import reserve_ports
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.support.clients.notification_feed import NotificationFeed, make_feed
from tests.support.programs import find_program

# What a client that collects a block of some kilobytes would still hold back.
EVENTS = 3
# A client that has nothing to read for this long was not sent what it waits for.
READ_SECONDS = 10

Lines = Iterator[str]
Reader = Callable[[str, dict[str, str]], contextlib.AbstractContextManager[Lines]]

NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass {upstream}; proxy_http_version 1.1; proxy_ignore_headers X-Accel-Buffering; }}
  }}
}}
"""


@contextlib.contextmanager
def read_by_requests(url: str, headers: dict[str, str]) -> Iterator[Lines]:
    with requests.get(url, headers=headers, stream=True, timeout=READ_SECONDS) as answer:
        yield answer.iter_lines(decode_unicode=True)


@contextlib.contextmanager
def read_by_urllib(url: str, headers: dict[str, str]) -> Iterator[Lines]:
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  # an http URL of this test
    with urllib.request.urlopen(request, timeout=READ_SECONDS) as answer:  # noqa: S310
        yield (line.decode().rstrip("\n") for line in answer)


@contextlib.contextmanager
def read_by_httpx(url: str, headers: dict[str, str]) -> Iterator[Lines]:
    with httpx.stream("GET", url, headers=headers, timeout=READ_SECONDS) as answer:
        yield answer.iter_lines()


@contextlib.contextmanager
def read_by_sseclient(url: str, headers: dict[str, str]) -> Iterator[Lines]:
    with requests.get(url, headers=headers, stream=True, timeout=READ_SECONDS) as answer:
        client = sseclient.SSEClient(answer)
        yield (line for event in client.events() for line in (f"event: {event.event}", f"data: {event.data}"))


@contextlib.contextmanager
def read_by_curl(url: str, headers: dict[str, str]) -> Iterator[Lines]:
    # -N: curl itself writes to a pipe in blocks.
    words = [find_program("curl", "curl"), "-sNm", str(READ_SECONDS), url]
    for name, value in headers.items():
        words += ["-H", f"{name}: {value}"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as curl:
        assert curl.stdout is not None
        try:
            yield (line.rstrip("\n") for line in curl.stdout)
        finally:
            curl.kill()


READERS = (read_by_requests, read_by_urllib, read_by_httpx, read_by_sseclient, read_by_curl)


@pytest.fixture(scope="module")
def proxy(live_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Provide the base URL of nginx in front of the sockets process, buffering, without a header that forbids it."""
    folder: Path = tmp_path_factory.mktemp("nginx")
    (port,) = reserve_ports(1)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, upstream=live_stack.sockets))
    words = [find_program("nginx-light", "nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with subprocess.Popen([*words, "-e", str(folder / "error.log")]) as nginx:
        url = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            assert nginx.poll() is None, (folder / "error.log").read_text(encoding="utf-8")
            with contextlib.suppress(requests.ConnectionError):
                return requests.get(f"{url}/health/live", timeout=5).ok
            return False

        wait_until(answers, "nginx answers")
        yield url
        nginx.terminate()


def see_each_event_at_once(base: str, feed: NotificationFeed, reader: Reader) -> None:
    """Write an event only when the one before it was read: one that is held back is never followed by another."""
    headers = {"Authorization": f"Bearer {feed.shop.secret_key}"}
    with reader(f"{base}/api/stream?after=0", headers) as lines:
        datas = (json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: "))
        assert next(datas)["type"] == "hello"
        for number in range(1, EVENTS + 1):
            feed.notify("ann")
            assert next(datas)["id"] == number


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__.removeprefix("read_by_"))
def test_a_client_sees_each_event_at_once(live_stack: Stack, feed: NotificationFeed, reader: Reader) -> None:
    see_each_event_at_once(live_stack.sockets, feed, reader)


def test_a_proxy_passes_each_event_on_at_once(live_stack: Stack, proxy: str) -> None:
    for reader in READERS:
        see_each_event_at_once(proxy, make_feed(live_stack), reader)
