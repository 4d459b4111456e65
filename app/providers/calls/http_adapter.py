"""What adapters of JSON APIs over HTTP share: calls with an account's credentials, answers, failures, and lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import structlog

from app.core.errors import (
    OutcomeUnknown,
    ProviderCallFailed,
    ProviderRefusedUs,
    Throttled,
    Unavailable,
    UnexpectedAnswer,
)
from app.core.facts import Fact, FactKind
from app.core.strict_json import JsonError, loads
from app.providers.adapter import Account, Adapter, Listed, RefundSubject, Subject
from app.providers.calls.answer_fields import clean_message
from app.providers.calls.outgoing import Outgoing, ProviderAnswer
from app.providers.credentials import API_KEY, Credential

log = structlog.get_logger(__name__)

# What payers are shown in place of a text that is worded for programmers.
NOT_ACCEPTED = "The provider did not accept this payment."

CANNOT_REFUND = "the adapter cannot refund"

# A cursor travels in the next page's URL.
CURSOR_LENGTH_MAX = 2_048

# Shorter ones are no secrets, and may stand in an answer by chance.
MASKED_LENGTH_MIN = 8

# Answers that say that our key, our address or our rights are wrong: a retry does not help, a person must act.
# The rest may pass by itself, redirects and 409 (the first call with this key is still under way) too.
REFUSES_US = frozenset({401, 403, 404, 405, 410, 415})
# Answers that ask to be called less often, or not yet.
THROTTLES = frozenset({425, 429})


class HttpAdapter:
    """The half of an adapter that calls a JSON API over HTTP."""

    # What the adapter declares that it needs.
    credentials: ClassVar[tuple[Credential, ...]]
    # The provider's own URL for test and for live payments; without one the operator has to name it.
    base_urls: ClassVar[Mapping[str, str]] = {}
    # A cheap call below the account's URL that only our credentials open.
    check_path: ClassVar[str | None] = None
    # The type of the request bodies.
    content_type: ClassVar[str] = "application/json"

    def __init__(self, private_hosts: frozenset[str]) -> None:
        self._outgoing = Outgoing(private_hosts)

    def authorize(self, account: Account) -> Mapping[str, str]:
        """Return the headers that show a call to be the account's."""
        return {"Authorization": f"Bearer {account.credentials[API_KEY]}"}

    def advance(self: Adapter, account: Account, subject: Subject) -> Fact:
        """Return the payment's present state: at most providers an approval is the payment, and no step is ours."""
        return self.fetch(account, subject)

    def build_refund(self, subject: RefundSubject) -> bytes:
        """Raise ProviderRefusedUs: this adapter does not declare that it can refund."""
        raise ProviderRefusedUs(CANNOT_REFUND)

    def refund(self, account: Account, subject: RefundSubject, request: bytes) -> Fact:
        """Raise ProviderRefusedUs: this adapter does not declare that it can refund."""
        raise ProviderRefusedUs(CANNOT_REFUND)

    def fetch_refund(self, account: Account, subject: RefundSubject) -> Fact:
        """Raise ProviderRefusedUs: this adapter does not declare that it can refund."""
        raise ProviderRefusedUs(CANNOT_REFUND)

    def limit_calls(self, seconds: float | None) -> None:
        """Let each call take at most `seconds`, None for what production allows: for the conformance kit."""
        self._outgoing.limit(seconds)

    def check_account(self, account: Account) -> ProviderAnswer | None:
        """Make the call that shows whether the provider knows us; None where it has none."""
        return None if self.check_path is None else self.send(account, "GET", self.check_path)

    def send(
        self,
        account: Account,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> ProviderAnswer:
        """Send one request to `path` below the account's URL. Raise NotSent and OutcomeUnknown as Outgoing does."""
        sent = {"Accept": "application/json", **self.authorize(account), **(headers or {})}
        if body is not None:
            sent["Content-Type"] = self.content_type
        answer = self._outgoing.send(method, account.api_base_url + path, sent, body)
        return _mask(answer, [account.credentials.get(one.name, "") for one in self.credentials if one.is_secret])


def _mask(answer: ProviderAnswer, secrets: Iterable[str]) -> ProviderAnswer:
    """Return the answer without our secrets: some providers repeat them in errors, which are logged and stored."""
    body = answer.body
    for secret in secrets:
        if len(secret) >= MASKED_LENGTH_MIN:
            body = body.replace(secret.encode(), b"[secret]")
    return answer if body is answer.body else replace(answer, body=body)


def read_object(answer: ProviderAnswer, statuses: tuple[int, ...] = (200,)) -> dict[str, Any]:
    """Return the body of an answer with one of `statuses`. Raise ProviderCallFailed for every other answer."""
    if answer.status not in statuses:
        raise read_failure(answer)
    try:
        body = loads(answer.body)
    except JsonError as error:
        # A truncated answer or a gateway's page: the provider is unavailable.
        raise Unavailable("the provider's answer is torn") from error
    if not isinstance(body, dict):
        raise Unavailable("the provider's answer is no object")
    return body


def read_found(answer: ProviderAnswer) -> dict[str, Any] | None:
    """Return the body of an answer, None where the provider has no such object. Raise ProviderCallFailed."""
    return None if answer.status == 404 else read_object(answer)


def read_error(answer: ProviderAnswer, *path: str) -> Mapping[str, Any]:
    """Return the object under `path` of a refusal's body. Raise the failure of its status where there is none."""
    try:
        found: Any = loads(answer.body)
        for name in path:
            found = found[name]
    except (JsonError, KeyError, TypeError):
        found = None
    if not isinstance(found, dict):
        raise read_failure(answer)
    return found


def read_failure(answer: ProviderAnswer) -> ProviderCallFailed:
    """Return the error for a status: whether the provider may have acted, and whether it is unavailable."""
    why = f"the provider answered {answer.status}"
    if answer.status in REFUSES_US:
        return ProviderRefusedUs(why)
    error: ProviderCallFailed
    if answer.status in THROTTLES:
        error = Throttled(why)
    elif answer.status >= 500 or 300 <= answer.status < 400:
        error = Unavailable(why)
    else:
        error = UnexpectedAnswer(why, "http_status")
    error.retry_after_seconds = answer.retry_after_seconds
    return error


def accept(fact: Fact, field: str) -> Fact:
    """Return the fact of an open payment that was created now.

    Raise UnexpectedAnswer where no browser may follow its page, which the answer has in `field`.
    """
    if fact.redirect_url is None:
        raise UnexpectedAnswer(f"the provider's answer has a {field} that no browser may follow", field)
    return replace(fact, kind=FactKind.ACCEPTED)


def refuse(text: str, *, is_about_payment: bool) -> Fact:
    """Return the fact of a refused create call, whose reason is a `text` for operators.

    Raise ProviderRefusedUs where not the payment is refused but our request or the account, which is not the payer's.
    """
    technical = clean_message(text)
    if is_about_payment:
        return Fact(FactKind.DECLINED, message=NOT_ACCEPTED, technical=technical)
    raise ProviderRefusedUs(f"the provider refused our request: {technical}")


def read_list(body: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the rows of an answer that is a list, or a page of one. Raise OutcomeUnknown."""
    rows = body.get(name)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise OutcomeUnknown("the provider's list cannot be read")
    return rows


def read_rows(rows: Iterable[Any], read: Callable[[Any], Listed]) -> Iterator[Listed]:
    """Yield the usable rows of a list; one that is not is logged, since the payment is looked up by itself as well."""
    for row in rows:
        try:
            yield read(row)
        except UnexpectedAnswer as error:
            log.warning("listed_payment_not_understood", field=error.field, error=str(error))


def walk_pages(read_page: Callable[[str | None], tuple[list[Any], object]]) -> Iterator[Any]:
    """Yield the rows of a list; `read_page` returns a cursor's page, and the next page's cursor or None.

    Raise OutcomeUnknown for a cursor that was there before, which would make an endless loop, or that is none.
    """
    cursor: str | None = None
    seen: set[str] = set()
    while True:
        rows, following = read_page(cursor)
        yield from rows
        if following is None:
            return
        if not isinstance(following, str) or following in seen or len(following) > CURSOR_LENGTH_MAX:
            raise OutcomeUnknown("the provider's list has a cursor that leads nowhere")
        seen.add(following)
        cursor = following
