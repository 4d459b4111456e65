"""Adyen's refunds that start here: Adyen receives them, and its notifications say later what became of them."""

from __future__ import annotations

import json
import urllib.parse

from app.core.errors import UnexpectedAnswer
from app.core.facts import Fact, FactKind, RefundState
from app.providers.adapter import Account, RefundSubject
from app.providers.adapters.adyen.adyen_events import AMOUNTS
from app.providers.calls.answer_fields import clean_message, read_kept_id
from app.providers.calls.http_adapter import HttpAdapter, read_error, read_failure, read_object, refuse
from app.providers.calls.outgoing import ProviderAnswer
from app.providers.calls.refund_answers import check_refund, read_refund_state

MERCHANT_ACCOUNT = "merchant_account"
REFUSES = frozenset({400, 422})
# Refusals of what is paid or refunded: amount, currency. All others are about fields that the adapter made.
ABOUT_AMOUNT = frozenset({"137", "138"})

_KEY_IN_USE = "704"
_STATES: dict[str, RefundState] = {"received": "processing"}


class AdyenRefunds(HttpAdapter):
    """The call that makes a refund; Adyen has none that reads one."""

    def build_refund(self, subject: RefundSubject) -> bytes:
        """Return the refund call's body without the merchant account. Raise AmountError and CurrencyError."""
        units = AMOUNTS.to_units(subject.amount_minor, subject.currency)
        fields = {"amount": {"currency": subject.currency, "value": units}, "reference": str(subject.refund_id)}
        return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode("ascii")

    def refund(self, account: Account, subject: RefundSubject, request: bytes) -> Fact:
        """Refund the link's payment; a refusal of the amount is a fact."""
        paid = _read_paid(subject)
        path = f"/v71/payments/{urllib.parse.quote(paid, safe='')}/refunds"
        keyed = {"Idempotency-Key": str(subject.refund_id)}
        answer = self.send(account, "POST", path, with_merchant(account, request), keyed)
        if answer.status in REFUSES:
            return _refusal(answer)
        body = read_object(answer, (200, 201))
        check_refund(body.get("reference"), subject, "reference")
        if body.get("paymentPspReference") != paid:
            raise UnexpectedAnswer("the provider's answer is about another payment", "paymentPspReference")
        return read_refund_state(body, _STATES, read_kept_id(body, "pspReference"))


def with_merchant(account: Account, request: bytes) -> bytes:
    """Return the request with the merchant account in it: the same bytes on every try."""
    merchant = json.dumps({"merchantAccount": account.credentials[MERCHANT_ACCOUNT]}, separators=(",", ":"))
    return merchant.encode()[:-1] + b"," + request[1:]


def read_refusal(answer: ProviderAnswer) -> tuple[str, str]:
    """Return code and message of a refused call. Raise ProviderCallFailed where they cannot be read."""
    error = read_error(answer)
    if "errorCode" not in error:
        raise read_failure(answer)
    code = str(error["errorCode"])
    if code == _KEY_IN_USE:
        raise UnexpectedAnswer("an earlier call with this key is under way", "errorCode")
    return code, str(error.get("message"))


def _read_paid(subject: RefundSubject) -> str:
    """Return Adyen's reference of the payment that the link was paid with, which only notifications say."""
    paid = [one for one in subject.aliases if one != subject.payment_reference]
    if len(paid) != 1:
        # A link is paid once: which of several holds the money would be a guess.
        raise UnexpectedAnswer(f"the provider's link has {len(paid)} known payments", "pspReference")
    return paid[0]


def _refusal(answer: ProviderAnswer) -> Fact:
    code, message = read_refusal(answer)
    if code in ABOUT_AMOUNT:
        return Fact(FactKind.REFUND_STATE, refund_state="failed", message=clean_message(message))
    return refuse(f"{message} ({code})", is_about_payment=False)
