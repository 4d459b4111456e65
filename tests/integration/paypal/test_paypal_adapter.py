"""The adapter of PayPal against the emulator: approvals and captures, tokens, the report, and a whole payment."""

from __future__ import annotations

import datetime
import urllib.parse
import uuid
from typing import Any

import pytest
import requests

from app.core.errors import OutcomeUnknown, ProviderRefusedUs, Unavailable
from app.core.facts import Fact, FactKind
from app.providers import Account, Subject
from app.providers.adapters.paypal import PayPalAdapter
from app.services.tenants import providers
from app.services.tenants.providers import NewProvider
from models import new_id
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from tests.integration.adapters.merchant import HOUR, Merchant
from tests.integration.paypal.paypal_shop import PayPalShop
from tests.integration.sandbox.sandbox_process import SandboxProcess
from tests.support.clients.api import Api, problem_of
from tests.support.engine import Engine
from tests.support.webhook_receiver import WebhookReceiver


@pytest.fixture
def merchant(sandbox: SandboxProcess, receiver: WebhookReceiver) -> Merchant:
    shop = PayPalShop(sandbox, receiver)
    made = Merchant(shop, PayPalAdapter)
    credentials = {"client_id": shop.client_id, "client_secret": shop.client_secret}
    made.account = Account(uuid.uuid4(), shop.url, credentials)
    return made


def advance(merchant: Merchant, payment_id: uuid.UUID, made: Fact, approval: int = 1) -> Fact:
    return merchant.adapter.advance(merchant.account, Subject(payment_id, made.reference, approval))


def test_what_the_payer_approves_is_captured_once(merchant: Merchant) -> None:
    payment_id = new_id()
    made = merchant.create(payment_id)
    merchant.shop.happen(str(payment_id), "approve")
    found = merchant.fetch(payment_id, made.reference)
    assert (found.kind, found.capture_within_seconds) == (FactKind.APPROVED, 10_800)
    for approval in (1, 1, 2):
        fact = advance(merchant, payment_id, made, approval)
        assert (fact.kind, fact.amount_minor, fact.currency) == (FactKind.SUCCEEDED, 2500, "USD")
    assert merchant.shop.sandbox.truth(str(payment_id))["payments"][0]["captures"] == 1
    events = merchant.events(2)
    assert {event.fact.kind for event in events} == {FactKind.APPROVED, FactKind.SUCCEEDED}  # type: ignore[union-attr]


def test_a_capture_that_is_refused_is_an_attempt_and_the_next_approval_has_its_own_key(merchant: Merchant) -> None:
    payment_id = new_id()
    made = merchant.create(payment_id)
    merchant.shop.script(str(payment_id), capture={"outcome": "declined", "times": 1})
    merchant.shop.happen(str(payment_id), "approve")
    refused = advance(merchant, payment_id, made)
    assert (refused.kind, refused.technical) == (FactKind.ATTEMPT_DECLINED, "INSTRUMENT_DECLINED")
    merchant.shop.happen(str(payment_id), "approve")
    assert advance(merchant, payment_id, made).kind is FactKind.ATTEMPT_DECLINED
    assert advance(merchant, payment_id, made, approval=2).kind is FactKind.SUCCEEDED


def test_a_capture_without_an_approval_is_refused(merchant: Merchant) -> None:
    payment_id = new_id()
    refused = advance(merchant, payment_id, merchant.create(payment_id))
    assert (refused.kind, refused.technical) == (FactKind.ATTEMPT_DECLINED, "ORDER_NOT_APPROVED")


def test_a_capture_under_review_is_waited_for(merchant: Merchant) -> None:
    payment_id = new_id()
    made = merchant.create(payment_id)
    merchant.shop.script(str(payment_id), capture={"outcome": "pending"})
    merchant.shop.happen(str(payment_id), "approve")
    assert advance(merchant, payment_id, made).kind is FactKind.COMMITTED
    assert merchant.fetch(payment_id, made.reference).kind is FactKind.COMMITTED
    merchant.shop.happen(str(payment_id), "decline")
    assert merchant.fetch(payment_id, made.reference).kind is FactKind.DECLINED


@pytest.mark.parametrize(
    "fault", [{"status": 503, "effect": True}, {"answer": "torn"}, {"answer": "timeout", "hold": 0}]
)
def test_a_lost_answer_to_a_capture_is_unknown_and_then_known(merchant: Merchant, fault: dict[str, Any]) -> None:
    payment_id = new_id()
    made = merchant.create(payment_id)
    merchant.shop.script(str(payment_id), capture={**fault, "times": 1})
    merchant.shop.happen(str(payment_id), "approve")
    with pytest.raises(Unavailable):
        advance(merchant, payment_id, made)
    assert advance(merchant, payment_id, made).kind is FactKind.SUCCEEDED
    assert merchant.shop.sandbox.truth(str(payment_id))["payments"][0]["captures"] == 1


def test_a_refusal_of_us_is_no_answer_of_the_payer(merchant: Merchant) -> None:
    payment_id = new_id()
    made = merchant.create(payment_id)
    merchant.shop.script(str(payment_id), capture={"status": 422, "message": "payee"})
    with pytest.raises(ProviderRefusedUs):
        advance(merchant, payment_id, made)


def test_an_approval_that_was_not_captured_in_time_ends_the_payment(merchant: Merchant) -> None:
    payment_id = new_id()
    made = merchant.create(payment_id)
    merchant.shop.happen(str(payment_id), "approve", "expire")
    ended = merchant.fetch(payment_id, made.reference)
    assert (ended.kind, ended.is_expiry) == (FactKind.CANCELLED, True)
    facts = [event.fact for event in merchant.events(2)]  # type: ignore[union-attr]
    assert {(fact.kind, fact.is_expiry) for fact in facts} == {(FactKind.APPROVED, False), (FactKind.CANCELLED, True)}


