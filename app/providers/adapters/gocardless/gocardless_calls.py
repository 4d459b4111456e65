"""What all calls to GoCardless share: headers, objects that are wrapped by their name, lists, and refusals."""

from __future__ import annotations

import json
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from app.core.errors import UnexpectedAnswer
from app.providers.adapter import Account
from app.providers.adapters.gocardless.gocardless_events import read_metadata_id
from app.providers.calls.http_adapter import HttpAdapter, read_error, read_list, read_object, walk_pages
from app.providers.calls.outgoing import ProviderAnswer

REQUESTS, PAYMENTS, FLOWS, REFUNDS = "billing_requests", "payments", "billing_request_flows", "refunds"
VERSION = "2015-07-06"
LIST_ROWS = 100
REFUSED = (400, 409, 422)


class GoCardlessCalls(HttpAdapter):
    """The calls that read one object, or a list of them."""

    def authorize(self, account: Account) -> Mapping[str, str]:
        """Return the headers with the account's token and the version of the API."""
        return {**super().authorize(account), "GoCardless-Version": VERSION}

    def read(self, account: Account, name: str, reference: str) -> ProviderAnswer:
        return self.send(account, "GET", f"/{name}/{urllib.parse.quote(reference, safe='')}")

    def list_rows(self, account: Account, name: str, query: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        def read_page(cursor: str | None) -> tuple[list[Any], object]:
            asked = {"limit": str(LIST_ROWS), **query} | ({} if cursor is None else {"after": cursor})
            body = read_object(self.send(account, "GET", f"/{name}?{urllib.parse.urlencode(asked)}"))
            meta = body.get("meta")
            cursors = meta.get("cursors") if isinstance(meta, dict) else None
            return read_list(body, name), cursors.get("after") if isinstance(cursors, dict) else None

        return walk_pages(read_page)


def encode(fields: Mapping[str, Any]) -> bytes:
    """Return a request's body, the same bytes for the same fields."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def read_one(answer: ProviderAnswer, name: str) -> dict[str, Any]:
    """Return the object of an answer, which is wrapped by its name. Raise ProviderCallFailed."""
    found = read_object(answer, (200, 201)).get(name)
    if not isinstance(found, dict):
        raise UnexpectedAnswer(f"the provider's answer has no {name}", name)
    return found


def check_own(body: Mapping[str, Any], payment_id: uuid.UUID) -> None:
    """Raise UnexpectedAnswer unless an object of GoCardless's is the payment that was asked about."""
    if read_metadata_id(body) != payment_id:
        raise UnexpectedAnswer("the provider's answer is about another payment", "metadata")


def read_errors(answer: ProviderAnswer) -> tuple[Mapping[str, Any], list[dict[str, Any]]]:
    """Return a refusal and its single errors. Raise the failure of its status where it cannot be read."""
    error = read_error(answer, "error")
    errors = error.get("errors")
    return error, [one for one in errors if isinstance(one, dict)] if isinstance(errors, list) else []


def read_conflict(answer: ProviderAnswer) -> str | None:
    """Return what the idempotency key made before; None where the answer is another refusal."""
    for one in read_errors(answer)[1]:
        links = one.get("links")
        made = links.get("conflicting_resource_id") if isinstance(links, dict) else None
        if one.get("reason") == "idempotent_creation_conflict" and isinstance(made, str) and made:
            return made
    return None
