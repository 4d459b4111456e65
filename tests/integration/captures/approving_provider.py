"""A provider at which an approval is not yet the money: a call of ours captures it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.core.facts import Fact, FactKind
from app.core.payment import Payment
from app.providers.adapter import Account, Subject
from app.providers.adapters.sandbox import SandboxAdapter
from app.providers.calls.http_adapter import read_object
from app.providers.events import Delivered, Event, Told
from app.services.verification import prove
from testbed.shop import Shop
from tests.integration.provider_calls.odd_provider import OddProvider, encode_answer, encode_json

CAPTURE_SECONDS = 10_800


class ApprovingAdapter(SandboxAdapter):
    """Captures by POST; `approved` is a status of its own."""

    capabilities = replace(
        SandboxAdapter.capabilities, capture_within_seconds=CAPTURE_SECONDS, capture_key_seconds=86_400
    )

    def fetch(self, account: Account, subject: Subject) -> Fact:
        """Return the state."""
        body = read_object(self.send(account, "GET", f"/v1/payments/{subject.reference}"))
        return _approved(body) or super().fetch(account, subject)

    def advance(self, account: Account, subject: Subject) -> Fact:
        """Capture, with a key for each approval."""
        key = f"{subject.payment_id}:capture:{subject.approval}"
        body = read_object(
            self.send(account, "POST", f"/v1/payments/{subject.reference}/capture", b"{}", {"Idempotency-Key": key})
        )
        if body["status"] == "refused":
            return Fact(FactKind.ATTEMPT_DECLINED, body["reference"], message="No cover.")
        money = {"amount_minor": 2500, "currency": "USD"} if body["status"] == "paid" else {}
        kind = {"paid": FactKind.SUCCEEDED, "open": FactKind.PENDING}[body["status"]]
        return Fact(kind, body["reference"], **money)  # type: ignore[arg-type]

    def translate(self, delivered: Delivered) -> Sequence[Event]:
        """Return the approval, or what the sandbox's webhook says."""
        body = delivered.read_object()
        fact = _approved({"status": body.get("status"), "reference": body.get("provider_reference")})
        return (Told(uuid.UUID(body["transaction_id"]), fact),) if fact else super().translate(delivered)


def _approved(body: dict[str, Any]) -> Fact | None:
    if body.get("status") != "approved":
        return None
    return Fact(FactKind.APPROVED, body["reference"], capture_within_seconds=CAPTURE_SECONDS)


# Answers to a capture, and to a lookup.
CAPTURED = encode_json(200, reference="ref_1", status="paid")
REFUSED = encode_json(200, reference="ref_1", status="refused")
NO_OUTCOME = encode_json(200, reference="ref_1", status="open")
APPROVED = encode_json(200, reference="ref_1", status="approved")
AWAY = encode_answer(b"", 503)


@dataclass
class ApprovingProvider:
    """The provider of a shop, with what was sent to it."""

    odd: OddProvider

    @property
    def shop(self) -> Shop:
        """The shop."""
        return self.odd.shop

    def approve(self, payment: Payment) -> None:
        """Report that the payer has approved, and settle it."""
        fields = {"transaction_id": str(payment.id), "provider_reference": payment.provider_reference}
        self.shop.deliver(json.dumps(fields | {"status": "approved"}).encode(), "provider")
        self.odd.engine.settle()

    def pay(self, payment: Payment) -> None:
        """Report the money, and settle it."""
        self.shop.deliver(self.shop.body(payment))
        self.odd.engine.settle()

    @property
    def captures(self) -> list[tuple[str, bytes]]:
        """The key and the body of each capture that was sent, in order."""
        sent = [request.partition(b"\r\n\r\n") for request in self.odd.server.requests]
        heads = [(head.decode(), body) for head, _, body in sent if b"/capture HTTP" in head]
        return [(head.split("Idempotency-Key: ")[1].split("\r\n")[0], body) for head, body in heads]

    def row(self, payment: Payment) -> dict[str, Any]:
        """Return what is kept of the approval and the next call."""
        (row,) = self.odd.engine.databases.rows(
            "select p.approved_until, p.approvals, p.capture_sent_at, w.action, w.due_at - now() as wait, w.claim_id"
            " from payment_transactions p left join payment_work w on w.payment_id = p.id where p.id = :id",
            id=payment.id,
        )
        return row

    def assert_credited_once(self, payment: Payment) -> None:
        """Hold that the wallet has the money once, and that the books are whole."""
        done = self.shop.payment(payment.id)
        assert (done.status, done.exceptions) == ("completed", frozenset())
        assert self.odd.engine.entries(payment.id) == [("user", 2500), ("clearing", -2500)]
        report = prove(self.shop.runtime.database, "full", self.shop.tenant_id)
        assert report.is_whole, report.as_json()
