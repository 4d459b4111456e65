"""The providers that the sandbox emulates, with what is particular to each: of every adapter that Sluice brings."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from app.conformance.emulator import Traits
from app.conformance.sandbox_emulator import Personality
from app.core.facts import FactKind
from app.core.signatures import TIMESTAMP_TOLERANCE_SECONDS
from app.local.emulated_accounts import EMULATED, NewAccount, new_standard_secret, with_key
from app.providers.adapters.paypal.paypal_signing import AGE_SECONDS_MAX
from app.providers.credentials import API_KEY


def _mistake(render: Callable[[str], object], status: int = 400) -> Callable[[str], tuple[int, bytes]]:
    return lambda message: (status, json.dumps(render(message)).encode())


# Where no browser may be sent.
_PAGE = "javascript:alert(1)"


def _states(field: str, kind: FactKind, *values: str) -> Iterator[tuple[Mapping[str, object], FactKind]]:
    return (({field: value}, kind) for value in values)


def _custom_account(api_key: str) -> NewAccount:
    call = json.dumps({"path": "/v1/payments", "method": "POST", "answer": {"reference": "reference"}})
    return NewAccount({API_KEY: api_key, "create_call": call}, api_key, new_standard_secret())


_SANDBOX = Personality(
    "sandbox",
    Traits(
        currency="USD",
        states=tuple(
            ({"status": status, "received_amount": "25.00", "received_currency": "USD"}, kind)
            for status, kind in {
                "open": FactKind.PENDING,
                "processing": FactKind.COMMITTED,
                "paid": FactKind.SUCCEEDED,
                "underpaid": FactKind.SUCCEEDED,
                "declined": FactKind.DECLINED,
                "cancelled": FactKind.CANCELLED,
                "expired": FactKind.CANCELLED,
            }.items()
        ),
        unknown_state={"status": "melted"},
        unusable_page={"redirect_url": _PAGE},
        mistake=_mistake(lambda message: {"error": {"code": "invalid_field", "message": message}}),
        signature_seconds=TIMESTAMP_TOLERANCE_SECONDS,
    ),
    new_account=lambda: with_key(f"key_{secrets.token_hex(16)}", new_standard_secret()),
    path="",
)
# The sandbox as an app of a tenant's own; its names are the sandbox's.
_CUSTOM = replace(
    _SANDBOX,
    new_account=lambda: _custom_account(f"key_{secrets.token_hex(16)}"),
)
_STRIPE = Personality(
    "stripe",
    Traits(
        currency="USD",
        # https://docs.stripe.com/api/checkout/sessions/object: no_payment_required is of sessions without an amount.
        states=(
            ({"status": "open", "payment_status": "unpaid"}, FactKind.PENDING),
            ({"status": "complete", "payment_status": "unpaid"}, FactKind.COMMITTED),
            ({"status": "complete", "payment_status": "paid"}, FactKind.SUCCEEDED),
            ({"status": "expired", "payment_status": "unpaid"}, FactKind.CANCELLED),
        ),
        unknown_state={"status": "melted"},
        unusable_page={"url": _PAGE},
        mistake=_mistake(
            lambda message: {"error": {"type": "invalid_request_error", "message": message, "param": "success_url"}}
        ),
        signature_seconds=TIMESTAMP_TOLERANCE_SECONDS,
    ),
    new_account=EMULATED["stripe"],
    path="/stripe",
    live_change={"livemode": True},
)
_PAYSTACK = Personality(
    "paystack",
    Traits(
        currency="NGN",
        # What was reversed is money that came, and went back.
        states=(
            *_states("data.status", FactKind.PENDING, "abandoned", "ongoing", "pending", "processing", "queued"),
            *_states("data.status", FactKind.ATTEMPT_DECLINED, "failed"),
            *_states("data.status", FactKind.SUCCEEDED, "reversed", "success"),
        ),
        unknown_state={"data.status": "melted"},
        unusable_page={"data.authorization_url": _PAGE},
        mistake=_mistake(lambda message: {"status": False, "message": message, "code": "invalid_params"}),
    ),
    new_account=EMULATED["paystack"],
    path="/paystack",
    live_change={"data.domain": "live"},
)
_ADYEN = Personality(
    "adyen",
    Traits(
        currency="EUR",
        # CheckoutService-v71, PaymentLinkResponse. None says how much came: the webhook does.
        states=(
            *_states("status", FactKind.PENDING, "active"),
            *_states("status", FactKind.COMMITTED, "completed", "paid", "paymentPending"),
            *_states("status", FactKind.CANCELLED, "expired"),
        ),
        unknown_state={"status": "melted"},
        unusable_page={"url": _PAGE},
        mistake=_mistake(
            lambda message: {"status": 422, "errorCode": "702", "message": message, "errorType": "validation"}, 422
        ),
    ),
    new_account=EMULATED["adyen"],
    path="/adyen",
    live_change={"live": "true"},
)
_RAZORPAY = Personality(
    "razorpay",
    Traits(
        currency="INR",
        states=tuple(
            ({"status": status, "amount_paid": paid}, kind)
            for status, paid, kind in (
                ("created", 0, FactKind.PENDING),
                ("partially_paid", 100, FactKind.SUCCEEDED),
                ("paid", 2500, FactKind.SUCCEEDED),
                ("cancelled", 0, FactKind.CANCELLED),
                ("expired", 0, FactKind.CANCELLED),
            )
        ),
        unknown_state={"status": "melted"},
        unusable_page={"short_url": _PAGE},
        mistake=_mistake(
            lambda message: {"error": {"code": "BAD_REQUEST_ERROR", "description": message, "field": "callback_url"}}
        ),
    ),
    new_account=EMULATED["razorpay"],
    path="/razorpay",
)

_GOCARDLESS = Personality(
    "gocardless",
    Traits(
        currency="GBP",
        # The states of a billing request; fulfilled is read with its payment, which is paid.
        states=(
            *_states("billing_requests.status", FactKind.PENDING, "pending", "ready_to_fulfil", "fulfilling"),
            *_states("billing_requests.status", FactKind.SUCCEEDED, "fulfilled"),
            *_states("billing_requests.status", FactKind.CANCELLED, "cancelled"),
        ),
        unknown_state={"billing_requests.status": "melted"},
        unusable_page={"billing_request_flows.authorisation_url": _PAGE},
        mistake=_mistake(
            lambda message: {
                "error": {
                    "message": message,
                    "type": "validation_failed",
                    "code": 422,
                    "errors": [{"field": "redirect_uri", "message": message}],
                }
            },
            422,
        ),
    ),
    new_account=EMULATED["gocardless"],
    path="/gocardless",
)
_MOLLIE = Personality(
    "mollie",
    Traits(
        currency="EUR",
        # https://docs.mollie.com/reference/get-payment
        states=(
            *_states("status", FactKind.PENDING, "open", "authorized"),
            *_states("status", FactKind.COMMITTED, "pending"),
            *_states("status", FactKind.SUCCEEDED, "paid"),
            *_states("status", FactKind.CANCELLED, "canceled", "expired"),
            *_states("status", FactKind.DECLINED, "failed"),
        ),
        unknown_state={"status": "melted"},
        unusable_page={"_links.checkout.href": _PAGE},
        mistake=_mistake(
            lambda message: {"status": 422, "title": "Unprocessable Entity", "detail": message, "field": "redirectUrl"},
            422,
        ),
    ),
    new_account=EMULATED["mollie"],
    path="/mollie",
    live_change={"_embedded.entity.mode": "live"},
)


_PAYPAL = Personality(
    "paypal",
    Traits(
        currency="USD",
        # https://developer.paypal.com/docs/api/orders/v2/#orders_get
        states=(
            *_states("status", FactKind.PENDING, "CREATED", "SAVED", "PAYER_ACTION_REQUIRED"),
            *_states("status", FactKind.APPROVED, "APPROVED"),
            *_states("status", FactKind.SUCCEEDED, "COMPLETED"),
            *_states("status", FactKind.CANCELLED, "VOIDED"),
        ),
        unknown_state={"status": "MELTED"},
        unusable_page={"links": [{"rel": "payer-action", "href": _PAGE}]},
        mistake=_mistake(
            lambda message: {"name": "INVALID_REQUEST", "details": [{"issue": "INVALID", "description": message}]}
        ),
        side_paths=("/v1/oauth2/token",),
        signature_seconds=AGE_SECONDS_MAX,
    ),
    new_account=EMULATED["paypal"],
    path="/paypal",
)

# By the name of the adapter.
PERSONALITIES = {
    "adyen": _ADYEN,
    "custom": _CUSTOM,
    "gocardless": _GOCARDLESS,
    "mollie": _MOLLIE,
    "paypal": _PAYPAL,
    "paystack": _PAYSTACK,
    "razorpay": _RAZORPAY,
    "sandbox": _SANDBOX,
    "stripe": _STRIPE,
}
