"""An operator who connects a provider with the command line alone."""

from __future__ import annotations

import json
import urllib.parse
from typing import Any

import requests

from app.local.emulated_accounts import EMULATED, NewAccount
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.support.clients.api import Api
from tests.support.commands import Commands

# What some adapter or other needs of a deposit.
DEPOSIT = {"success_url": "https://shop.example/ok", "customer": {"email": "ann@example.com"}}


class Operator:
    """Somebody with the command line, a tenant and an account at an emulator."""

    def __init__(self, stack: Stack, adapter: str = "stripe") -> None:
        self.stack, self.shop, self.adapter = stack, stack.make_shop(), adapter
        self.commands = Commands(stack.databases)
        self.account = EMULATED[adapter]()
        # What of the credentials is secret.
        self.key = self.account.api_key.rpartition(":")[2]
        stack.sandbox.put_merchant(self.key[-12:], self.account.api_key, self.account.secret, protocol=adapter)
        create = ("providers", "create", "--tenant", str(self.shop.tenant_id), adapter, "--adapter", adapter)
        url = ("--url", f"{stack.sandbox.url}/{adapter}", "--default")
        given = {f"SLUICE_PROVIDER_{name.upper()}": value for name, value in self.account.credentials.items()}
        self.made = self.json(*create, *url, **given)
        self.provider_id: str = self.made["id"]

    def json(self, *arguments: str, **environment: str) -> Any:
        return self.commands.json(*arguments, SLUICE_PUBLIC_URL=self.stack.web, **environment)

    def put_merchant(self, account: NewAccount) -> None:
        """Give the account at the emulator these credentials, and our address."""
        name = self.key[-12:]
        stored = {"protocol": self.adapter, "webhook_url": f"{self.stack.web}/webhooks/{self.provider_id}"}
        self.stack.sandbox.put_merchant(name, account.api_key, account.secret, **stored)

    def connect(self) -> Any:
        """Connect the provider; return what is said."""
        return self.json("providers", "connect", self.provider_id)

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

    def pay(self) -> str:
        """Pay a deposit on the emulator's page; return its id once it is credited."""
        api = Api(self.stack.web, self.shop.secret_key)
        payment_id = api.deposit(**DEPOSIT).json()["id"]
        wait_until(lambda: api.read(payment_id)["redirect_url"] is not None, "the page is there", 30.0)
        page = urllib.parse.urlsplit(api.read(payment_id)["redirect_url"])
        form = {"token": urllib.parse.parse_qs(page.query)["token"][0]}
        requests.post(f"{page.scheme}://{page.netloc}{page.path}/pay", form, allow_redirects=False, timeout=10)
        wait_until(lambda: api.read(payment_id)["status"] == "completed", "the payment is completed", 30.0)
        return str(payment_id)
