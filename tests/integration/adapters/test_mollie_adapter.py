"""The adapter of Mollie against the emulator, over HTTP."""

from __future__ import annotations

import datetime
import json
import secrets
import time
import uuid

import pytest
from mollie import models as mollie_models
from mollie.utils.webhooks.signature_validator import SignatureValidator

from app.core.errors import (
    OutcomeUnknown,
    ProviderRefusedUs,
    WebhookRejected,
)
from app.core.facts import Fact, FactKind
from app.core.money import CurrencyError
from app.core.signatures import Scheme
from app.providers import Account, Order, Received, Subject, Told
from app.providers.adapters.mollie import MollieAdapter
from app.providers.credentials import API_KEY
from models import new_id
from tests.integration.adapters.merchant import HOUR, Merchant
from tests.integration.emulators.emulated_shop import EmulatedShop
from tests.integration.sandbox.sandbox_process import SandboxProcess
from tests.support.webhook_receiver import Received as Delivery
from tests.support.webhook_receiver import WebhookReceiver

BACK = "https://shop.example/ok"


@pytest.fixture
def merchant(sandbox: SandboxProcess, receiver: WebhookReceiver) -> Merchant:
    shop = EmulatedShop(sandbox, receiver, "mollie", f"test_{secrets.token_hex(16)}", secrets.token_hex(16))
    return Merchant(shop, MollieAdapter, "EUR")


def order(merchant: Merchant, payment_id: uuid.UUID, back: str | None = BACK, **urls: str) -> bytes:
    """Return the body of a create call with callback URLs."""
    now = datetime.datetime.now(datetime.UTC)
    made = Order(payment_id, 2500, "EUR", urls, back, "https://shop.example/no", now, now + HOUR, {"order": "7"})
    return merchant.adapter.build_request(made)


def verify(merchant: Merchant, webhook: Delivery, *secrets_known: str) -> str:
    """Return the id of a webhook that is good by one of several secrets."""
    keys = [merchant.adapter.read_key(Scheme(), secret) for secret in secrets_known]
    received = Received(webhook.headers, webhook.body, json.loads(webhook.body))
    return merchant.adapter.verify(Scheme(), keys, received, time.time())


def paid(reference: str | None) -> Fact:
    return Fact(FactKind.SUCCEEDED, reference, None, 2500, "EUR")


def test_the_request_is_what_mollies_package_would_send(merchant: Merchant) -> None:
    """Its models name every field; the URL for pokes is the payment's own."""
    payment_id = new_id()
    sent = json.loads(order(merchant, payment_id, poke="https://sluice.example/webhooks/p/t"))
    read = mollie_models.PaymentRequest.model_validate(sent)
    assert (read.amount.currency, read.amount.value) == ("EUR", "25.00")
    assert (read.redirect_url, read.cancel_url) == ("https://shop.example/ok", "https://shop.example/no")
    assert read.webhook_url == "https://sluice.example/webhooks/p/t"
    assert read.metadata == {"payment_id": str(payment_id), "order": "7"}
    assert str(payment_id) in read.description
    assert "webhookUrl" not in json.loads(merchant.order(payment_id))


def test_more_metadata_than_mollie_keeps_is_left_out(merchant: Merchant) -> None:
    payment_id, now = new_id(), datetime.datetime.now(datetime.UTC)
    pairs = {f"key{number}": "ü" * 60 for number in range(10)}
    back = ("https://shop.example/ok", None)
    request = merchant.adapter.build_request(Order(payment_id, 2500, "EUR", {}, *back, now, now + HOUR, pairs))
    assert set(json.loads(request)["metadata"]) == {"payment_id", "key0", "key1"}
    assert merchant.adapter.create(merchant.account, payment_id, request).kind is FactKind.ACCEPTED
    with pytest.raises(ValueError, match="success_url"):
        order(merchant, payment_id, back=None)


def test_an_id_without_a_time_is_looked_for_nowhere(merchant: Merchant) -> None:
    with pytest.raises(OutcomeUnknown):
        merchant.fetch(uuid.uuid4())


def test_a_key_says_its_mode(merchant: Merchant) -> None:
    modes = [Account(uuid.uuid4(), "", {API_KEY: key}) for key in ("test_x", "live_x", "access_x")]
    assert [merchant.adapter.read_mode(account) for account in modes] == ["test", "live", None]


