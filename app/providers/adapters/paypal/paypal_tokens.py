"""Tokens for which PayPal exchanges an account's credentials: cached until shortly before they end."""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cachetools import TTLCache

from app.core.errors import NotSent, OutcomeUnknown, ProviderRefusedUs
from app.core.strict_json import JsonError, loads
from app.providers.adapter import Account
from app.providers.calls.outgoing import ProviderAnswer

TOKEN_PATH = "/v1/oauth2/token"  # noqa: S105  # a path
# A token that ends while a call is on its way would refuse the call.
SLACK_SECONDS = 60.0
# Tokens last for hours. One that names no time, or an absurd one, is used for as long as this.
LIFE_SECONDS_MAX = 9 * 3_600.0
# A token that is refused though it is younger than this was not withdrawn: the account is at fault.
FRESH_SECONDS = 60.0
# Accounts whose tokens are kept; for one that is dropped another token is asked for.
ACCOUNTS_MAX = 1_000

Exchange = Callable[[Account, str], ProviderAnswer]


@dataclass(slots=True)
class _Held:
    """The token of one account; `digest` is of the credentials that it was given for."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    digest: bytes = b""
    token: str = field(default="", repr=False)
    given_at: float = 0.0
    ends_at: float = 0.0


class Tokens:
    """The tokens of one process, by account. Of calls that need a new one at once, one exchanges, the others wait."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._lock = threading.Lock()
        self._held: TTLCache[object, _Held] = TTLCache(ACCOUNTS_MAX, LIFE_SECONDS_MAX)

    def read(self, account: Account) -> str:
        """Return a token. Raise NotSent where none can be had now, ProviderRefusedUs for wrong credentials."""
        held, digest = self._of(account), _digest(account)
        with held.lock:
            if held.digest != digest or time.monotonic() >= held.ends_at:
                held.token, seconds = self._fetch(account)
                held.digest, held.given_at = digest, time.monotonic()
                held.ends_at = held.given_at + seconds - SLACK_SECONDS
            return held.token

    def drop(self, account: Account) -> bool:
        """Forget a token that PayPal refused; return whether another one may help: one that is new is no better."""
        held = self._of(account)
        with held.lock:
            is_stale = time.monotonic() - held.given_at >= FRESH_SECONDS
            held.ends_at = 0.0 if is_stale else held.ends_at
            return is_stale

    def _of(self, account: Account) -> _Held:
        key = (account.provider_id, account.api_base_url)
        with self._lock:
            return self._held.setdefault(key, _Held())

    def _fetch(self, account: Account) -> tuple[str, float]:
        basic = base64.b64encode(_credentials(account)).decode("ascii")
        try:
            answer = self._exchange(account, basic)
        except OutcomeUnknown as error:
            raise NotSent("the provider gave no token") from error
        if answer.status in (400, 401, 403):
            raise ProviderRefusedUs("the provider refuses our client id and secret")
        try:
            body: Any = loads(answer.body) if answer.status == 200 else None
            token, seconds = body["access_token"], body["expires_in"]
            # What a header can carry; a number that is none would raise below.
            if not (isinstance(token, str) and token.isascii() and token.isprintable() and " " not in token and token):
                raise TypeError
            return token, min(float(seconds), LIFE_SECONDS_MAX)
        except (JsonError, KeyError, TypeError, ValueError):
            raise NotSent(f"the provider gave no token: it answered {answer.status}") from None


def _credentials(account: Account) -> bytes:
    return f"{account.credentials['client_id']}:{account.credentials['client_secret']}".encode()


def _digest(account: Account) -> bytes:
    return hashlib.sha256(_credentials(account)).digest()
