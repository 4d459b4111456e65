"""Answers of a provider that cannot be used: unknown outcomes that are asked again, counted, and come to an end."""

from __future__ import annotations

import pytest

from app.core.payment import Payment
from app.providers.adapters.sandbox import SandboxAdapter
from app.services.payments.calls import call_settlement
from tests.integration.provider_calls.odd_provider import (
    ATTEMPTS,
    GOOD,
    OddProvider,
    encode_answer,
    encode_json,
)
from tests.support.engine import claim_call


def deep(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


RAISING = {
    "deep JSON": encode_answer(deep(100_000)),
    "JSON a little too deep": encode_answer(deep(40)),
    "huge JSON": encode_answer(b'{"a": "' + b"x" * 2_000_000 + b'"}'),
    "a huge number": encode_answer(b'{"a": ' + b"9" * 100_000 + b"}"),
    "a number without an end": encode_answer(b'{"a": 1e999}'),
    "NaN": encode_answer(b'{"reference": NaN}'),
    "another charset": encode_answer("{'reference': 'é'}".encode("utf-16"), Content_Type="application/json"),
    "bytes that are no text": encode_answer(b'{"reference": "\xff\xfe"}'),
    "a lone surrogate": encode_answer(b'{"reference": "\\ud800", "redirect_url": "https://pay.example/1"}'),
    "a null character": encode_answer(b'{"reference": "a\\u0000", "redirect_url": "https://pay.example/1"}'),
    "a key twice": encode_answer(b'{"reference": "a", "reference": "b"}'),
    "nothing": encode_answer(b""),
    "a page": encode_answer(b"<html>", Content_Type="text/html"),
    "a list": encode_answer(b"[]"),
    "null": encode_answer(b"null"),
    "a text": encode_answer(b'"ref"'),
    "an empty object": encode_answer(b"{}"),
    "a server error": encode_answer(b"{}", 503),
    "an absurd time to wait": encode_answer(b"{}", 503, Retry_After="Fri, 31 Dec 9999 23:59:59 -2359"),
    "a time to wait that is too long": encode_answer(b"{}", 503, Retry_After="9" * 300),
    "a redirect to nowhere": encode_answer(b"", 307, Location="http://[::1"),
    "a redirect in other bytes": encode_answer(b"", 302, Location="\xff\xfe\xc3"),
    "a length that is wrong": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
    "chunks that are none": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n{}",
    "packed": encode_answer(b"\x1f\x8b", Content_Encoding="gzip"),
    "no HTTP": b"\x00\x01\x02",
    "HTTP/0.9": b"<html>hello</html>",
}


@pytest.mark.parametrize("answer", RAISING.values(), ids=RAISING)
def test_an_answer_that_is_none_is_counted_asked_again_and_ends(odd: OddProvider, answer: bytes) -> None:
    odd.answer(answer)
    payment = odd.shop.deposit()
    odd.engine.call()
    assert odd.failures() == odd.calls
    assert odd.shop.payment(payment.id).status == "pending"
    # A call that took longer than the wait after it was made again at once.
    while odd.calls < ATTEMPTS:
        odd.call_again(payment)
    assert odd.calls == ATTEMPTS
    assert odd.engine.dead_letters(payment.id) == [("attempts_exhausted", "open")]
    assert waits_for_its_end(odd, payment)


def waits_for_its_end(odd: OddProvider, payment: Payment) -> bool:
    """Whether the payment is not asked about before its time is up."""
    query = (
        "select w.due_at = p.expires_at and w.action = 'poll' and w.claim_id is null from payment_work w"
        " join payment_transactions p on p.id = w.payment_id where p.id = :id"
    )
    return bool(odd.engine.databases.value(query, id=payment.id))


@pytest.mark.parametrize("code", ["invalid_field", "unknown_field", "invalid_json", "idempotency_key_needed"])
def test_a_refusal_of_our_request_is_for_operators_and_fails_no_payment(odd: OddProvider, code: str) -> None:
    technical = "expires_at must be an RFC 3339 time with an offset"
    odd.answer(encode_json(422, error={"code": code, "message": technical}))
    payment = odd.shop.deposit()
    odd.engine.call()
    kept = odd.shop.payment(payment.id)
    assert (kept.status, kept.failure_reason) == ("pending", None)
    assert odd.engine.dead_letters(payment.id) == [("provider_refused_us", "open")]
    ((outcome, error),) = outcomes(odd, payment)
    assert (outcome, technical in str(error), code in str(error)) == ("ProviderRefusedUs", True, True)


@pytest.mark.parametrize(
    "error", [ValueError("x"), OverflowError(), RecursionError(), KeyError("reference"), MemoryError()]
)
@pytest.mark.parametrize("call", ["create", "fetch"])
def test_whatever_a_call_raises_is_an_unknown_outcome(
    odd: OddProvider, error: Exception, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd.answer(encode_json(201, **GOOD))
    payment = odd.shop.deposit()
    if call == "fetch":
        odd.engine.call()

    def raise_it(*args: object) -> None:
        raise error

    monkeypatch.setattr(SandboxAdapter, call, raise_it)
    odd.call_again(payment)
    assert odd.failures() == 1
    assert outcomes(odd, payment)[-1] == ("OutcomeUnknown", f"the call raised {type(error).__name__}")
    for _ in range(ATTEMPTS - 1):
        odd.call_again(payment)
    assert odd.engine.dead_letters(payment.id) == [("attempts_exhausted", "open")]
    assert waits_for_its_end(odd, payment)


def outcomes(odd: OddProvider, payment: Payment) -> list[tuple[str, str | None]]:
    """Return (outcome, error) of the payment's calls, as the audit has them."""
    rows = odd.engine.databases.rows(
        "select detail->>'outcome' as outcome, detail->>'error' as error from audit_logs"
        " where payment_id = :id and kind = 'provider_call' order by id",
        id=payment.id,
    )
    return [(row["outcome"], row["error"]) for row in rows]


def test_an_answer_that_cannot_be_settled_is_asked_for_again_and_ends(
    odd: OddProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd.answer(encode_json(201, **GOOD))
    payment = odd.shop.deposit()

    def refuse(*args: object) -> None:
        raise ArithmeticError

    monkeypatch.setattr(call_settlement, "_items", refuse)
    for _ in range(ATTEMPTS):
        odd.call_again(payment)
    assert odd.engine.dead_letters(payment.id) == [("attempts_exhausted", "open")]
    assert waits_for_its_end(odd, payment)


def test_a_call_that_kills_its_worker_each_time_ends(odd: OddProvider) -> None:
    odd.answer(encode_json(201, **GOOD))
    payment = odd.shop.deposit()
    for _ in range(ATTEMPTS):
        claim = claim_call(odd.engine.runtime)
        assert claim is not None
        odd.engine.make_due(payment.id)
    odd.engine.call()
    assert odd.calls == 0
    assert odd.engine.dead_letters(payment.id) == [("attempts_exhausted", "open")]


@pytest.mark.parametrize(
    "status", [300, 301, 302, 303, 304, 307, 308, 402, 408, 409, 423, 425, 429, 500, 502, 503, 504]
)
def test_one_answer_that_may_pass_by_itself_is_asked_again_with_the_same_bytes(odd: OddProvider, status: int) -> None:
    odd.answer(encode_answer(b"", status, Location="http://127.0.0.1:1/"), encode_json(201, **GOOD))
    payment = odd.shop.deposit()
    odd.engine.call()
    assert odd.shop.payment(payment.id).status == "pending"
    odd.call_again(payment)
    assert odd.shop.payment(payment.id).redirect_url == GOOD["redirect_url"]
    assert odd.engine.dead_letters(payment.id) == []
    first, second = odd.server.requests
    assert first == second


@pytest.mark.parametrize("status", [401, 403, 404, 405, 410, 415])
def test_an_answer_about_our_configuration_is_for_a_person_at_once(odd: OddProvider, status: int) -> None:
    odd.answer(encode_json(status))
    payment = odd.shop.deposit()
    odd.engine.call()
    assert odd.engine.dead_letters(payment.id) == [("provider_refused_us", "open")]
    assert (odd.failures(), odd.alarms("provider_refused_us")) == (0, 1)


def test_a_torn_refusal_of_the_payment_does_not_fail_it(odd: OddProvider) -> None:
    odd.answer(b"HTTP/1.1 422 X\r\nContent-Length: 100\r\n\r\n{", encode_json(201, **GOOD))
    payment = odd.shop.deposit()
    odd.engine.call()
    assert odd.shop.payment(payment.id).status == "pending"
    odd.call_again(payment)
    assert odd.shop.payment(payment.id).status == "processing"


def test_an_unknown_status_is_no_outage_and_is_alarmed_once(odd: OddProvider) -> None:
    payments = [odd.start() for _ in range(6)]
    odd.answer(encode_json(200, **(GOOD | {"status": "under_review"})))
    for payment in payments:
        odd.engine.ask(payment.id)
    assert (odd.failures(), odd.alarms("provider_breaker_open")) == (0, 0)
    assert odd.alarms("provider_answer_unexpected") == 1
    assert "under_review" in str(outcomes(odd, payments[0])[-1])
    # Others are not held up, and those payments are asked about again.
    assert odd.start().status == "processing"
    paid = GOOD | {"status": "paid", "received_amount": "25.00", "currency": "USD"}
    odd.answer(encode_json(200, **paid))
    odd.engine.ask(payments[0].id)
    assert odd.shop.payment(payments[0].id).status == "completed"


def test_an_unknown_status_ends_as_a_dead_letter(odd: OddProvider) -> None:
    payment = odd.start(status="under_review")
    for _ in range(ATTEMPTS):
        odd.engine.ask(payment.id)
    assert odd.engine.dead_letters(payment.id) == [("attempts_exhausted", "open")]


def test_an_unknown_status_as_the_answer_of_a_probe_ends_the_pause(odd: OddProvider) -> None:
    payment = odd.start(status="under_review")
    odd.engine.databases.rows(
        "insert into provider_breakers (provider_id, tenant_id, failures, opens, paused_until, error)"
        " values (:id, :tenant_id, 5, 1, now() - interval '1 second', 'x')",
        id=odd.shop.provider_id,
        tenant_id=odd.shop.tenant_id,
    )
    odd.engine.ask(payment.id)
    assert (
        odd.engine.databases.value(
            "select count(*) from provider_breakers where provider_id = :id", id=odd.shop.provider_id
        )
        == 0
    )
