"""The sandbox as an emulator, driven over its HTTP control API (docs/SANDBOX.md)."""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import requests

from app.conformance.emulator import Action, Spoiling, Traits, Truth
from app.core.money import format_amount
from app.core.signatures import Scheme
from app.local.emulated_accounts import NewAccount
from app.providers import Account

# Webhooks arrive within milliseconds; the rest is for a machine under load.
_ARRIVAL_SECONDS = 20.0
_POLL_SECONDS = 0.02
_CALL_SECONDS = 20.0

# What a script says of one webhook. One that is refused is not sent again.
_WAYS: Mapping[Spoiling, Mapping[str, Any]] = {
    "forged": {"signature": "forged", "attempts": 1},
    "unsigned": {"signature": "missing", "attempts": 1},
    "malformed": {"body": "malformed", "attempts": 1},
    "stray": {"stray": True},
}


class SandboxRefused(RuntimeError):
    """The sandbox does not do what the kit asks of it."""


def check_sandbox(url: str, control_key: str | None) -> None:
    """Raise SandboxRefused unless a sandbox answers at `url` and can be scripted with the key."""
    headers = {"Authorization": f"Bearer {control_key}"} if control_key else {}
    try:
        with requests.Session() as session:
            session.trust_env = False
            query = {"merchant_reference": "kit", "limit": "1"}
            answer = session.get(f"{url}/control/truth", params=query, headers=headers, timeout=_CALL_SECONDS)
    except requests.RequestException as error:
        raise SandboxRefused(f"nothing that can be examined answers at {url}: {type(error).__name__}") from None
    if answer.status_code == 401:
        raise SandboxRefused(f"the sandbox at {url} has a control key, and SANDBOX_CONTROL_KEY does not have it")
    if answer.status_code != 200 or '"payments"' not in answer.text:
        raise SandboxRefused(f"what answers at {url} is no sandbox: {answer.status_code} for /control/truth")


@dataclass(frozen=True, slots=True)
class Personality:
    """One provider as the sandbox emulates it.

    `path` follows the sandbox's URL. `live_change`: what of a webhook says that it is about real money.
    """

    protocol: str
    traits: Traits
    new_account: Callable[[], NewAccount]
    path: str
    live_change: Mapping[str, object] = field(default_factory=dict)


class SandboxEmulator:
    """An account of its own at a running sandbox. Every call raises SandboxRefused unless the sandbox does it."""

    scheme = Scheme()

    def __init__(self, personality: Personality, url: str, webhook_url: str, control_key: str | None = None) -> None:
        self._personality, self._url = personality, url
        self._session = requests.Session()
        # Neither a proxy nor credentials of this machine are for the sandbox.
        self._session.trust_env = False
        if control_key:
            self._session.headers["Authorization"] = f"Bearer {control_key}"
        self.traits = personality.traits
        new, stranger = personality.new_account(), personality.new_account()
        self.secret = new.secret
        self.account, self.stranger = (self._open(each.credentials) for each in (new, stranger))
        stored: dict[str, Any] = {"api_key": new.api_key, "provider_id": "kit", "webhook_secret": self.secret}
        if personality.protocol != "sandbox":
            stored |= {"protocol": personality.protocol, "webhook_url": f"{webhook_url}/provider"}
        self._call("PUT", f"/control/merchants/kit-{secrets.token_hex(8)}", json=stored)

    def new_secret(self) -> str:
        """Return another webhook secret of the right form."""
        return self._personality.new_account().secret

    def happen(self, payment_id: str, action: Action, amount_minor: int | None = None) -> None:
        """Let an action happen."""
        words = {}
        if amount_minor is not None:
            (payment,) = self._truth(payment_id)
            words["amount"] = format_amount(amount_minor, payment["received_currency"] or payment["currency"])
        self._call("POST", f"/control/payments/{payment_id}/{action}", json=words)

    def await_webhooks(self, payment_id: str) -> None:
        """Return once the sandbox has delivered what it has to say of the payment."""
        deadline = time.monotonic() + _ARRIVAL_SECONDS
        while any(each["state"] == "pending" for each in self._get("/control/deliveries", payment_id)["data"]):
            if time.monotonic() >= deadline:
                raise SandboxRefused(f"a webhook about {payment_id} did not arrive")
            time.sleep(_POLL_SECONDS)

    def spoil(self, payment_id: str, ways: Sequence[Spoiling]) -> None:
        """Send the next webhook in each of these ways, in place of honestly."""
        changes = {"other_mode": {"change": dict(self._personality.live_change)}, **_WAYS}
        self._script(payment_id, send=[changes[way] for way in ways], times=1)

    def join(self, payment_id: str, count: int) -> None:
        """Send the next `count` events in one webhook."""
        self._script(payment_id, join=count)

    def read_truth(self, payment_id: str) -> Truth:
        """Return what the sandbox has of one of our payment ids."""
        found = self._truth(payment_id)
        one = found[0] if found else {}
        gone = one.get("refunded_minor", 0) + one.get("disputed_minor", 0)
        return Truth(len(found), one.get("received_minor", 0), one.get("received_currency"), gone)

    def _open(self, credentials: Mapping[str, str]) -> Account:
        return Account(uuid.uuid4(), self._url + self._personality.path, credentials)

    def _script(self, payment_id: str, **webhook: Any) -> None:
        self._call("PUT", "/control/script", json={"match": {"merchant_reference": payment_id}, "webhook": webhook})

    def _truth(self, payment_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._get("/control/truth", payment_id)["payments"]
        return found

    def _get(self, path: str, payment_id: str) -> dict[str, Any]:
        return self._call("GET", path, params={"merchant_reference": payment_id, "limit": "1000"})

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        answer = self._session.request(method, self._url + path, timeout=_CALL_SECONDS, **options)
        if answer.status_code != 200:
            raise SandboxRefused(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return dict(answer.json())
