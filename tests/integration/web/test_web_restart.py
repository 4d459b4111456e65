"""The web process starts and ends without a caller noticing more than a refused connection (CONTRACT section 1)."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import requests

from app.local.spawn import read_log_tail
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.support.availability import AvailabilityProbe, probing, wait_until_answered
from tests.support.clients.api import Api

pytestmark = pytest.mark.serial

# Far below the ten seconds that the waiting requests asked for.
SOON_SECONDS = 4.0
# A held caller would wait for the boot of the process, some seconds; an accepted one is answered at once.
ANSWER_SECONDS = 1.5


@pytest.fixture(autouse=True)
def web(stack: Stack) -> None:
    """Start a web process for each test, which may end it."""
    if "web" not in stack.running or stack.running["web"].poll() is not None:
        stack.running.pop("web", None)
        stack.start("web")


@pytest.fixture
def own_api(stack: Stack) -> Api:
    """Provide a tenant's backend on the stack."""
    return Api(stack.web, stack.make_shop().secret_key)


@pytest.fixture
def probes(stack: Stack) -> Iterator[list[AvailabilityProbe]]:
    """Callers of the web process, calling."""
    with probing(stack.ports.web) as calling:
        yield calling


def test_waiting_requests_are_answered_when_web_is_stopped(stack: Stack, own_api: Api) -> None:
    payment = own_api.deposit().json()
    path = f"/api/payments/{payment['id']}"
    with ThreadPoolExecutor(8) as pool:
        deposits = [pool.submit(own_api.deposit, headers={"Prefer": "wait=10"}) for _ in range(5)]
        reads = [pool.submit(own_api.get, path, wait="10", until="ended") for _ in range(3)]
        count = "select count(*) from payment_transactions"
        wait_until(lambda: stack.databases.value(count) >= 6, "the deposits are stored")
        began = time.monotonic()
        stack.running["web"].terminate()
        answers = [one.result() for one in deposits + reads]
    assert time.monotonic() - began < SOON_SECONDS
    assert [answer.status_code for answer in answers] == [202] * 5 + [200] * 3
    assert {answer.json()["status"] for answer in answers} == {"pending"}
    assert stack.running["web"].wait(SOON_SECONDS) == 0
    assert "Traceback" not in read_log_tail(stack.log_path("web"), 1000)


def test_ready_says_draining_before_the_door_closes(stack: Stack) -> None:
    stack.running["web"].terminate()

    def says_draining() -> bool:
        # A connection of its own each time: it still accepts.
        answer = requests.get(f"{stack.web}/health/ready", timeout=5)
        return answer.status_code == 503 and answer.json()["failing"] == ["draining"]

    wait_until(says_draining, "the health check says so")
    assert requests.get(f"{stack.web}/health/live", timeout=5).headers["Connection"] == "close"
    assert stack.running["web"].wait(SOON_SECONDS) == 0


def test_a_restart_under_load_loses_no_answer(stack: Stack, probes: list[AvailabilityProbe]) -> None:
    for _ in range(2):
        stack.running["web"].terminate()
        assert stack.running["web"].wait(SOON_SECONDS + 2) == 0
        stack.start("web")
        wait_until_answered(probes)
    assert [probe.lost for probe in probes] == [[]] * len(probes)
    assert any(probe.refused for probe in probes)


def test_a_worker_that_is_replaced_on_hangup_refuses_nobody(stack: Stack, probes: list[AvailabilityProbe]) -> None:
    main = psutil.Process(stack.running["web"].pid)
    (old,) = main.children()
    main.send_signal(signal.SIGHUP)
    wait_until(lambda: not old.is_running(), "the old worker has gone", 40)
    wait_until_answered(probes, times=6)
    assert [probe.lost for probe in probes] == [[]] * len(probes)
    assert [probe.refused for probe in probes] == [0] * len(probes)


def connect(port: int) -> float | None:
    """Ask whether the process lives; return the seconds to its answer, or None where the connection is refused."""
    began = time.monotonic()
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")
    except ConnectionRefusedError:
        return None
    return time.monotonic() - began


@pytest.mark.parametrize("name", ["web", "sockets"])
def test_a_start_holds_and_resets_no_caller(stack: Stack, name: str) -> None:
    port = getattr(stack.ports, name)
    if name in stack.running:
        stack.stop(name)
    tries: list[float | None] = []

    def call_until_answered() -> None:
        while not tries or tries[-1] is None:
            tries.append(connect(port))
            # Short enough to meet each moment of the start, also that between two system calls.
            time.sleep(0.0002)

    # Started by this thread: a process ends with the thread that launched it.
    with ThreadPoolExecutor(1) as pool:
        calling = pool.submit(call_until_answered)
        stack.start(name)
        calling.result()
    assert len(tries) > 10
    assert tries[-1] is not None
    assert tries[-1] < ANSWER_SECONDS


def test_a_crashed_worker_leaves_no_caller_waiting_for_the_next(stack: Stack) -> None:
    main = psutil.Process(stack.running["web"].pid)
    (worker,) = main.children()
    os.kill(worker.pid, signal.SIGKILL)
    wait_until(lambda: connect_quietly(stack.ports.web) is None, "callers are refused")
    tries = []
    while not tries or tries[-1] is None:
        tries.append(connect(stack.ports.web))
        time.sleep(0.01)
    assert tries[-1] < ANSWER_SECONDS


def connect_quietly(port: int) -> float | None:
    """Connect as above; one that is reset while the crash is noticed counts as answered."""
    try:
        return connect(port)
    except (ConnectionResetError, AssertionError):
        return 0.0


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize("name", ["web", "sockets"])
def test_a_stop_while_it_starts_is_quick_and_quiet(stack: Stack, name: str, sign: signal.Signals) -> None:
    if name in stack.running:
        stack.stop(name)
    log = stack.log_path(name)
    log.unlink(missing_ok=True)
    stack.launch(name)
    running = stack.running.pop(name)
    wait_until(lambda: psutil.Process(running.pid).children(), "its worker starts")
    running.send_signal(sign)
    assert running.wait(SOON_SECONDS) == 0
    assert "Traceback" not in read_log_tail(log, 1000)
