"""Secrets: encrypted at rest, rotated, and in no row, log or answer in the plain; card numbers nowhere derived."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from app.core.redaction import redact
from app.runtime.runtime import Runtime
from app.runtime.vault import Vault, VaultError, new_encryption_key
from app.services.records import dead_letters
from app.services.records.dead_letters import DeadLetterRow
from app.services.tenants import webhook_secrets
from app.services.tenants.key_rotation import ENCRYPTED, rotate_encryption
from app.services.webhooks import settle
from testbed.servers import Databases
from testbed.shop import ACTOR, Shop, make_shop
from testbed.stack import Stack

CARD = "4242 4242 4242 4242"


def test_a_rotated_key_is_all_that_is_needed(databases: Databases) -> None:
    old, new = databases.encryption_key, new_encryption_key()
    with databases.open_runtime() as runtime:
        shop = make_shop(runtime)
        webhook_secrets.rotate_secret(runtime, shop.provider_id, 3600, ACTOR)
    with databases.open_runtime(SLUICE_ENCRYPTION_KEYS=f"{new},{old}") as runtime:
        assert rotate_encryption(runtime, ACTOR) == 3
        assert rotate_encryption(runtime, ACTOR) == 3
    single = Vault([new])
    for _, table, column, _ in ENCRYPTED:
        for row in databases.rows(f"select {column} as secret from {table}"):
            assert single.decrypt(row["secret"])
            with pytest.raises(VaultError):
                Vault([old]).decrypt(row["secret"])
    audited = databases.rows("select actor, tenant_id from audit_logs where kind = 'secrets_reencrypted'")
    assert [(row["actor"], row["tenant_id"]) for row in audited] == [(ACTOR, shop.tenant_id)] * 4


def test_the_command_rotates_and_says_what_it_did(databases: Databases, tenant: Shop) -> None:
    new = new_encryption_key()
    environment = {**os.environ, **databases.environment, "SLUICE_ENCRYPTION_KEYS": f"{new},{databases.encryption_key}"}
    argv = [sys.executable, "-m", "app.cli", "secrets", "rotate-key", "--json"]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == {"secrets": 2}
    assert new not in done.stdout + done.stderr
    stored = databases.value("select secret_encrypted from provider_secrets")
    assert Vault([new]).decrypt(stored) == tenant.webhook_secret


def test_without_a_fitting_key_nothing_is_lost(databases: Databases) -> None:
    with databases.open_runtime() as runtime:
        shop = make_shop(runtime)
    with (
        databases.open_runtime(SLUICE_ENCRYPTION_KEYS=new_encryption_key()) as runtime,
        pytest.raises(VaultError) as caught,
    ):
        rotate_encryption(runtime, ACTOR)
    assert shop.webhook_secret not in str(caught.value)
    stored = databases.value("select secret_encrypted from provider_secrets")
    assert Vault([databases.encryption_key]).decrypt(stored) == shop.webhook_secret


def all_rows(databases: Databases) -> str:
    """Return every row of every table as text, raw bytes decoded."""
    tables = databases.rows("select tablename from pg_tables where schemaname = 'public' order by 1")
    parts = []
    for (table,) in (row.values() for row in tables):
        for row in databases.rows(f"select * from {table}"):
            for value in row.values():
                parts.append(
                    bytes(value).decode("utf-8", "replace") if isinstance(value, memoryview | bytes) else str(value)
                )
    return "\n".join(parts)


def test_no_row_no_log_and_no_answer_holds_a_secret(web_stack: Stack, shop: Shop) -> None:
    token = shop.token("ann")
    answers = [
        requests.get(f"{web_stack.web}/api/payments", headers={"Authorization": f"Bearer {key}"}, timeout=20).text
        for key in (shop.secret_key, token, shop.secret_key + "x", f"Basic {shop.secret_key}")
    ]
    payment = shop.deposit(user_id="ann")
    body = shop.body(payment)
    requests.post(f"{web_stack.web}/webhooks/payment-success", data=body, headers=shop.sign(body), timeout=20)
    requests.post(f"{web_stack.web}/webhooks/payment-success", data=b"{", headers=shop.sign(body), timeout=20)
    rotated = webhook_secrets.rotate_secret(web_stack.runtime, shop.provider_id, 60, ACTOR)
    settle.settle_due(web_stack.runtime)
    known = [shop.secret_key.split(".")[1], token.split(".")[1], shop.webhook_secret, rotated, shop.provider_api_key]
    known += [web_stack.databases.encryption_key, shop.webhook_secret.removeprefix("whsec_")]
    logs = "".join(path.read_text(encoding="utf-8") for path in web_stack.databases.folder.glob("*.log"))
    texts = {
        "rows": all_rows(web_stack.databases),
        "logs": logs,
        "answers": "".join(answers),
        "repr": repr(web_stack.runtime.vault),
    }
    assert str(payment.id) in texts["rows"]
    for where, text in texts.items():
        assert [secret[:8] for secret in known if secret in text] == [], where


def test_objects_that_hold_secrets_do_not_show_them(runtime: Runtime, tenant: Shop) -> None:
    from app.services.access.senders import find_sender
    from app.services.tenants.providers import NewProvider

    sender = find_sender(runtime, tenant.provider_id)
    new = NewProvider(tenant.tenant_id, "p", "sandbox", "http://localhost", {"k": "key-in-repr"}, "secret-in-repr")
    assert sender is not None
    shown = repr(sender) + repr(new) + repr(runtime.vault)
    assert not [text for text in ("key-in-repr", "secret-in-repr", str(sender.keys[0])) if text in shown]


@pytest.mark.parametrize("status", ["failed", "success"])
def test_a_card_number_in_a_message_is_masked_in_all_that_is_made_of_it(
    databases: Databases, tenant: Shop, status: str
) -> None:
    payment = tenant.deposit()
    said = f"card {CARD} declined"
    changes: dict[str, Any] = {"error_message": said} if status == "failed" else {"event_type": said}
    tenant.deliver(tenant.body(payment, status, **changes))
    settle.settle_due(tenant.runtime)
    after = tenant.payment(payment.id)
    if status == "failed":
        assert after.failure_reason == "card [card ...4242] declined"
    else:
        assert "[card ...4242]" in databases.value("select detail from dead_letters")
    for table in ("payment_transactions", "audit_logs", "notifications", "alerts"):
        assert not [row for row in databases.rows(f"select t::text as row from {table} t") if CARD in row["row"]], table
    assert CARD not in str(databases.rows("select reason from payment_webhooks")) + str(
        databases.rows("select detail from dead_letters")
    )
    # What the provider sent is kept to the byte: it is the evidence.
    assert said.encode() in bytes(databases.value("select body from payment_webhooks"))


def test_no_dead_letter_contains_a_secret_whoever_writes_it(databases: Databases, tenant: Shop) -> None:
    # Two tellings of one case: the second overwrites the first.
    row = DeadLetterRow(tenant.tenant_id, "provider_call", "attempts_exhausted", "", tenant.deposit().id, case_key="c")
    for state in ("redriven", "open"):
        reported = replace(row, detail=f"create: {tenant.webhook_secret} and {CARD} in {state}")
        with tenant.runtime.database.transaction("worker") as connection:
            assert dead_letters.write(connection, [reported]) == 1
        databases.rows("update dead_letters set state = :state", state=state)
        assert databases.value("select detail from dead_letters") == f"create: [secret] and [card ...4242] in {state}"


@given(st.text(max_size=40), st.sampled_from(["sk_", "ct_", "whsec_", "sbk_", "Bearer "]))
def test_credentials_are_taken_out_of_any_text(around: str, prefix: str) -> None:
    secret = secrets.token_hex(16)
    assert secret not in redact(f"{around} {prefix}{secret} {around}")
    assert secret not in redact(f"postgresql://sluice:{secret}@db/sluice")