@pytest.mark.parametrize(("currency", "minor", "value"), [("JPY", 2500, "2500"), ("HUF", 250_000, "2500")])
def test_whole_currencies_are_sent_and_read_without_decimals(
    merchant: Merchant, currency: str, minor: int, value: str
) -> None:
    payment_id = new_id()
    assert f'"value":"{value}"'.encode() in merchant.order(payment_id, minor, currency)
    made = merchant.create(payment_id, minor, currency)
    merchant.shop.happen(str(payment_id), "pay")
    found = merchant.fetch(payment_id, made.reference)
    assert (found.amount_minor, found.currency) == (minor, currency)


def test_refunds_and_lost_disputes_are_movements(merchant: Merchant) -> None:
    payment_id = new_id()
    made = merchant.create(payment_id)
    merchant.shop.happen(str(payment_id), "pay")
    merchant.shop.sandbox.happen(str(payment_id), "refund", amount="5.00")
    merchant.shop.happen(str(payment_id), "dispute", "lose_dispute")
    found = merchant.fetch(payment_id, made.reference)
    assert [(one.kind, one.amount_minor) for one in found.movements] == [("reversed", 500), ("reversed", 2000)]
    told = {event.fact.reversal_id for event in merchant.events(5)}  # type: ignore[union-attr]
    assert {one.reversal_id for one in found.movements} <= told


def test_the_list_has_what_was_paid_by_the_time_of_the_order(merchant: Merchant) -> None:
    paid, unpaid = new_id(), new_id()
    made = [merchant.create(payment_id) for payment_id in (paid, unpaid)]
    merchant.shop.happen(str(paid), "pay")
    (row,) = merchant.list()
    assert (row.payment_id, row.reference, row.asked_minor) == (paid, made[0].reference, 2500)
    assert row.fact.kind is FactKind.SUCCEEDED
    now = datetime.datetime.now(datetime.UTC)
    assert list(merchant.adapter.list_payments(merchant.account, now - 3 * HOUR, now - 2 * HOUR)) == []


def test_no_order_is_found_by_our_id(merchant: Merchant) -> None:
    with pytest.raises(OutcomeUnknown):
        merchant.fetch(new_id())


def test_wrong_credentials_are_ours_to_mend(merchant: Merchant) -> None:
    wrong = {**merchant.account.credentials, "client_secret": "another_secret"}
    merchant.account = Account(merchant.account.provider_id, merchant.account.api_base_url, wrong)
    with pytest.raises(ProviderRefusedUs, match="client id and secret"):
        merchant.create(new_id())


@pytest.fixture
def paypal(front: Stack, shop: Shop) -> tuple[Shop, uuid.UUID]:
    """Provide a tenant's account at the emulator, whose webhooks go to the web process."""
    client, secret, webhook_id = f"client_{uuid.uuid4().hex}", f"secret_{uuid.uuid4().hex}", uuid.uuid4().hex[:17]
    url = f"{front.sandbox.url}/paypal"
    new = NewProvider(
        shop.tenant_id, "paypal", "paypal", url, {"client_id": client, "client_secret": secret}, webhook_id
    )
    provider_id, _ = providers.create_provider(shop.runtime, new, ACTOR)
    account = {"api_key": f"{client}:{secret}", "provider_id": str(provider_id), "webhook_secret": webhook_id}
    account |= {"protocol": "paypal", "webhook_url": f"{front.web}/webhooks/{provider_id}"}
    answer = requests.put(f"{front.sandbox.url}/control/merchants/pp-{uuid.uuid4().hex}", json=account, timeout=10)
    assert answer.status_code == 200, answer.text
    return shop, provider_id


def test_a_payment_goes_through_web_and_workers(
    front: Stack, engine: Engine, api: Api, paypal: tuple[Shop, uuid.UUID]
) -> None:
    _, provider_id = paypal
    payment_id = api.deposit(provider_id=str(provider_id)).json()["id"]
    engine.run_until(lambda: api.read(payment_id)["redirect_url"], "PayPal has the order")
    page = urllib.parse.urlsplit(api.read(payment_id)["redirect_url"])
    token = urllib.parse.parse_qs(page.query)["token"][0]
    # The payer approves on the page; the webhook's certificate is fetched from the sandbox by the web process.
    requests.post(f"{page.scheme}://{page.netloc}{page.path}/pay", {"token": token}, timeout=10, allow_redirects=False)
    engine.run_until(lambda: api.read(payment_id)["status"] == "completed", "the approval is captured")
    assert engine.entries(uuid.UUID(payment_id)) == [("user", 2500), ("clearing", -2500)]
    refund = f"{front.sandbox.url}/control/payments/{payment_id}/refund"
    assert requests.post(refund, json={"amount": "5.00"}, timeout=10).status_code == 200
    engine.run_until(lambda: api.read(payment_id)["reversed_amount_minor"] == 500, "the refund is booked")
    assert api.read(payment_id)["exception"] == "reversed"
    problem_of(api.post(f"/api/payments/{payment_id}/cancel"), 409)
    assert engine.dead_letters(uuid.UUID(payment_id)) == []
    assert {verdict for _, verdict in engine.verdicts(uuid.UUID(payment_id))} <= {"applied", "duplicate", "ignored"}
