"""Registers our address for Adyen's standard webhooks, by its Management API, and has an HMAC key made for it."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from app.core.errors import UnexpectedAnswer
from app.providers.adapter import Account
from app.providers.calls.answer_fields import read_kept_id
from app.providers.calls.http_adapter import read_list, read_object, walk_pages
from app.providers.calls.outgoing import ProviderAnswer
from app.providers.connectable import Registration, keep_registration

LIST_ROWS = 100
# By the mode of the account, the host of the Management API; an emulator has both on its own.
_HOSTS = {"test": "https://management-test.adyen.com", "live": "https://management-live.adyen.com"}
_REMAINING = "let payments be captured automatically: Customer Area, Settings, Account settings"
_OFF = "switch it on there: Customer Area, Developers, Webhooks"

Send = Callable[..., ProviderAnswer]


def find_management(account: Account, mode: str | None) -> Account:
    """Return the account at the Management API, whose host is another one at Adyen itself."""
    return replace(account, api_base_url=_HOSTS.get(mode or "", account.api_base_url))


def register(send: Send, managed: Account, merchant: str, webhook_url: str, known_id: str | None) -> Registration:
    """Set up a webhook unless there is one of this URL, and have its key made unless it is the known one.

    Raise ProviderCallFailed.
    """
    path = f"/v3/merchants/{urllib.parse.quote(merchant, safe='')}/webhooks"
    found = next((row for row in _list(send, managed, path) if row.get("url") == webhook_url), None)
    if found is None:
        # A lost answer makes no second one: the next call finds it by its URL.
        wanted = {"type": "standard", "url": webhook_url, "active": True, "communicationFormat": "json"}
        wanted["description"] = "Sluice"
        found = read_object(send(managed, "POST", path, json.dumps(wanted).encode("ascii")), (200, 201))
    webhook_id = read_kept_id(found)
    if webhook_id == known_id:
        kept = keep_registration(webhook_id, [])
        return kept if found.get("active") is not False else replace(kept, remaining=_OFF)
    made = read_object(send(managed, "POST", f"{path}/{urllib.parse.quote(webhook_id, safe='')}/generateHmac", b"{}"))
    key = made.get("hmacKey")
    if not isinstance(key, str):
        raise UnexpectedAnswer("the provider's answer has no key", "hmacKey")
    return Registration(webhook_id, key, _REMAINING if found.get("active") is not False else _OFF)


def _list(send: Send, account: Account, path: str) -> Iterator[dict[str, Any]]:
    def read_page(cursor: str | None) -> tuple[list[Any], object]:
        number = int(cursor or "1")
        answer = send(account, "GET", f"{path}?pageSize={LIST_ROWS}&pageNumber={number}")
        if answer.status == 204:
            return [], None
        body = read_object(answer)
        pages = body.get("pagesTotal")
        # An account without any has no field for them.
        rows = read_list(body, "data") if "data" in body else []
        return rows, str(number + 1) if rows and isinstance(pages, int) and number < pages else None

    return walk_pages(read_page)
