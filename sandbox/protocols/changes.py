"""What a script replaces in an answer or a webhook.

The sandbox's own words for a payment are said of the payment, so that every protocol shows them in its own spelling.
All other names are paths into the JSON itself, with dots: `data.object.livemode`; a leading `body.` says so where a
name could be either.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sandbox.protocols.payment import ProviderPayment
from sandbox.protocols.protocol import Occurrence, ProviderProtocol
from sandbox.values import amounts

_RAW = "body."
_Change = Callable[[ProviderPayment, Any], ProviderPayment]


def _amount(payment: ProviderPayment, value: Any) -> ProviderPayment:
    minor = amounts.parse(value, payment.currency)
    return replace(payment, amount_minor=minor, received_minor=minor if payment.received_minor else 0)


def _currency(payment: ProviderPayment, value: Any) -> ProviderPayment:
    return replace(payment, currency=value, received_currency=payment.received_currency and value)


def _received(payment: ProviderPayment, value: Any) -> ProviderPayment:
    currency = payment.received_currency or payment.currency
    minor = amounts.parse(value, currency) if str(value).strip("0.") else 0
    return replace(payment, received_minor=minor)


# In this order: a currency decides how an amount is read.
_OF_PAYMENT: dict[str, _Change] = {
    "currency": _currency,
    "amount": _amount,
    "received_amount": _received,
    "received_currency": lambda payment, value: replace(payment, received_currency=value),
    "status": lambda payment, value: replace(payment, status=value),
    "error_message": lambda payment, value: replace(payment, error_message=value),
    "provider_reference": lambda payment, value: replace(payment, reference=value),
    "reference": lambda payment, value: replace(payment, reference=value),
    "transaction_id": lambda payment, value: replace(payment, merchant_reference=value),
    "merchant_reference": lambda payment, value: replace(payment, merchant_reference=value),
}


def of_payment(protocol: ProviderProtocol, payment: ProviderPayment, wanted: Mapping[str, Any]) -> ProviderPayment:
    """Return the payment as the script reports it; in the sandbox's own protocol the body has these words."""
    if protocol.is_native:
        return payment
    for word, change in _OF_PAYMENT.items():
        if word in wanted:
            payment = change(payment, wanted[word])
    return payment


def of_occurrence(protocol: ProviderProtocol, occurrence: Occurrence, wanted: Mapping[str, Any]) -> Occurrence:
    """Return the occurrence as the script reports it; `amount` is the refund's where there is one."""
    money_back = occurrence.money_back
    if money_back is None or "amount" not in wanted or protocol.is_native:
        return replace(occurrence, payment=of_payment(protocol, occurrence.payment, wanted))
    minor = amounts.parse(wanted["amount"], money_back.currency)
    rest = {word: value for word, value in wanted.items() if word != "amount"}
    payment = of_payment(protocol, occurrence.payment, rest)
    return replace(occurrence, payment=payment, money_back=replace(money_back, amount_minor=minor))


def of_body(protocol: ProviderProtocol, body: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON object with the script's paths replaced; None takes a field of a webhook away."""
    changed = copy.deepcopy(dict(body))
    for word, value in wanted.items():
        if protocol.is_native or word not in _OF_PAYMENT:
            _put(changed, word.removeprefix(_RAW).split("."), value)
    return changed


def _put(target: Any, path: list[str], value: Any) -> None:
    """Replace the value at the path; a path that the body does not have is left out."""
    *way, last = path
    for name in way:
        target = _at(target, name)
    if isinstance(target, list) and last.isdigit() and int(last) < len(target):
        target[int(last)] = value
    elif isinstance(target, dict) and value is None:
        target.pop(last, None)
    elif isinstance(target, dict):
        target[last] = value


def _at(target: Any, name: str) -> Any:
    if isinstance(target, list):
        return target[int(name)] if name.isdigit() and int(name) < len(target) else None
    return target.get(name) if isinstance(target, dict) else None
