"""The Python client verifies what the official library of Standard Webhooks signs, and nothing else."""

from __future__ import annotations

import base64
import datetime
import json
from typing import Any

import pytest
from sluice_client import WebhookVerificationError, verify_webhook
from standardwebhooks import Webhook

NOW = 1_700_000_000
SECRET, OLD, OTHER = ("whsec_" + base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2, 3))
BODY = json.dumps({"id": 7, "type": "payment.completed"}).encode()


def _sign(*secrets: str, at: int = NOW) -> dict[str, str]:
    moment = datetime.datetime.fromtimestamp(at, tz=datetime.UTC)
    signatures = [Webhook(secret).sign("msg_1", moment, BODY.decode()) for secret in secrets]
    return {"webhook-id": "msg_1", "webhook-timestamp": str(at), "webhook-signature": " ".join(signatures)}


@pytest.mark.parametrize(
    ("signed_with", "known"),
    [((SECRET,), SECRET), ((SECRET, OLD), [OLD]), ((OLD,), [SECRET, OLD]), ((OTHER, SECRET), (SECRET,))],
)
def test_a_signature_of_one_known_secret_is_enough(signed_with: tuple[str, ...], known: Any) -> None:
    assert verify_webhook(BODY, _sign(*signed_with), known, now=NOW)["id"] == 7


def test_header_names_have_any_case_and_other_versions_are_skipped() -> None:
    headers = {name.title(): value for name, value in _sign(SECRET).items()}
    headers["Webhook-Signature"] = "v2,AAAA v1a,BBBB " + headers["Webhook-Signature"]
    assert verify_webhook(BODY, headers, SECRET, now=NOW)["type"] == "payment.completed"


@pytest.mark.parametrize("seconds", [-300, 300])
def test_a_clock_may_be_off_by_the_tolerance(seconds: int) -> None:
    assert verify_webhook(BODY, _sign(SECRET, at=NOW + seconds), SECRET, now=NOW)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"body": BODY + b" "}, "no signature"),
        ({"secrets": OTHER}, "no signature"),
        ({"headers": {"webhook-id": "msg_2"}}, "no signature"),
        ({"headers": {"webhook-id": ""}}, "webhook-id is missing"),
        ({"headers": {"webhook-signature": "v1,"}}, "no signature"),
        ({"headers": {"webhook-signature": "v1,\u00e9"}}, "no signature"),
        ({"headers": {"webhook-timestamp": "+1700000000"}}, "whole number"),
        ({"headers": {"webhook-timestamp": "\u0661"}}, "whole number"),
        ({"now": NOW + 301}, "300 seconds off"),
        ({"now": NOW - 301}, "300 seconds off"),
        ({"now": NOW + 11, "tolerance": 10}, "10 seconds off"),
    ],
)
def test_anything_else_is_refused(changes: dict[str, Any], words: str) -> None:
    given = {"body": BODY, "secrets": SECRET, "now": NOW, **changes}
    given["headers"] = _sign(SECRET) | changes.get("headers", {})
    with pytest.raises(WebhookVerificationError, match=words):
        verify_webhook(**given)


@pytest.mark.parametrize("secret", ["whsec_", "", "whsec_no base64"])
def test_a_secret_that_is_none_is_an_error_of_the_caller(secret: str) -> None:
    with pytest.raises(ValueError, match="secret"):
        verify_webhook(BODY, _sign(SECRET), secret, now=NOW)
