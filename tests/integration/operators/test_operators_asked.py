"""The command line asks before money moves; the API acts at once; both keep the operator's reason."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from typing import Any

import pytest

from testbed.shop import Shop
from testbed.stack import Stack
from tests.integration.operators.test_dead_letters import hold, open_case
from tests.support.clients.api import Api
from tests.support.commands import LOCAL, Commands
from tests.support.engine import Engine

# The effect that is shown before each question, and the state that a yes leaves.
DECISIONS = {"accept": ("deposit of ", "accepted"), "reject": ("rejected by a person", "rejected")}


@pytest.fixture
def commands(front: Stack) -> Commands:
    """Provide the operator's command line."""
    return Commands(front.databases)


@pytest.fixture
def case(engine: Engine, shop: Shop, api: Api) -> dict[str, Any]:
    """Provide a case that holds 10.00 USD."""
    return open_case(api, payment_id=str(hold(engine, shop).id))


def state(engine: Engine, case: dict[str, Any]) -> tuple[str, int]:
    """Return the case's state, and how many entries its payment has."""
    found = engine.databases.value("select state from dead_letters where id = :id", id=case["id"])
    return found, len(engine.entries(uuid.UUID(case["payment_id"])))


@pytest.mark.parametrize("action", DECISIONS)
@pytest.mark.parametrize("form", [(), ("--json",)])
@pytest.mark.parametrize(("answer", "code"), [(None, 2), ("n\n", 1), ("\n", 1), ("maybe\n", 2), ("no\n", 1)])
def test_without_a_yes_nothing_happens(
    commands: Commands,
    engine: Engine,
    case: dict[str, Any],
    action: str,
    form: tuple[str, ...],
    answer: str | None,
    code: int,
) -> None:
    done = commands.run("dead-letters", action, case["id"], *form, stdin=answer)
    assert (done.exit_code, done.stdout) == (code, "")
    assert DECISIONS[action][0] in done.stderr
    assert f"underpaid, 10.00 USD, payment {case['payment_id']}" in done.stderr
    assert "nothing was done" in done.stderr
    assert state(engine, case) == ("open", 0)


@pytest.mark.parametrize("action", DECISIONS)
@pytest.mark.parametrize(("options", "answer"), [(("--yes",), None), ((), "y\n")])
def test_a_yes_acts_and_keeps_the_reason(
    commands: Commands,
    engine: Engine,
    api: Api,
    case: dict[str, Any],
    action: str,
    options: tuple[str, ...],
    answer: str | None,
) -> None:
    said = commands.json("dead-letters", action, case["id"], "--reason", " agreed by phone ", *options, stdin=answer)
    effect, after = DECISIONS[action]
    assert (effect in said["effect"], said["dry_run"]) == (True, False)
    assert state(engine, case) == (after, 2 if action == "accept" else 0)
    (step,) = api.get(f"/api/dead-letters/{case['id']}").json()["history"]
    assert (step["action"], step["actor"], step["reason"]) == (after, LOCAL, "agreed by phone")
    (row,) = audited(engine, case)
    assert (row["actor"], row["detail"]["operator_reason"]) == (LOCAL, "agreed by phone")
    assert row["detail"]["reason"] == "underpaid"
    assert "agreed by phone" in str(commands.json("payments", "explain", case["payment_id"]))


def audited(engine: Engine, case: dict[str, Any]) -> list[dict[str, Any]]:
    return engine.databases.rows(
        "select actor, detail from audit_logs where kind like 'dead_letter_%' and detail->>'dead_letter_id' = :id",
        id=case["id"],
    )


@pytest.mark.parametrize("name", ["LOGNAME", "USER", "LNAME", "USERNAME", "SUDO_USER", "HOSTNAME"])
def test_the_environment_does_not_name_the_actor(
    commands: Commands, engine: Engine, case: dict[str, Any], name: str
) -> None:
    commands.text("dead-letters", "reject", case["id"], "--yes", **{name: "alice"})
    assert [row["actor"] for row in audited(engine, case)] == [LOCAL]


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501, "two\nlines", "bell\a"])
def test_a_reason_that_cannot_be_kept_is_refused(
    commands: Commands, engine: Engine, api: Api, case: dict[str, Any], reason: str
) -> None:
    commands.error("dead-letters", "accept", case["id"], "--yes", "--reason", reason, code=2)
    answer = api.send("POST", f"/api/dead-letters/{case['id']}/accept", json={"reason": reason})
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, ["reason"])
    assert state(engine, case) == ("open", 0)


@pytest.mark.parametrize("action", ["accept", "reject", "redrive"])
def test_the_api_acts_at_once_with_a_reason_or_without(
    engine: Engine, api: Api, case: dict[str, Any], shop: Shop, action: str
) -> None:
    second = open_case(api, payment_id=str(hold(engine, shop).id))
    for each, body in ((case, {"json": {"reason": "as agreed"}}), (second, {})):
        answer = api.send("POST", f"/api/dead-letters/{each['id']}/{action}", **body)
        assert answer.status_code == 200, answer.text
        (step,) = answer.json()["history"]
        assert step.get("reason") == ("as agreed" if body else None)
        (row,) = audited(engine, each)
        assert row["detail"].get("operator_reason") == step.get("reason")


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b'{"reason": 5}', "application/json", 422),
        (b'{"reason": "x", "note": "y"}', "application/json", 422),
        (b'{"reason": "x", "reason": "y"}', "application/json", 400),
        (b"{", "application/json", 400),
        (b"[]", "application/json", 422),
        (b'{"reason": "x"}', "text/plain", 415),
        (b'{"reason": null}', "application/json", 200),
        (b"{}", "application/json", 200),
        (b"", "application/json", 200),
    ],
)
def test_the_body_of_a_decision_is_strict(
    engine: Engine, api: Api, case: dict[str, Any], body: bytes, media_type: str, status: int
) -> None:
    path = f"/api/dead-letters/{case['id']}/reject"
    answer = api.send("POST", path, data=body, headers={"Content-Type": media_type})
    assert answer.status_code == status
    assert state(engine, case)[0] == ("rejected" if status == 200 else "open")


