"""An operator connects Stripe with the command line alone, and sees that it works before anybody pays."""

from __future__ import annotations

import json
import secrets
import urllib.parse
from typing import Any

import pytest
import requests

from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.support.clients.api import Api
from tests.support.commands import Commands

RETURN = {"success_url": "https://shop.example/ok"}


class Operator:
    """Somebody with the command line, a tenant and an account at the emulator of Stripe."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.shop = stack, stack.make_shop()
        self.commands = Commands(stack.databases)
        self.key = f"sk_test_{secrets.token_hex(12)}"
        stack.sandbox.put_merchant(self.key[-12:], self.key, f"whsec_{secrets.token_hex(16)}", protocol="stripe")
        create = ("providers", "create", "--tenant", str(self.shop.tenant_id), "stripe", "--adapter", "stripe")
        url = ("--url", f"{stack.sandbox.url}/stripe", "--default")
        self.provider_id: str = self.json(*create, *url, SLUICE_PROVIDER_API_KEY=self.key)["id"]

    def json(self, *arguments: str, **environment: str) -> Any:
        return self.commands.json(*arguments, SLUICE_PUBLIC_URL=self.stack.web, **environment)

    def check(self) -> dict[str, tuple[str, str]]:
        """Examine the provider; return state and detail of each check."""
        done = self.commands.run("providers", "check", self.provider_id, "--json", SLUICE_PUBLIC_URL=self.stack.web)
        said = json.loads(done.stdout)
        assert (done.exit_code == 0) is said["ok"]
        assert self.key not in done.output
        return {one["check"]: (one["state"], one["detail"]) for one in said["data"]}

    def secrets(self) -> list[dict[str, Any]]:
        """Return the provider's webhook secrets."""
        rows: list[dict[str, Any]] = self.json("providers", "secrets", "list", self.provider_id)["data"]
        return rows


@pytest.fixture(scope="module")
def working(stack: Stack) -> Stack:
    """All processes that a deposit needs."""
    stack.start("web", "sandbox", "worker-settle", "worker-provider")
    return stack


@pytest.fixture
def operator(working: Stack) -> Operator:
    """Provide an operator with a provider of their own."""
    return Operator(working)


def test_a_deposit_is_paid_once_the_provider_is_connected(operator: Operator) -> None:
    done = operator.json("providers", "connect", operator.provider_id)
    assert done == {
        "id": operator.provider_id,
        "webhook_url": f"{operator.stack.web}/webhooks/{operator.provider_id}",
        "is_secret_stored": True,
        "remaining": "nothing: Stripe sends the events that Sluice reads",
    }
    states = {name: state for name, (state, _) in operator.check().items()}
    assert states == dict.fromkeys(("credentials", "clock", "webhook address", "currencies", "webhook secret"), "ok")
    api = Api(operator.stack.web, operator.shop.secret_key)
    payment_id = api.deposit(**RETURN).json()["id"]
    wait_until(lambda: api.read(payment_id)["redirect_url"] is not None, "the page is there", 30.0)
    page = urllib.parse.urlsplit(api.read(payment_id)["redirect_url"])
    form = {"token": urllib.parse.parse_qs(page.query)["token"][0]}
    requests.post(f"{page.scheme}://{page.netloc}{page.path}/pay", form, allow_redirects=False, timeout=10)
    wait_until(lambda: api.read(payment_id)["status"] == "completed", "the payment is completed", 30.0)
    taken = "select status from payment_webhooks where provider_id = :id"
    assert operator.stack.databases.rows(taken, id=operator.provider_id), "it was the webhook that said so"


def test_to_connect_again_makes_no_second_secret(operator: Operator) -> None:
    for _ in range(2):
        operator.json("providers", "connect", operator.provider_id)
    assert len(operator.secrets()) == 2  # that of the endpoint, and the one that was made with the provider
    kinds = "select kind from audit_logs where tenant_id = :id and kind like 'provider_%' order by id"
    audit = [row["kind"] for row in operator.stack.databases.rows(kinds, id=operator.shop.tenant_id)]
    assert audit[-3:] == ["provider_secret_added", "provider_connected", "provider_connected"]


def test_what_is_wrong_with_an_account_is_said(operator: Operator) -> None:
    operator.json("providers", "update", operator.provider_id, SLUICE_PROVIDER_API_KEY="sk_test_another")
    found = operator.check()
    assert found["credentials"] == ("FAIL", "the provider answered 401")
    refused = operator.commands.error("providers", "connect", operator.provider_id)
    assert "the address was not registered: the provider answered 401" in refused
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
