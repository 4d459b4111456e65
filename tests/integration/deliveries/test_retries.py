"""Attempts that fail: the schedule, what an answer means, and when an endpoint is disabled."""

from __future__ import annotations

import threading

import pytest

from app.core.deliveries.delivery_rules import ATTEMPTS_MAX, JITTER_SHARE, RETRY_SECONDS
from app.providers.calls import endpoint_posts
from tests.integration.deliveries.endpoint_requests import Backend
from tests.support.webhook_receiver import WebhookReceiver

# Between the write of a time and the query for what is left of it.
SLACK_SECONDS = 5.0


def fail_once(backend: Backend) -> None:
    """Make one delivery's next attempt now."""
    backend.make_due()
    backend.deliver()


def test_a_failing_delivery_is_tried_by_the_schedule_and_then_given_up(
    backend: Backend, receiver: WebhookReceiver
) -> None:
    receiver.answer = lambda received: 500
    backend.endpoint(receiver.url)
    backend.complete()
    for wait in RETRY_SECONDS:
        fail_once(backend)
        (left,) = backend.waits()
        assert wait - SLACK_SECONDS <= left <= wait * (1 + JITTER_SHARE)
    fail_once(backend)
    assert backend.waits() == []
    assert backend.deliveries() == [{"status": "failed", "attempts": ATTEMPTS_MAX}]
    assert len(receiver.received) == ATTEMPTS_MAX == 8


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 429, 500, 503])
def test_what_is_no_2xx_is_tried_again_and_no_redirect_is_followed(
    backend: Backend, receiver: WebhookReceiver, status: int
) -> None:
    receiver.answer = lambda received: status
    backend.endpoint(receiver.url)
    backend.complete()
    backend.deliver()
    assert backend.deliveries() == [{"status": "pending", "attempts": 1}]
    assert backend.attempts("status_code, error") == [
        {"status_code": status, "error": f"the endpoint answered {status}"}
    ]
    assert [each.path for each in receiver.received] == ["/"]


@pytest.mark.parametrize(("status", "asked", "least"), [(429, "120", 115), (500, "120", 115), (503, "1", 4)])
def test_an_endpoint_that_names_a_time_is_not_called_before_it(
    backend: Backend, receiver: WebhookReceiver, status: int, asked: str, least: int
) -> None:
    receiver.answer, receiver.answer_headers = (lambda received: status), {"Retry-After": asked}
    backend.endpoint(receiver.url)
    backend.complete()
    backend.deliver()
    (left,) = backend.waits()
    assert least <= left <= 130


def test_an_endpoint_that_asks_for_fewer_requests_is_paused(backend: Backend, receiver: WebhookReceiver) -> None:
    receiver.answer, receiver.answer_headers = (lambda received: 429), {"Retry-After": "600"}
    backend.endpoint(receiver.url)
    backend.complete()
    backend.deliver()
    backend.complete(3)
    backend.deliver()
    assert len(receiver.received) == 1
    assert [row["attempts"] for row in backend.deliveries()] == [1, 0, 0, 0]


def test_an_endpoint_that_is_gone_is_disabled_and_its_deliveries_end(
    backend: Backend, receiver: WebhookReceiver
) -> None:
    receiver.answer = lambda received: 410
    backend.endpoint(receiver.url)
    backend.complete()
    backend.deliver()
    assert backend.endpoint_state() == {"is_off": True, "disabled_reason": "gone"}
    assert backend.alarms() == ["endpoint_disabled"]
    # What comes now is not for it; what was waiting ends without a request.
    backend.databases.rows("update webhook_endpoints set disabled_at = null, disabled_reason = null")
    backend.complete(2)
    backend.databases.rows("update webhook_endpoints set disabled_at = now(), disabled_reason = 'gone'")
    backend.complete()
    backend.make_due()
    backend.deliver()
    assert [row["status"] for row in backend.deliveries()] == ["failed"] * 3
    assert len(receiver.received) == 1
    assert backend.databases.value("select count(*) from delivery_work") == 0


@pytest.mark.parametrize(("days", "is_off"), [("4.9", False), ("5.1", True)])
def test_five_days_of_failures_alone_disable_an_endpoint(
    backend: Backend, receiver: WebhookReceiver, days: str, is_off: bool
) -> None:
    receiver.answer = lambda received: 500
    backend.endpoint(receiver.url)
    backend.complete()
    backend.deliver()
    backend.databases.rows(f"update endpoint_breakers set failing_since = now() - interval '{days} days'")
    fail_once(backend)
    assert backend.endpoint_state() == {"is_off": is_off, "disabled_reason": "failing" if is_off else None}
    assert backend.alarms() == (["endpoint_disabled"] if is_off else [])


def test_a_success_begins_the_five_days_anew(backend: Backend, receiver: WebhookReceiver) -> None:
    receiver.answer = lambda received: 500 if len(receiver.received) != 2 else 200
    backend.endpoint(receiver.url)
    backend.complete()
    backend.deliver()
    backend.databases.rows("update endpoint_breakers set failing_since = now() - interval '6 days'")
    fail_once(backend)
    assert backend.databases.value("select count(*) from endpoint_breakers") == 0
    backend.complete()
    backend.deliver()
    assert backend.endpoint_state()["is_off"] is False


def test_the_first_kib_of_an_answer_is_kept(backend: Backend, receiver: WebhookReceiver) -> None:
    receiver.answer_body = b"x" * 1_500 + b"y" * 1_500
    backend.endpoint(receiver.url)
    backend.complete(2)
    backend.deliver(1)
    assert [bytes(row["answer"]) for row in backend.attempts("answer")] == [b"x" * 1_024] * 2
    assert backend.deliveries() == [{"status": "delivered", "attempts": 1}] * 2


def test_the_whole_exchange_is_bounded(
    backend: Backend, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()
    receiver.answer = lambda received: 200 if ended.wait(60) else 500
    monkeypatch.setattr(endpoint_posts, "TOTAL_SECONDS", 0.3)
    backend.endpoint(receiver.url)
    backend.complete()
    backend.deliver()
    ended.set()
    assert backend.deliveries() == [{"status": "pending", "attempts": 1}]
    (attempt,) = backend.attempts("status_code, error, milliseconds")
    assert (attempt["status_code"], "no answer within" in attempt["error"]) == (None, True)
    assert 300 <= attempt["milliseconds"] < 10_000


def test_an_endpoint_that_nothing_listens_at_fails(backend: Backend) -> None:
    backend.endpoint("http://127.0.0.1:9/hooks")
    backend.complete()
    backend.deliver()
    (attempt,) = backend.attempts("status_code, error")
    assert (attempt["status_code"], "takes" in attempt["error"] or "take" in attempt["error"]) == (None, True)
    assert backend.deliveries() == [{"status": "pending", "attempts": 1}]
