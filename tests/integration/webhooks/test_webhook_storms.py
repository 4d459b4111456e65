"""Many webhooks at once while a process dies: each sender that got 200 has a row, and no request hangs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import psutil
import psycopg2
import pytest
import requests

from app.runtime.group_commit import LEADERS_MAX
from testbed.servers import Databases, Servers
from testbed.shop import Shop
from testbed.stack import Stack
from testbed.waiting import wait_until

SENDERS = 16
# Enough that most of them were stored together with others.
ANSWERS = 300
SILENCE_SECONDS = 20


class Storm:
    """Senders that post one webhook after the other, each on a connection of its own, until it breaks or is over."""

    def __init__(self, url: str, shop: Shop) -> None:
        self._url = url
        self._shop = shop
        self._body = shop.body(shop.deposit())
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(SENDERS)]
        # What each delivery was answered with, by its id, and what was missing from an answer.
        self.answers: dict[str, int] = {}
        self.faults: list[str] = []

    def _send(self, sender: int) -> None:
        number = 0
        with requests.Session() as session:
            while not self._is_over.is_set():
                number += 1
                webhook_id = f"msg_{sender}_{number}"
                try:
                    self.answers[webhook_id] = self.post(session, webhook_id)
                except requests.Timeout:
                    self.faults.append(f"{webhook_id} was never answered")
                except requests.RequestException:
                    # The connection broke, perhaps in the middle of an answer.
                    return

    def post(self, session: requests.Session, webhook_id: str) -> int:
        """Send a delivery and return the status of its answer."""
        headers = self._shop.sign(self._body, webhook_id)
        answer = session.post(self._url, data=self._body, headers=headers, timeout=SILENCE_SECONDS)
        if answer.status_code == 503 and "Retry-After" not in answer.headers:
            self.faults.append(f"{webhook_id}: 503 without Retry-After")
        return answer.status_code

    def start(self) -> None:
        """Begins, and returns once it rages."""
        for thread in self._threads:
            thread.start()
        self.wait_for(ANSWERS)

    def wait_for(self, more: int) -> None:
        """Wait for so many answers more."""
        before = len(self.answers)
        wait_until(lambda: len(self.answers) >= before + more, f"{more} answers")

    def end(self) -> None:
        """Wait until every sender has ended."""
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def accepted(self) -> set[str]:
        """Return the ids of the deliveries that were answered 200."""
        return {webhook_id for webhook_id, status in self.answers.items() if status == 200}


@pytest.fixture
def web_stack(servers: Servers) -> Iterator[Stack]:
    with servers.open_databases() as opened, Stack.open(opened) as stack:
        stack.start("web")
        yield stack


@pytest.fixture
def storm(web_stack: Stack) -> Iterator[Storm]:
    made = Storm(f"{web_stack.web}/webhooks/payment-callback", web_stack.make_shop())
    made.start()
    yield made
    made.end()


def stored(databases: Databases) -> set[str]:
    """Return the ids of the stored webhooks, each with its work; fail where hardly any shared a commit."""
    rows = databases.rows(
        "select h.external_id, h.xmin::text as commit from payment_webhooks h"
        " join webhook_work w on w.webhook_id = h.id join webhook_keys k on k.webhook_id = h.id"
    )
    assert len({row["commit"] for row in rows}) < len(rows) * 0.8
    found = {row["external_id"] for row in rows}
    assert len(found) == len(rows)
    return found


@contextlib.contextmanager
def commits_held(databases: Databases) -> Iterator[None]:
    """Let no webhook be stored for the block; return once the groups under way wait for it."""
    waiting = "select count(*) from pg_stat_activity where datname = :name and wait_event_type = 'Lock'"
    with contextlib.closing(psycopg2.connect(databases.superuser_url)) as connection, connection.cursor() as cursor:
        cursor.execute("lock table webhook_keys in exclusive mode")
        wait_until(lambda: databases.value(waiting, name=databases.name) == LEADERS_MAX, "all turns are taken")
        yield
        connection.rollback()


def test_a_web_process_that_is_killed_has_stored_what_it_answered(web_stack: Stack, storm: Storm) -> None:
    # The one that serves, not the one that watches over it: that one starts another.
    (worker,) = psutil.Process(web_stack.running["web"].pid).children()
    with commits_held(web_stack.databases):
        worker.kill()
        storm.end()
    assert len(storm.accepted()) >= ANSWERS
    assert storm.accepted() <= stored(web_stack.databases)
    assert set(storm.answers.values()) == {200}


def test_a_web_process_that_is_stopped_answers_what_it_stored(web_stack: Stack, storm: Storm) -> None:
    web_stack.stop("web")
    storm.end()
    assert stored(web_stack.databases) == storm.accepted()
    assert set(storm.answers.values()) == {200}
    assert storm.faults == []


def end_sessions(databases: Databases) -> None:
    """End every session of the application, as a restart of the database does."""
    databases.rows(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = :name and application_name = 'sluice' and pid <> pg_backend_pid()",
        name=databases.name,
    )


def test_connections_that_die_cost_a_new_try_and_nothing_else(web_stack: Stack, storm: Storm) -> None:
    databases = web_stack.databases
    for _ in range(10):
        end_sessions(databases)
        storm.wait_for(50)
    storm.end()
    assert set(storm.answers.values()) == {200, 503}
    assert storm.faults == []
    assert storm.accepted() <= stored(databases)
    with requests.Session() as session:
        again = {webhook_id for webhook_id, status in storm.answers.items() if status == 503}
        assert {storm.post(session, webhook_id) for webhook_id in again} == {200}
    assert stored(databases) == set(storm.answers)


def test_a_database_that_only_reads_is_no_error_of_ours(web_stack: Stack) -> None:
    """As after a fail-over to a standby: the answer makes the sender retry."""
    shop = web_stack.make_shop()
    storm = Storm(f"{web_stack.web}/webhooks/payment-callback", shop)
    login = f"alter role sluice_login_web in database {web_stack.databases.name}"
    with requests.Session() as session:
        web_stack.databases.rows(f"{login} set default_transaction_read_only = on")
        end_sessions(web_stack.databases)
        # The first try may find that its session has ended.
        assert {storm.post(session, "msg_1") for _ in range(3)} == {503}
        web_stack.databases.rows(f"{login} reset default_transaction_read_only")
        end_sessions(web_stack.databases)
        wait_until(lambda: storm.post(session, "msg_1") == 200, "it is stored")
    assert storm.faults == []