def test_a_redrive_asks_where_it_moves_money_and_with_a_filter(
    commands: Commands, front: Stack, engine: Engine, shop: Shop, api: Api
) -> None:
    # A provider call moves no money: it acts at once.
    refused = shop.deposit()
    front.sandbox.script(match={"merchant_reference": str(refused.id)}, create={"status": 401, "times": 1})
    engine.call()
    call = open_case(api, payment_id=str(refused.id))
    assert "asks the provider" in commands.text("dead-letters", "redrive", call["id"], "--reason", "new key")
    assert api.get(f"/api/dead-letters/{call['id']}").json()["history"][0]["reason"] == "new key"
    # A webhook whose payment is there by now does.
    payment = engine.start(shop)
    webhook_id = orphaned_success(engine, shop, payment.id)
    orphan = open_case(api, reason="unknown_payment")
    filtered = ("--tenant", str(shop.tenant_id), "--filter", "reason=unknown_payment")
    for words in (("redrive", orphan["id"]), ("redrive", *filtered)):
        for form in ((), ("--json",)):
            done = commands.run("dead-letters", *words, *form)
            assert (done.exit_code, "deposit of " in done.stderr) == (2, True), done.output
    replay = commands.run("webhooks", "replay", str(webhook_id))
    assert (replay.exit_code, "deposit of " in replay.stderr) == (2, True)
    assert engine.entries(payment.id) == []
    assert engine.databases.value("select count(*) from webhook_work where webhook_id = :id", id=webhook_id) == 0
    assert commands.json("webhooks", "replay", str(webhook_id), "--dry-run")["dry_run"] is True
    assert commands.json("dead-letters", "redrive", orphan["id"], "--yes")["data"][0]["redriven"] is True
    engine.settle()
    assert engine.entries(payment.id) == [("user", 2500), ("clearing", -2500)]
    # Its money has moved: once more has no effect, and is not asked about.
    said = commands.json("webhooks", "replay", str(webhook_id), "--reason", "to be sure")
    assert "duplicate" in said["effect"]
    (row,) = engine.databases.rows(
        "select actor, detail from audit_logs where kind = 'webhook_replayed' and tenant_id = :id", id=shop.tenant_id
    )
    assert (row["actor"], row["detail"]["operator_reason"]) == (LOCAL, "to be sure")


def orphaned_success(engine: Engine, shop: Shop, payment_id: uuid.UUID) -> uuid.UUID:
    """End a success of the payment as if it had come long before the payment; return the webhook's id."""
    missing = str(uuid.uuid4())
    body = json.loads(shop.body(shop.payment(payment_id)))
    receipt = shop.deliver(json.dumps(body | {"transaction_id": missing}).encode())
    for _ in range(5):
        engine.make_webhooks_due()
        engine.settle()
    engine.databases.rows(
        "update payment_webhooks set payment_id = :payment, body = convert_to(:body, 'UTF8') where id = :id",
        payment=payment_id,
        body=json.dumps(body),
        id=receipt.webhook_id,
    )
    return receipt.webhook_id


def test_the_document_names_the_optional_reason(api: Api) -> None:
    document = api.get("/openapi.json").json()
    for action in ("{id}/accept", "{id}/reject", "{id}/redrive", "redrive"):
        body = document["paths"][f"/api/dead-letters/{action}"]["post"]["requestBody"]
        assert body["required"] is False
        assert body["content"]["application/json"]["schema"]["$ref"].endswith("/ReasonRequest")
    assert "required" not in document["components"]["schemas"]["ReasonRequest"]


@pytest.mark.parametrize("action", [("keys", "revoke"), ("providers", "disable")])
@pytest.mark.parametrize(("answer", "code"), [("n", 1), ("y", 0)])
def test_at_a_terminal_what_cuts_access_off_is_asked_about(
    front: Stack, engine: Engine, shop: Shop, action: tuple[str, str], answer: str, code: int
) -> None:
    key_id = front.databases.value("select id from api_keys where tenant_id = :id", id=shop.tenant_id)
    subject = str(key_id if action[0] == "keys" else shop.provider_id)
    said, done = at_a_terminal((*action, subject, "--reason", "left the company"), answer, front)
    assert (done, subject in said) == (code, True), said
    kind = "key_revoked" if action[0] == "keys" else "provider_disabled"
    rows = engine.databases.rows(
        "select detail from audit_logs where tenant_id = :id and kind = :kind", id=shop.tenant_id, kind=kind
    )
    assert [row["detail"]["operator_reason"] for row in rows] == (["left the company"] if code == 0 else [])


def at_a_terminal(arguments: tuple[str, ...], answer: str, front: Stack) -> tuple[str, int]:
    """Run a command as a person does; return what it said on stderr, and its exit code."""
    person, terminal = os.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", *arguments],
            env=dict(os.environ) | front.databases.environment,
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.write(person, f"{answer}\n".encode())
        _, said = process.communicate(timeout=60)
    finally:
        os.close(person)
        os.close(terminal)
    return said, process.returncode


def test_a_script_that_revokes_a_key_is_not_asked(commands: Commands, engine: Engine, shop: Shop) -> None:
    key_id = engine.databases.value("select id from api_keys where tenant_id = :id", id=shop.tenant_id)
    assert commands.json("keys", "revoke", str(key_id))["revoked"] is True