def test_only_an_amount_that_mollie_does_not_take_is_the_payers(merchant: Merchant) -> None:
    fields = json.loads(merchant.order(new_id()))
    wrong = {"amount": {"amount": {"currency": "EUR", "value": "25"}}, "description": {"description": ""}}
    payment_id = new_id()
    fact = merchant.adapter.create(merchant.account, payment_id, json.dumps(fields | wrong["amount"]).encode())
    assert (fact.kind, fact.message) == (FactKind.DECLINED, "The provider did not accept this payment.")
    assert "amount" in str(fact.technical)
    with pytest.raises(ProviderRefusedUs, match="description"):
        merchant.adapter.create(merchant.account, payment_id, json.dumps(fields | wrong["description"]).encode())


def test_a_payment_is_cancelled_where_mollie_lets_us(merchant: Merchant) -> None:
    payment_id, other = new_id(), new_id()
    reference = merchant.create(payment_id).reference
    cancelled = [merchant.adapter.cancel(merchant.account, Subject(payment_id, reference)).kind for _ in range(2)]
    assert cancelled == [FactKind.CANCELLED] * 2
    merchant.shop.script(str(other), cancel={"capture": True})
    reference = merchant.create(other).reference
    assert merchant.adapter.cancel(merchant.account, Subject(other, reference)) == paid(reference)


@pytest.mark.parametrize(("currency", "minor", "value"), [("EUR", 2550, "25.50"), ("JPY", 500, "500"), ("ISK", 5, "5")])
def test_amounts_arrive_as_asked(merchant: Merchant, currency: str, minor: int, value: str) -> None:
    payment_id = new_id()
    assert json.loads(merchant.order(payment_id, minor, currency))["amount"] == {"currency": currency, "value": value}
    reference = merchant.create(payment_id, minor, currency).reference
    merchant.shop.happen(str(payment_id), "pay")
    fetched = merchant.fetch(payment_id, reference)
    (told,) = merchant.events(1)
    assert isinstance(told, Told)
    assert (fetched.amount_minor, fetched.currency) == (told.fact.amount_minor, told.fact.currency) == (minor, currency)
    with pytest.raises(CurrencyError):
        merchant.order(payment_id, 100, "KWD")


STORIES: dict[str, tuple[list[str], FactKind]] = {
    "paid": (["pay"], FactKind.SUCCEEDED),
    "a slow method": (["commit"], FactKind.COMMITTED),
    "declined": (["decline"], FactKind.DECLINED),
    "cancelled": (["cancel"], FactKind.CANCELLED),
    "nobody pays": (["expire"], FactKind.CANCELLED),
}


@pytest.mark.parametrize("story", STORIES)
def test_each_story_is_told_by_a_signed_event(merchant: Merchant, story: str) -> None:
    actions, kind = STORIES[story]
    payment_id = new_id()
    reference = merchant.create(payment_id).reference
    merchant.shop.happen(str(payment_id), *actions)
    (told,) = merchant.events(1)
    assert isinstance(told, Told)
    assert (told.name, told.is_live, told.fact.kind, told.fact.reference) == (payment_id, False, kind, reference)


def test_a_classic_webhook_names_its_payment_and_nothing_more(merchant: Merchant) -> None:
    payment_id = new_id()
    request = order(merchant, payment_id, poke=f"{merchant.shop.receiver.url}/classic")
    reference = merchant.adapter.create(merchant.account, payment_id, request).reference
    merchant.shop.happen(str(payment_id), "pay")
    (classic,) = [webhook for webhook in merchant.shop.wait(2) if webhook.path == "/classic"]
    assert classic.headers["content-type"] in merchant.adapter.poke_types
    assert merchant.adapter.read_poke(classic.body) == reference


def test_while_a_secret_is_replaced_there_are_two_signatures(merchant: Merchant) -> None:
    payment_id = new_id()
    other = "another_secret_while_one_is_replaced"
    merchant.shop.put(other_secrets=[other])
    merchant.create(payment_id)
    merchant.shop.happen(str(payment_id), "pay")
    (good,) = merchant.shop.wait(1)
    assert merchant.verify(good) == merchant.verify(good, other) == verify(merchant, good, "x" * 24, other)
    with pytest.raises(WebhookRejected):
        merchant.verify(good, "a_secret_of_nobody_around_here")
    # As Mollie's own package has it.
    signatures = good.headers["x-mollie-signature"].split(",")
    assert len(signatures) == 2
    assert SignatureValidator.validate(good.body.decode(), [merchant.shop.secret], signatures)


def test_a_header_of_many_signatures_is_refused(merchant: Merchant) -> None:
    payment_id = new_id()
    merchant.create(payment_id)
    merchant.shop.happen(str(payment_id), "pay")
    (webhook,) = merchant.shop.wait(1)
    good = webhook.headers["x-mollie-signature"]
    for header in (",".join([good] * 11), good[:-1], "", good.replace("sha256=", "sha512=")):
        webhook.headers["x-mollie-signature"] = header
        with pytest.raises(WebhookRejected):
            merchant.verify(webhook)
