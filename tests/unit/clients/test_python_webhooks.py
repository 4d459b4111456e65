"""The Python client verifies what the official library of Standard Webhooks signs, and nothing else."""

from __future__ import annotations

import contextlib

import pytest
from sluice_client import WebhookVerificationError, verify_webhook

from tests.unit.clients.webhook_cases import BODY, CASES, NOW, SECRET, sign


@pytest.mark.parametrize("name", CASES)
def test_a_delivery_is_accepted_or_refused(name: str) -> None:
    case = CASES[name]
    refused = pytest.raises(WebhookVerificationError, match=case.refusal) if case.refusal else contextlib.nullcontext()
    with refused:
        event = verify_webhook(case.body.encode(), case.headers, case.secrets, case.tolerance, case.now)
        assert (event["id"], event["type"]) == (7, "payment.completed")


@pytest.mark.parametrize("secret", ["whsec_", "", "whsec_no base64"])
def test_a_secret_that_is_none_is_an_error_of_the_caller(secret: str) -> None:
    with pytest.raises(ValueError, match="secret"):
        verify_webhook(BODY.encode(), sign(SECRET), secret, now=NOW)
