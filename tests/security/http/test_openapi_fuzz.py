"""Schemathesis over the OpenAPI document with all of its checks: what is sent is answered as the document says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.services.webhooks import settle
from testbed.shop import Shop
from testbed.stack import Stack

# One seed, so that a failure is there again the next time; a longer run takes others (`make fuzz`).
SEED = int(os.environ.get("FUZZ_SEED", "20260131"))
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "12"))
LIMIT_SECONDS = float(os.environ.get("FUZZ_LIMIT_SECONDS", "110"))
# Schemathesis parses sources while it describes what it found, and Python 3.11 counts the depth of its parser in a
# place that all threads share: with a second worker it ends in "AST constructor recursion depth mismatch".
WORKERS = 1
# JSON Schema describes each value separately. The rules below depend on several values or on stored state, so that a
# request may match the document and still be refused with the status that is named; no other refusal passes.
REFUSED_THOUGH_VALID = {
    # A cursor is one that this list gave out.
    "GET /api/payments": "422",
    "GET /api/wallets/{user_id}/transactions": "422",
    "GET /api/debits": "422",
    "GET /api/events": "422",
    "GET /api/dead-letters": "422",
    # What can be printed is Unicode's table, and whether digits are a card's number is a sum.
    "POST /api/dead-letters/redrive": "422",
    "POST /api/dead-letters/{id}/redrive": "422",
    "POST /api/dead-letters/{id}/accept": "422",
    "POST /api/dead-letters/{id}/reject": "422",
    # The digits of the amount are the currency's, the URLs are the tenant's, and a secret key must name a user.
    "POST /api/payments/deposit": "422",
    # The digits of the amount are the received currency's, and a key that made a refund is of its body.
    "POST /api/payments/{id}/refunds": "422",
    # The digits of the amount are the currency's, a key that made a debit is of its body, and digits may be a card's.
    "POST /api/wallets/{user_id}/debits": "422",
    "POST /api/debits/{id}/reverse": "422",
    # A URL that may be called is public and https.
    "GET /api/webhook-endpoints": "422",
    "POST /api/webhook-endpoints": "422",
    "PATCH /api/webhook-endpoints/{id}": "422",
    "GET /api/webhook-endpoints/{id}/deliveries": "422",
    # A number with a fraction of zero is whole for JSON Schema; a range begins at an event or at a time, not at both.
    "POST /api/webhook-endpoints/{id}/rotate-secret": "422",
    "POST /api/webhook-endpoints/{id}/redeliver": "422",
    # Nobody can make up a signature that fits.
    "POST /webhooks/payment-success": "400",
    "POST /webhooks/payment-failed": "400",
    "POST /webhooks/payment-callback": "400",
    "POST /webhooks/{provider_id}": "400",
}


def write_settings(path: Path, client_token: str) -> None:
    """Write the parameters that Schemathesis cannot generate."""
    # Nobody works on these payments: a request that waits for a change would wait for its whole time.
    text = '[parameters]\n"query.wait" = 0\n"header.Prefer" = "wait=0"\n'
    for name, status in REFUSED_THOUGH_VALID.items():
        accepted = f'["2xx", "401", "403", "404", "409", "{status}"]'
        text += f'[[operations]]\ninclude-name = "{name}"\n'
        text += f"checks.positive_data_acceptance.expected-statuses = {accepted}\n"
    # Nobody does the work here, and this route says so once it is a minute old.
    text += '[[operations]]\ninclude-name = "GET /health/work"\n'
    text += 'checks.not_a_server_error.expected-statuses = ["2xx", "4xx", "503"]\n'
    text += (
        f'[[operations]]\ninclude-name = "POST /api/tickets"\nheaders = {{ Authorization = "Bearer {client_token}" }}\n'
    )
    path.write_text(text, encoding="utf-8")


@pytest.mark.slow
@pytest.mark.timeout(LIMIT_SECONDS + 60)
def test_the_api_answers_as_its_document_says(web_stack: Stack, shop: Shop, tmp_path: Path) -> None:
    # A dead letter is there, so that not every one that is asked for is missing.
    shop.deliver(shop.body(shop.deposit(), amount="9.99"))
    settle.settle_due(web_stack.runtime)
    write_settings(tmp_path / "schemathesis.toml", shop.token("ann"))
    argv = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{web_stack.web}/openapi.json"),
        # Served by another process: web answers where.
        *("--exclude-path", "/api/stream", "--exclude-path", "/ws"),
        *("--checks", "all", "--phases", "examples,coverage,fuzzing", "--workers", str(WORKERS)),
        *("--seed", str(SEED), "--max-examples", str(EXAMPLES), "--header", f"Authorization: Bearer {shop.secret_key}"),
        *("--generation-database", "none", "--continue-on-failure", "--no-color"),
    ]
    # In CI, Hypothesis would not heed the seed.
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    done = subprocess.run(
        argv, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    (tmp_path / "report.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    log = (web_stack.databases.folder / "web.log").read_text(encoding="utf-8")
    assert '"unexpected"' not in log
