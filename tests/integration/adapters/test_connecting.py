"""An operator connects a provider with the command line alone, and sees that it works before anybody pays."""

from __future__ import annotations

import secrets

import pytest

from app.local.emulated_accounts import EMULATED
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.integration.adapters.operator import Operator

# By adapter that registers addresses, what is left to do by hand.
REMAINING = {
    "stripe": "nothing: Stripe sends the events that Sluice reads",
    "mollie": "nothing: Mollie sends signed events, and unsigned ones to the URL that each payment brings",
    "paypal": "nothing: PayPal sends the events that Sluice reads",
    "adyen": "let payments be captured automatically: Customer Area, Settings, Account settings",
}


@pytest.fixture
def operator(working: Stack) -> Operator:
    """Provide an operator with a provider of their own."""
    return Operator(working)


@pytest.mark.parametrize("adapter", REMAINING)
def test_a_deposit_is_paid_once_the_provider_is_connected(working: Stack, adapter: str) -> None:
    operator = Operator(working, adapter)
    assert operator.connect() == {
        "id": operator.provider_id,
        "webhook_url": f"{operator.stack.web}/webhooks/{operator.provider_id}",
        "is_secret_stored": True,
        "remaining": REMAINING[adapter],
    }
    states = {name: state for name, (state, _) in operator.check().items()}
    assert states == dict.fromkeys(("credentials", "clock", "webhook address", "currencies", "webhook secret"), "ok")
    operator.pay()
    settled = "select path from payment_webhooks where provider_id = :id and status = 'processed' and path <> 'poke'"
    wait_until(lambda: operator.stack.databases.rows(settled, id=operator.provider_id), "a signed webhook is settled")


@pytest.mark.parametrize("adapter", REMAINING)
def test_to_connect_again_makes_nothing(working: Stack, adapter: str) -> None:
    operator = Operator(working, adapter)
    operator.connect()
    before = operator.secrets()
    again = operator.connect()
    assert again["is_secret_stored"] is True
    assert again["remaining"] == "nothing: it is registered already"
    assert operator.secrets() == before
    kinds = "select kind from audit_logs where tenant_id = :id and kind like 'provider_%' order by id"
    audit = [row["kind"] for row in operator.stack.databases.rows(kinds, id=operator.shop.tenant_id)]
    assert audit[-3:] == ["provider_secret_added", "provider_connected", "provider_connected"]
    sent = operator.stack.sandbox.deliveries(operator.pay())
    kinds_sent = [one["event_type"] for one in sent if one["url"] == again["webhook_url"]]
    assert kinds_sent
    assert len(set(kinds_sent)) == len(kinds_sent), "each event comes once"


@pytest.mark.parametrize("adapter", REMAINING)
def test_a_secret_that_was_ended_is_made_anew(working: Stack, adapter: str) -> None:
    operator = Operator(working, adapter)
    operator.connect()
    operator.stack.databases.rows(
        "update provider_secrets set ends_at = now() where provider_id = :id", id=operator.provider_id
    )
    operator.connect()
    assert [row["is_active"] for row in operator.secrets()][-1] is True
    operator.pay()


@pytest.mark.parametrize("adapter", ["adyen", "paypal"])
def test_a_secret_that_only_the_provider_makes_is_not_made_up(working: Stack, adapter: str) -> None:
    operator = Operator(working, adapter)
    assert (operator.made["webhook_secret"], operator.secrets()) == (None, [])
    assert operator.check()["webhook secret"] == (
        "FAIL",
        "none is valid: `sluice providers connect`, or `secrets add`",
    )


@pytest.mark.parametrize("adapter", REMAINING)
def test_a_refused_registration_stores_nothing(working: Stack, adapter: str) -> None:
    operator = Operator(working, adapter)
    before = operator.secrets()
    stranger = EMULATED[adapter]().credentials
    given = {f"SLUICE_PROVIDER_{name.upper()}": value for name, value in stranger.items()}
    operator.json("providers", "update", operator.provider_id, **given)
    said = operator.commands.error("providers", "connect", operator.provider_id)
    assert "the address was not registered: " in said
    assert f"; docs/providers/{adapter}.md has the rights of a key" in said
    assert operator.secrets() == before


def test_what_is_wrong_with_an_account_is_said(operator: Operator) -> None:
    operator.json("providers", "update", operator.provider_id, SLUICE_PROVIDER_API_KEY="sk_test_another")
    found = operator.check()
    assert found["credentials"] == ("FAIL", "the provider answered 401")
    refused = operator.commands.error("providers", "connect", operator.provider_id)
    assert "the address was not registered: the provider answered 401; docs/providers/stripe.md has" in refused
    operator.stack.databases.rows(
        "update payment_providers set currencies = '{USD,IRR}' where id = :id", id=operator.provider_id
    )
    operator.stack.databases.rows(
        "update provider_secrets set ends_at = now() where provider_id = :id", id=operator.provider_id
    )
    found = operator.check()
    assert found["currencies"][0] == "FAIL"
    assert "does not know IRR" in found["currencies"][1]
    assert found["webhook secret"][0] == "FAIL"


def test_an_address_that_others_answer_is_not_ours(operator: Operator) -> None:
    said = operator.commands.run(
        "providers", "check", operator.provider_id, SLUICE_PUBLIC_URL=operator.stack.sandbox.url
    )
    assert said.exit_code == 1
    (line,) = [line for line in said.stdout.splitlines() if "webhook address" in line]
    assert line.startswith("FAIL    webhook address: ")
    assert "is answered by something else (404)" in line


def test_a_provider_is_named_by_its_adapter_where_it_is_the_only_one(operator: Operator) -> None:
    connect = ("providers", "connect", "--adapter", "stripe")
    done = operator.json(*connect, "--tenant", str(operator.shop.tenant_id))
    assert done["id"] == operator.provider_id
    there = operator.commands.error(
        "providers", "connect", "--adapter", "paystack", "--tenant", str(operator.shop.tenant_id)
    )
    assert "of paystack there is none" in there
    operator.commands.error("providers", "connect", code=2)
    manual = operator.commands.error("providers", "connect", str(operator.shop.provider_id))
    assert "sandbox registers no address by its API: enter " in manual


def test_several_secrets_are_valid_until_each_is_ended(operator: Operator) -> None:
    (made,) = operator.secrets()
    other = "whsec_" + secrets.token_hex(16)
    add = ("providers", "secrets", "add", operator.provider_id, "--webhook-secret-file", "-")
    added = operator.json(*add, stdin=other)["secret_id"]
    assert operator.json(*add, stdin=other)["secret_id"] == added
    assert other not in str(operator.secrets())
    assert [(row["id"], row["ends_at"], row["is_active"]) for row in operator.secrets()] == [
        (made["id"], None, True),
        (added, None, True),
    ]
    end = ("providers", "secrets", "end", operator.provider_id)
    assert operator.json(*end, made["id"])["ended"] is True
    assert [row["is_active"] for row in operator.secrets()] == [False, True]
    assert "has no valid secret" in operator.commands.error(*end, made["id"])
    assert "it is the only valid secret" in operator.commands.error(*end, added)
    short = operator.commands.error(*add, stdin="short")
    assert "short" not in short.replace("too short", "")
