"""The adapter of a payment app of the tenant's own: it speaks the sandbox's API, with a create call of its own form.

The operator describes the create call (docs/providers/custom.md): path, method, headers, names of the fields. Lookups,
the list and cancelling are the sandbox's calls below the same path, and webhooks have the common body.
"""

from __future__ import annotations

import functools
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from app.core.facts import Fact
from app.core.strict_json import JsonError, loads
from app.providers.adapter import Account
from app.providers.adapters.sandbox import PAYMENTS, REFUSES_PAYMENT, SandboxAdapter, read_accepted, read_refusal
from app.providers.calls.answer_fields import check_own_id
from app.providers.calls.http_adapter import read_object
from app.providers.calls.outgoing import ProviderAnswer
from app.providers.credentials import API_KEY, Credential, CredentialError

CREATE_CALL = "create_call"
FIELDS = ("amount", "currency", "merchant_reference", "callback_urls", "success_url", "failure_url", "expires_at")
ANSWER_FIELDS = ("reference", "redirect_url", "prompt", "merchant_reference")
_REQUIRED = frozenset({"amount", "currency", "merchant_reference"})
_KEYS = frozenset({"path", "method", "auth_header", "auth_prefix", "key_header", "fields", "answer"})

_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+", re.ASCII)
# A field name of HTTP (RFC 9110), and names in the app's JSON.
_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_PREFIX = re.compile(r"[!-~]{0,32} ?", re.ASCII)


@dataclass(frozen=True, slots=True)
class CreateCall:
    """How the app's create call is made; without a description as the sandbox's.

    `fields` gives our names theirs, and leaves out those that are None. `answer`: where the answer has `reference`,
    `redirect_url`, or `prompt` in place of a page, and, if it repeats it, `merchant_reference`.
    """

    path: str = PAYMENTS
    method: str = "POST"
    auth_header: str = "Authorization"
    auth_prefix: str = "Bearer "
    key_header: str = "Idempotency-Key"
    fields: Mapping[str, str | None] = field(default_factory=dict)
    answer: Mapping[str, str] = field(default_factory=dict)

    def rename(self, request: bytes) -> bytes:
        """Return the body of a request with the app's names; the same bytes for the same request."""
        body = loads(request)
        named = {self.fields.get(name, name): value for name, value in body.items()}
        named.pop(None, None)
        return json.dumps(named, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    def find(self, body: Mapping[str, Any], name: str) -> Any:
        """Return what an answer has of one of our names."""
        return body.get(self.answer.get(name, name))


@functools.lru_cache(maxsize=1_000)
def read_create_call(text: str) -> CreateCall:
    """Return the create call that an operator has described. Raise CredentialError, which never has the text."""
    try:
        given = loads(text.encode())
    except JsonError as error:
        raise CredentialError(f"{CREATE_CALL} is no JSON: {error}") from None
    if not isinstance(given, dict) or given.keys() - _KEYS:
        raise CredentialError(f"{CREATE_CALL} is an object with some of {', '.join(sorted(_KEYS))}")
    call = CreateCall(**given)
    patterns = {"path": _PATH, "auth_header": _HEADER, "key_header": _HEADER, "auth_prefix": _PREFIX}
    wrong = [name for name, pattern in patterns.items() if not _matches(pattern, getattr(call, name))]
    if call.method not in ("POST", "PUT"):
        wrong.append("method")
    if not _are_names(call.fields, (*FIELDS, "metadata"), _REQUIRED):
        wrong.append("fields")
    if not _are_names(call.answer, ANSWER_FIELDS, frozenset(call.answer)):
        wrong.append("answer")
    if wrong:
        raise CredentialError(f"{CREATE_CALL} cannot be used: {', '.join(wrong)}")
    return call


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _are_names(value: object, known: tuple[str, ...], needed: frozenset[str]) -> bool:
    """Return whether `value` gives some of `known` names that differ; those `needed` are not left out."""
    if not isinstance(value, dict) or value.keys() - set(known):
        return False
    theirs = [value.get(name, name) for name in known]
    kept = [name for name in theirs if name is not None]
    is_whole = all(value.get(name, name) is not None for name in needed)
    return is_whole and all(_matches(_NAME, name) for name in kept) and len(set(kept)) == len(kept)


@dataclass(frozen=True, slots=True)
class CreateCallDescription(Credential):
    """The description of the create call, which is no secret and is checked when it is entered."""

    def check(self, value: str) -> None:
        """Raise CredentialError unless `value` describes a create call."""
        Credential.check(self, value)
        read_create_call(value)


class CustomAdapter(SandboxAdapter):
    """Talks to an app of the tenant's own."""

    # Of its refunds nothing is described: they are made at the app, and reported as all that goes back.
    capabilities = replace(SandboxAdapter.capabilities, can_refund=False, finds_refunds=False, refund_key_seconds=0)
    credentials: ClassVar[tuple[Credential, ...]] = (
        Credential(API_KEY, "the key by which the app knows Sluice"),
        CreateCallDescription(
            CREATE_CALL,
            "how the app's create call is made, as JSON (docs/providers/custom.md)",
            is_secret=False,
            pattern=re.compile(r".+", re.DOTALL),
            form="is a JSON object",
            is_required=False,
        ),
    )

    def read_mode(self, account: Account) -> str | None:
        """Return None: only the tenant knows what its app takes."""
        return None

    def authorize(self, account: Account) -> Mapping[str, str]:
        """Return the header with the account's key, as the app wants it."""
        call = _call_of(account)
        return {call.auth_header: call.auth_prefix + account.credentials[API_KEY]}

    def send(
        self,
        account: Account,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> ProviderAnswer:
        """Send a request of the sandbox's API to the app's own path."""
        return super().send(account, method, _call_of(account).path + path.removeprefix(PAYMENTS), body, headers)

    def create(self, account: Account, payment_id: uuid.UUID, request: bytes) -> Fact:
        """Create the payment; a refusal of the payment itself is a DECLINED fact."""
        call = _call_of(account)
        answer = self.send(account, call.method, PAYMENTS, call.rename(request), {call.key_header: str(payment_id)})
        if answer.status in REFUSES_PAYMENT and answer.is_whole:
            return read_refusal(answer)
        body = read_object(answer, (200, 201))
        named = call.find(body, "merchant_reference")
        if named is not None:
            check_own_id(named, payment_id, "merchant_reference")
        return read_accepted({name: call.find(body, name) for name in ANSWER_FIELDS})


def _call_of(account: Account) -> CreateCall:
    text = account.credentials.get(CREATE_CALL)
    return CreateCall() if text is None else read_create_call(text)
