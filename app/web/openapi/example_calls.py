"""The example calls of the page /docs: shell commands that run as they are pasted once SLUICE_KEY is set."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

# A new key each time: a repeated one would return the first payment again, which may have ended.
_NEW_KEY = "$(date +%s%N)"
_PAYMENT = (
    "PAYMENT_ID=$(curl -s -X POST '{base}/api/payments/deposit' -H \"Authorization: Bearer $SLUICE_KEY\" \\\n"
    "  -H \"Idempotency-Key: $(date +%s%N)\" -H 'Content-Type: application/json' \\\n"
    '  -d \'{{"user_id": "user_42", "amount": "25.00", "currency": "USD"}}\' | sed \'s/.*"id": *"\\([^"]*\\)".*/\\1/\')'
)
_OF_CLIENT = (
    "CLIENT_TOKEN=$(curl -s -X POST '{base}/api/client-tokens' -H \"Authorization: Bearer $SLUICE_KEY\" \\\n"
    "  -H 'Content-Type: application/json' -d '{{\"user_id\": \"user_42\"}}' \\\n"
    '  | sed \'s/.*"token": *"\\([^"]*\\)".*/\\1/\')'
)
_DEAD_LETTER = (
    "DEAD_LETTER_ID=$(curl -s '{base}/api/dead-letters?limit=1' -H \"Authorization: Bearer $SLUICE_KEY\" \\\n"
    '  | sed -n \'s/.*"data": *\\[{{"id": *"\\([^"]*\\)".*/\\1/p\')'
)
_PAID = (
    "PAYMENT_ID=$(curl -s '{base}/api/payments?status=completed&limit=1' -H \"Authorization: Bearer $SLUICE_KEY\" \\\n"
    '  | sed -n \'s/.*"data": *\\[{{"id": *"\\([^"]*\\)".*/\\1/p\')'
)
_REFUND = (
    _PAID
    + '\nREFUND_ID=$(curl -s "{base}/api/payments/$PAYMENT_ID/refunds" -H "Authorization: Bearer $SLUICE_KEY" \\\n'
    '  | sed -n \'s/.*"data": *\\[{{"id": *"\\([^"]*\\)".*/\\1/p\')'
)

_DEBIT = (
    "DEBIT_ID=$(curl -s '{base}/api/debits?limit=1' -H \"Authorization: Bearer $SLUICE_KEY\" \\\n"
    '  | sed -n \'s/.*"data": *\\[{{"id": *"\\([^"]*\\)".*/\\1/p\')'
)
# A pasted example must not move money: the shell refuses it until the reader has said whose.
_PAYMENT_TO_REFUND = "${PAYMENT_ID:?is the payment to be refunded}"
_USER_TO_DEBIT = "${USER_ID:?is the user whose wallet is to be debited}"
_DEBIT_TO_REVERSE = "${DEBIT_ID:?is the debit to be reversed}"

_ENDPOINT = (
    "ENDPOINT_ID=$(curl -s -X POST '{base}/api/webhook-endpoints' -H \"Authorization: Bearer $SLUICE_KEY\" \\\n"
    "  -H 'Content-Type: application/json' -d '{{\"url\": \"https://shop.example/hooks\"}}' \\\n"
    '  | sed -n \'s/^{{"id": *"\\([^"]*\\)".*/\\1/p\')'
)
_DELIVERY = (
    _ENDPOINT + '\nDELIVERY_ID=$(curl -s -X POST "{base}/api/webhook-endpoints/$ENDPOINT_ID/test" \\\n'
    '  -H "Authorization: Bearer $SLUICE_KEY" | sed -n \'s/^{{"id": *"\\([^"]*\\)".*/\\1/p\')'
)


@dataclass(frozen=True)
class ExampleCall:
    """An example's parts that the document does not have: lines that run before it, and values of parameters.

    `{base}` in `before` is the base URL. Values and the credential may hold shell variables and commands. `body` has
    members that differ from the schema's own examples.
    """

    before: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    credential: str = "$SLUICE_KEY"
    body: Mapping[str, Any] = field(default_factory=dict)


_OF_PAYMENT = ExampleCall(_PAYMENT, {"id": "$PAYMENT_ID"})
_OF_ENDPOINT = ExampleCall(_ENDPOINT, {"id": "$ENDPOINT_ID"})
_OF_DELIVERY = ExampleCall(_DELIVERY, {"id": "$DELIVERY_ID"})
_OF_DEAD_LETTER = ExampleCall(_DEAD_LETTER, {"id": "$DEAD_LETTER_ID"})
# A pasted example must not decide about money: it only reports what it would do.
_DRY_RUN = ExampleCall(_DEAD_LETTER, {"id": "$DEAD_LETTER_ID", "dry_run": "true"})

CALLS: Mapping[tuple[str, str], ExampleCall] = {
    ("POST", "/api/payments/deposit"): ExampleCall(values={"Idempotency-Key": _NEW_KEY}),
    ("GET", "/api/payments/{id}"): _OF_PAYMENT,
    ("POST", "/api/payments/{id}/cancel"): _OF_PAYMENT,
    ("GET", "/api/payments/{id}/timeline"): _OF_PAYMENT,
    ("POST", "/api/payments/{id}/refunds"): ExampleCall(values={"id": _PAYMENT_TO_REFUND, "Idempotency-Key": _NEW_KEY}),
    ("GET", "/api/payments/{id}/refunds"): ExampleCall(_PAID, {"id": "$PAYMENT_ID"}),
    ("GET", "/api/refunds/{id}"): ExampleCall(_REFUND, {"id": "$REFUND_ID"}),
    ("POST", "/api/wallets/{user_id}/debits"): ExampleCall(
        values={"user_id": _USER_TO_DEBIT, "Idempotency-Key": _NEW_KEY}
    ),
    ("GET", "/api/debits/{id}"): ExampleCall(_DEBIT, {"id": "$DEBIT_ID"}),
    ("POST", "/api/debits/{id}/reverse"): ExampleCall(values={"id": _DEBIT_TO_REVERSE}),
    **{
        (method, f"/api/webhook-endpoints/{{id}}{action}"): _OF_ENDPOINT
        for method, action in (
            *(("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/rotate-secret"), ("POST", "/test")),
            *(("GET", "/deliveries"), ("POST", "/redeliver")),
        )
    },
    ("GET", "/api/webhook-deliveries/{id}"): _OF_DELIVERY,
    ("POST", "/api/webhook-deliveries/{id}/redeliver"): _OF_DELIVERY,
    ("POST", "/api/tickets"): ExampleCall(_OF_CLIENT, credential="$CLIENT_TOKEN"),
    ("GET", "/api/dead-letters/{id}"): _OF_DEAD_LETTER,
    ("POST", "/api/dead-letters/{id}/redrive"): _DRY_RUN,
    ("POST", "/api/dead-letters/{id}/accept"): _DRY_RUN,
    ("POST", "/api/dead-letters/{id}/reject"): _DRY_RUN,
    ("POST", "/api/dead-letters/redrive"): ExampleCall(values={"dry_run": "true"}),
    ("POST", "/webhooks/payment-failed"): ExampleCall(
        body={"event_type": "payment.failed", "status": "failed", "error_message": "The card was declined."}
    ),
}
# Signed with a secret that only the provider has: shown as the request that is sent.
SIGNED_PREFIX = "/webhooks/"
_SIGNATURE = (
    "webhook-id: msg_2Lh9KRb0pzN4LePd3XiA4v12Axj",
    "webhook-timestamp: 1769860800",
    "webhook-signature: v1,<base64 of HMAC-SHA256 over id.timestamp.body, with the provider's secret>",
)


def write_curl(
    call: ExampleCall, method: str, base_url: str, path: str, headers: Iterable[str], body: Any = None
) -> str:
    """Return a shell command with every word quoted, in double quotes where the shell fills in a variable."""
    words = [f"curl {'' if method == 'GET' else f'-X {method} '}{_quote(base_url + path)}"]
    words += [f"-H {_quote(line)}" for line in headers]
    if body is not None:
        words.append("-H 'Content-Type: application/json'")
        words.append(f"-d {shlex.quote(json.dumps(body, ensure_ascii=False))}")
    before = call.before.format(base=base_url) + "\n" if call.before else ""
    return before + " \\\n  ".join(words)


def write_message(method: str, path: str, body: Any) -> str:
    """Return a signed request as it is sent."""
    head = (f"{method} {path} HTTP/1.1", "Content-Type: application/json", *_SIGNATURE)
    return "\n".join((*head, "", json.dumps(body, ensure_ascii=False)))


def _quote(text: str) -> str:
    return f'"{text}"' if "$" in text else shlex.quote(text)
