"""Test accounts at the providers that the sandbox emulates: what an operator would be given there."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.core.signatures import encode_secret
from app.providers.credentials import API_KEY

_STANDARD_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class NewAccount:
    """Test credentials by the adapter's names, the same as the sandbox stores them, and a webhook secret."""

    credentials: Mapping[str, str]
    api_key: str
    secret: str


def with_key(api_key: str, secret: str) -> NewAccount:
    """Return an account whose only credential is its key."""
    return NewAccount({API_KEY: api_key}, api_key, secret)


def new_standard_secret() -> str:
    """Return a webhook secret of the form of Standard Webhooks."""
    return encode_secret(secrets.token_bytes(_STANDARD_SECRET_BYTES))


def _new_adyen() -> NewAccount:
    api_key = f"AQE{secrets.token_hex(20)}"
    credentials = {API_KEY: api_key, "merchant_account": "ShopECOM"}
    return NewAccount(credentials, api_key, secrets.token_hex(32).upper())


def _new_paypal() -> NewAccount:
    credentials = {"client_id": f"client_{secrets.token_hex(12)}", "client_secret": f"secret_{secrets.token_hex(12)}"}
    return NewAccount(credentials, ":".join(credentials.values()), secrets.token_hex(8).upper() + "A")


def _new_paystack() -> NewAccount:
    api_key = f"sk_test_{secrets.token_hex(20)}"
    # Webhooks are signed with the key.
    return with_key(api_key, api_key)


def _new_razorpay() -> NewAccount:
    credentials = {"key_id": f"rzp_test_{secrets.token_hex(7)}", "key_secret": secrets.token_hex(12)}
    return NewAccount(credentials, ":".join(credentials.values()), secrets.token_hex(16))


# By adapter, which is also the name of the emulated protocol, and in the order in which a page shows them.
EMULATED: Mapping[str, Callable[[], NewAccount]] = {
    "stripe": lambda: with_key(f"sk_test_{secrets.token_hex(12)}", f"whsec_{secrets.token_hex(16)}"),
    "mollie": lambda: with_key(f"test_{secrets.token_hex(16)}", secrets.token_hex(16)),
    "paypal": _new_paypal,
    "adyen": _new_adyen,
    "paystack": _new_paystack,
    "razorpay": _new_razorpay,
    "gocardless": lambda: with_key(f"sandbox_{secrets.token_hex(16)}", secrets.token_hex(16)),
}
# The names that people know them by.
TITLES = {
    "stripe": "Stripe",
    "mollie": "Mollie",
    "paypal": "PayPal",
    "adyen": "Adyen",
    "paystack": "Paystack",
    "razorpay": "Razorpay",
    "gocardless": "GoCardless",
}
