"""An adapter of Acme Pay, a provider that exists nowhere: written from docs/ADAPTERS.md alone, in one file."""

from __future__ import annotations

import json
import math
import re
import urllib.parse

from app.core.errors import OutcomeUnknown, UnexpectedAnswer, Unusable
from app.core.facts import Fact, FactKind
from app.core.signatures import HMAC_HEX, Scheme
from app.core.strict_json import JsonError, loads
from app.providers import Asks, Capabilities, Credential, Ignored, Listed, Told
from app.providers.amounts import AmountTable
from app.providers.calls.answer_fields import (
    check_own_id,
    clean_message,
    read_kept_id,
    read_own_id,
    read_redirect_url,
    read_units,
)
from app.providers.calls.http_adapter import HttpAdapter, read_failure, read_object, read_rows, refuse, walk_pages
from app.providers.signing import SchemeSigned

# Acme counts whole pounds and yen, and hundredths of the rest.
AMOUNTS = AmountTable({"EUR": 2, "GBP": 0, "JPY": 0, "USD": 2})
DAYS = 3


class AcmePayAdapter(HttpAdapter, SchemeSigned):
    """Talks to Acme Pay."""

    scheme = Scheme(HMAC_HEX, header="x-acme-signature", id_field="id")
    credentials = (
        Credential("api_key", "Acme's dashboard, API keys", pattern=re.compile(r"acme_\w+"), form="begins with acme_"),
    )
    capabilities = Capabilities(
        amounts=AMOUNTS,
        idempotency_key_seconds=86_400,
        settles_within_days=DAYS,
        can_cancel=True,
        can_refund=False,
        listing="exact",
        reversals="totals",
        says_mode=True,
    )

    def read_mode(self, account):
        """Return the mode that the key says."""
        return "live" if account.credentials["api_key"].startswith("acme_live_") else "test"

    def build_request(self, order):
        """Return the body of the create call."""
        fields = {
            "order": str(order.payment_id),
            "units": AMOUNTS.to_units(order.amount_minor, order.currency),
            "currency": order.currency,
            "back": order.success_url,
            "ends": math.ceil(order.expires_at.timestamp()),
        }
        return json.dumps(fields, sort_keys=True).encode()

    def create(self, account, payment_id, request):
        """Create the payment."""
        answer = self.send(account, "POST", "/payments", request, {"Idempotency-Key": str(payment_id)})
        if answer.status == 422:
            try:
                error = loads(answer.body)
                text, field = str(error["error"]), str(error["field"])
            except (JsonError, KeyError, TypeError):
                raise read_failure(answer) from None
            return refuse(text, is_about_payment=field == "units")
        body = read_object(answer, (201,))
        fact = read_payment(body, payment_id)
        if fact.kind is not FactKind.PENDING:
            return fact
        return Fact(FactKind.ACCEPTED, fact.reference, read_redirect_url({"redirect_url": body.get("page")}))

    def fetch(self, account, subject):
        """Ask for the present state."""
        if subject.reference is None:
            rows = self.read_list(account, {"order": str(subject.payment_id)})["payments"]
            return read_payment(rows[0], subject.payment_id) if rows else Fact(FactKind.NOT_FOUND)
        answer = self.send(account, "GET", f"/payments/{urllib.parse.quote(subject.reference, safe='')}")
        if answer.status == 404:
            return Fact(FactKind.NOT_FOUND)
        return read_payment(read_object(answer), subject.payment_id)

    def list_payments(self, account, created_after, created_before):
        """Yield the payments of a period."""
        period = {"from": str(created_after.timestamp()), "to": str(created_before.timestamp())}

        def read_page(cursor):
            body = self.read_list(account, period | ({} if cursor is None else {"after": cursor}))
            return body["payments"], body.get("next")

        yield from read_rows(walk_pages(read_page), read_listed)

    def cancel(self, account, subject):
        """Void the payment."""
        reference = urllib.parse.quote(subject.reference or "", safe="")
        answer = self.send(account, "POST", f"/payments/{reference}/void", b"{}")
        if answer.status == 409:
            return self.fetch(account, subject)
        return read_payment(read_object(answer), subject.payment_id)

    def name_payment(self, path, body):
        """Return the payment that an event names."""
        shown = body.get("payment") if isinstance(body, dict) else None
        return read_own_id(shown.get("order")) if isinstance(shown, dict) else None

    def translate(self, delivered):
        """Return what an event says."""
        body = delivered.read_object()
        kind, shown = body.get("type"), body.get("payment")
        if not isinstance(kind, str) or not isinstance(shown, dict):
            raise Unusable("the event has no type or no payment")
        if kind not in ("payment", "attempt"):
            return (Ignored("of no interest"),)
        payment_id = read_own_id(shown.get("order"))
        if payment_id is None:
            return (Ignored("no payment of ours"),)
        is_live = {"live": True, "test": False}.get(str(body.get("mode")))
        if is_live is None:
            raise Unusable("the event does not say its mode")
        if kind == "attempt":
            return (
                Told(
                    payment_id,
                    Fact(FactKind.ATTEMPT_DECLINED, message=clean_message(shown.get("error"))),
                    None,
                    is_live,
                ),
            )
        if shown.get("returned"):
            # Money that goes back is read from the payment itself.
            return (Asks(payment_id),)
        try:
            return (Told(payment_id, read_payment(shown, payment_id), None, is_live),)
        except UnexpectedAnswer as error:
            raise Unusable(str(error)) from None

    def read_list(self, account, query):
        """Return a page of payments."""
        body = read_object(self.send(account, "GET", f"/payments?{urllib.parse.urlencode(query)}"))
        if not isinstance(body.get("payments"), list):
            raise OutcomeUnknown("Acme's list cannot be read")
        return body


def read_payment(body, payment_id):
    """Return the state of a payment."""
    check_own_id(body.get("order"), payment_id, "order")
    reference, state = read_kept_id(body, "token"), body.get("state")
    if state == "waiting":
        return Fact(FactKind.PENDING, reference)
    if state == "settling":
        return Fact(FactKind.COMMITTED, reference, settles_within_days=DAYS)
    if state == "failed":
        return Fact(FactKind.DECLINED, reference)
    if state in ("voided", "lapsed"):
        return Fact(FactKind.CANCELLED, reference, is_expiry=state == "lapsed")
    if state != "paid":
        raise UnexpectedAnswer("Acme's payment has an unknown state", "state")
    paid, currency = read_units(AMOUNTS, body, "paid")
    returned, _ = read_units(AMOUNTS, body, "returned")
    return Fact(FactKind.SUCCEEDED, reference, amount_minor=paid, currency=currency, refunded_minor=returned)


def read_listed(body):
    """Return a row of the list."""
    payment_id = read_own_id(body.get("order"))
    fact = read_payment(body, payment_id)
    asked, currency = read_units(AMOUNTS, body, "units")
    return Listed(payment_id, str(fact.reference), asked, currency, fact.refunded_minor or 0, fact)
