"""An account at GoCardless's emulator, and what is done and read there of its payments of 25.00 GBP."""

from __future__ import annotations

import secrets
import uuid
from dataclasses import replace

import requests

from app.core.facts import DisputeState, Fact, FactKind
from app.providers.adapters.gocardless import GoCardlessAdapter
from testbed.waiting import wait_until
from tests.integration.adapters.merchant import Merchant
from tests.integration.emulators.emulated_shop import EmulatedShop
from tests.integration.sandbox.sandbox_process import SandboxProcess
from tests.support.webhook_receiver import WebhookReceiver


def open_merchant(sandbox: SandboxProcess, receiver: WebhookReceiver) -> Merchant:
    """Open an account of its own, whose webhooks `receiver` gets."""
    key, secret = f"sandbox_{secrets.token_hex(16)}", secrets.token_hex(16)
    shop = EmulatedShop(sandbox, receiver, "gocardless", key, secret)
    return Merchant(shop, GoCardlessAdapter, "GBP", {"email": "ann@example.com"})


def paid(reference: str | None) -> Fact:
    """Return the fact of a payment that is paid and of which nothing went back."""
    alias = str(reference).replace("BRQ", "PM")
    return Fact(FactKind.SUCCEEDED, reference, amount_minor=2500, currency="GBP", aliases=(alias,))


def moved(fact: Fact) -> list[tuple[str, int]]:
    """Return what a paid payment's fact shows as gone back or come again, in minor units."""
    assert replace(fact, movements=(), disputes=()) == paid(fact.reference)
    return [(one.kind, one.amount_minor) for one in fact.movements]


def disputes(fact: Fact) -> list[tuple[DisputeState, str | None]]:
    """Return state and reason of the disputes that a fact shows."""
    return [(one.state, one.reason) for one in fact.disputes]


def make_refund(merchant: Merchant, reference: str | None, amount: int, total: int) -> str:
    """Refund a part of a payment, of which `total` is then refunded in all; return the refund's URL."""
    asked = {"amount": amount, "total_amount_confirmation": total, "links": {"payment": paid(reference).aliases[0]}}
    url = f"{merchant.shop.url}/refunds"
    made = requests.post(url, json={"refunds": asked}, headers=_authorize(merchant), timeout=10).json()["refunds"]
    return f"{url}/{made['id']}"


def refund(merchant: Merchant, reference: str | None, amount: int, total: int) -> None:
    """Refund a part of a payment, and wait until it is done."""
    url, headers = make_refund(merchant, reference, amount, total), _authorize(merchant)
    wait_until(lambda: requests.get(url, headers=headers, timeout=10).json()["refunds"]["status"] == "paid", "it")


def _authorize(merchant: Merchant) -> dict[str, str]:
    return {"Authorization": f"Bearer {merchant.shop.key}"}


def fail_late(merchant: Merchant, payment_id: uuid.UUID) -> None:
    """Let a payment fail that was confirmed."""
    url = f"{merchant.shop.sandbox.url}/control/payments/{payment_id}/dispute"
    assert requests.post(url, json={"message": "late_failure"}, timeout=10).status_code == 200
