"""Dead letters through the API and the command line: shown, redriven, accepted, rejected, each once."""

from __future__ import annotations

import base64
import json
import threading
import uuid
from typing import Any

from app.core.errors import RequestRejected
from app.core.payment import Payment
from app.services.operators import resolve
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from tests.support.clients.api import Api
from tests.support.commands import LOCAL, Commands
from tests.support.engine import Engine


def open_case(api: Api, **filters: str) -> dict[str, Any]:
    found: dict[str, Any] = api.get("/api/dead-letters", **filters).json()["data"][0]
    return found


def hold(engine: Engine, shop: Shop, amount: str = "10.00") -> Payment:
    """Make a payment for which less money arrived than was asked."""
    payment = engine.start(shop)
    shop.deliver(shop.body(payment, amount=amount))
    engine.settle()
    return shop.payment(payment.id)


def orphan(engine: Engine, shop: Shop) -> str:
    """Settle a webhook without a payment until it is a dead letter; return the payment's id."""
    payment_id = str(uuid.uuid4())
    body = json.loads(shop.body(engine.start(shop)))
    shop.deliver(json.dumps(body | {"transaction_id": payment_id}).encode())
    for _ in range(5):
        engine.make_webhooks_due()
        engine.settle()
    return payment_id


def test_a_case_is_listed_shown_and_accepted_once(engine: Engine, shop: Shop, api: Api) -> None:
    payment = hold(engine, shop)
    case = open_case(api, payment_id=str(payment.id))
    assert (case["reason"], case["amount"], case["currency"], case["state"]) == ("underpaid", "10.00", "USD", "open")
    shown = api.get(f"/api/dead-letters/{case['id']}").json()
    assert json.loads(base64.b64decode(shown["body_base64"]))["transaction_id"] == str(payment.id)
    assert "webhook-signature" in shown["headers"]
    dry = api.send("POST", f"/api/dead-letters/{case['id']}/accept?dry_run=true").json()
    assert "deposit of 10.00 USD" in dry["effect"]
    assert (dry["state"], shop.payment(payment.id)) == ("open", payment)
    done = api.send("POST", f"/api/dead-letters/{case['id']}/accept")
    assert (done.status_code, done.json()["state"]) == (200, "accepted")
    assert done.json()["closed_by"] == shop.caller.actor
    after = shop.payment(payment.id)
    assert (after.status, after.exception, after.received_minor) == ("completed", "underpaid", 1000)
    assert engine.entries(payment.id) == [("user", 1000), ("clearing", -1000)]
    for action in ("accept", "reject", "redrive"):
        again = api.send("POST", f"/api/dead-letters/{case['id']}/{action}")
        assert (again.status_code, "accepted" in again.json()["detail"]) == (409, True)
    timeline = api.get(f"/api/payments/{payment.id}/timeline").json()["data"]
    (reported,) = [event for event in timeline if event["kind"] == "dead_letter_accepted"]
    assert reported["actor"] == shop.caller.actor


def test_two_operators_cannot_both_act(engine: Engine, shop: Shop, api: Api) -> None:
    payment = hold(engine, shop)
    case_id = uuid.UUID(open_case(api, payment_id=str(payment.id))["id"])
    outcomes: list[str] = []
    barrier = threading.Barrier(6)

    def act(number: int) -> None:
        decide = resolve.accept if number % 2 else resolve.reject
        barrier.wait()
        try:
            decide(shop.runtime, shop.tenant_id, case_id, f"operator:{number}")
            outcomes.append("done")
        except RequestRejected as rejection:
            outcomes.append(str(rejection.status))

    threads = [threading.Thread(target=act, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["409"] * 5 + ["done"]
    assert len(engine.entries(payment.id)) in (0, 2)


def test_an_orphan_is_redriven_once_its_payment_could_be_there(engine: Engine, shop: Shop, api: Api) -> None:
    payment_id = orphan(engine, shop)
    case = open_case(api, reason="unknown_payment", payment_id=payment_id)
    assert (case["kind"], case["attempts"]) == ("webhook", 5)
    nothing = api.send("POST", f"/api/dead-letters/{case['id']}/accept")
    assert nothing.status_code == 409
    path = f"/api/dead-letters/{case['id']}/redrive"
    assert "no such payment" in api.send("POST", f"{path}?dry_run=true").json()["effect"]
    first, second = api.send("POST", path).json(), api.send("POST", path).json()
    assert (first["state"], second["state"], second["effect"]) == ("redriven", "redriven", "redriven already")
    assert [step["action"] for step in second["history"]] == ["redriven"]
    assert (
        engine.databases.value("select count(*) from webhook_work where webhook_id = :id", id=case["webhook_id"]) == 1
    )
    for _ in range(5):
        engine.make_webhooks_due()
        engine.settle()
    rows = engine.databases.rows(
        "select state from dead_letters where webhook_id = :id order by id", id=case["webhook_id"]
    )
    assert [row["state"] for row in rows] == ["redriven", "open"]


def test_money_that_waits_stays_a_case_when_its_webhook_is_redriven(engine: Engine, shop: Shop, api: Api) -> None:
    payment = hold(engine, shop)
    case = open_case(api, payment_id=str(payment.id))
    done = api.send("POST", f"/api/dead-letters/{case['id']}/redrive").json()
    assert (done["state"], "duplicate" in done["effect"]) == ("open", True)
    engine.settle()
    assert engine.verdicts(payment.id) == [("processed", "duplicate")]
    assert engine.dead_letters(payment.id) == [("underpaid", "open")]


def test_a_given_up_call_is_made_again(front: Stack, engine: Engine, shop: Shop, api: Api) -> None:
    payment = shop.deposit()
    front.sandbox.script(match={"merchant_reference": str(payment.id)}, create={"status": 401, "times": 1})
    engine.call()
    assert engine.dead_letters(payment.id) == [("provider_refused_us", "open")]
    case = open_case(api, payment_id=str(payment.id))
    for expected in ("asks the provider: create", "redriven already"):
        assert api.send("POST", f"/api/dead-letters/{case['id']}/redrive").json()["effect"] == expected
    engine.call()
    assert shop.payment(payment.id).status == "processing"


def test_a_call_that_fails_again_after_a_redrive_is_the_same_case_open_again(
    front: Stack, engine: Engine, shop: Shop, api: Api
) -> None:
    payment = shop.deposit()
    front.sandbox.script(match={"merchant_reference": str(payment.id)}, create={"status": 401})
    engine.call()
    case = open_case(api, payment_id=str(payment.id))
    api.send("POST", f"/api/dead-letters/{case['id']}/redrive")
    engine.call()
    again = open_case(api, payment_id=str(payment.id))
    assert (again["id"], again["state"], again["closed_at"]) == (case["id"], "open", None)
    # Its alarm was not resolved in between: it is the same one.
    alerts = "select occurrences from alerts where tenant_id = :id and kind = 'provider_refused_us'"
    assert [row["occurrences"] for row in engine.databases.rows(alerts, id=shop.tenant_id)] == [2]


def test_many_are_counted_shown_dry_and_redriven_at_a_pace(front: Stack, engine: Engine, shop: Shop, api: Api) -> None:
    payments = [hold(engine, shop) for _ in range(5)]
    path = "/api/dead-letters/redrive?reason=underpaid&limit=3"
    dry = api.send("POST", f"{path}&dry_run=true").json()
    assert (dry["count"], dry["dry_run"], [row["redriven"] for row in dry["data"]]) == (5, True, [False] * 3)
    assert engine.databases.value("select count(*) from webhook_work where tenant_id = :id", id=shop.tenant_id) == 0
    done = api.send("POST", path).json()
    assert [row["redriven"] for row in done["data"]] == [True] * 3
    spread = engine.databases.rows(
        "select due_at - min(due_at) over () as after from webhook_work where tenant_id = :id", id=shop.tenant_id
    )
    assert max(row["after"].total_seconds() for row in spread) >= 0.03
    commands = Commands(front.databases)
    listed = commands.json("dead-letters", "list", "--tenant", str(shop.tenant_id), "--filter", "kind=webhook")["data"]
    assert {row["payment_id"] for row in listed} == {str(payment.id) for payment in payments}
    words = ("dead-letters", "redrive", "--tenant", str(shop.tenant_id), "--filter", "older-than=1h")
    assert commands.json(*words, "--dry-run")["count"] == 0
    asked = commands.run(*words[:-1], "reason=underpaid", stdin="n\n")
    assert (asked.exit_code, "5 open dead letters match" in asked.output) == (1, True)
    assert "It does now" in commands.text(*words[:-1], "reason=underpaid", "--yes")
    commands.error("dead-letters", "redrive", code=2)
    commands.error("dead-letters", "list", "--filter", "colour=red", code=2)


def test_pages_filters_and_roles(front: Stack, engine: Engine, shop: Shop, api: Api) -> None:
    payments = [hold(engine, shop) for _ in range(3)]
    seen, cursor = [], {}
    while True:
        answer = api.get("/api/dead-letters", limit=2, **cursor).json()
        seen += [row["payment_id"] for row in answer["data"]]
        if answer["next_cursor"] is None:
            break
        cursor = {"cursor": answer["next_cursor"]}
    assert seen == [str(payment.id) for payment in reversed(payments)]
    assert api.get("/api/dead-letters", older_than_seconds=3600).json()["data"] == []
    assert api.get("/api/dead-letters", colour="red").status_code == 422
    case = open_case(api)
    stranger = Api(front.web, front.make_shop().secret_key)
    for path in (f"/api/dead-letters/{case['id']}", "/api/dead-letters/nonsense"):
        assert stranger.get(path).status_code == 404
    assert stranger.send("POST", f"/api/dead-letters/{case['id']}/accept").status_code == 404
    assert stranger.get("/api/dead-letters").json()["data"] == []
    for credential, status in ((shop.key("read"), 403), (shop.token("ann"), 403), (shop.key("operator"), 200)):
        assert Api(front.web, credential).get("/api/dead-letters").status_code == status
    assert Api(front.web, None).get("/api/dead-letters").status_code == 401


def test_the_command_line_shows_accepts_and_rejects(front: Stack, engine: Engine, shop: Shop) -> None:
    commands = Commands(front.databases)
    first, second = hold(engine, shop), hold(engine, shop)
    ids = {
        row["payment_id"]: row["id"]
        for row in commands.json("dead-letters", "list", "--tenant", str(shop.tenant_id))["data"]
    }
    assert "underpaid" in commands.text("dead-letters", "show", ids[str(first.id)])
    assert commands.json("dead-letters", "accept", ids[str(first.id)], "--dry-run")["dry_run"] is True
    assert "deposit of 10.00 USD" in commands.text("dead-letters", "accept", ids[str(first.id)], "--yes")
    assert "rejected by a person" in commands.text("dead-letters", "reject", ids[str(second.id)], "--yes")
    assert "not open any more: accepted" in commands.error("dead-letters", "reject", ids[str(first.id)], "--yes")
    actors = engine.databases.rows(
        "select kind, actor from audit_logs where tenant_id = :id and kind like 'dead_letter_%' order by id",
        id=shop.tenant_id,
    )
    assert [row["kind"] for row in actors] == ["dead_letter_accepted", "dead_letter_rejected"]
    assert all(row["actor"] == LOCAL for row in actors)


def test_a_settled_webhook_can_be_replayed_and_credits_nothing_again(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = engine.start(shop)
    receipt = shop.deliver(shop.body(payment))
    engine.settle()
    commands = Commands(front.databases)
    assert "duplicate" in commands.json("webhooks", "replay", str(receipt.webhook_id))["effect"]
    engine.settle()
    assert engine.verdicts(payment.id) == [("processed", "duplicate")]
    assert engine.entries(payment.id) == [("user", 2500), ("clearing", -2500)]
    commands.error("webhooks", "replay", str(uuid.uuid4()))


def test_a_replay_is_not_judged_by_the_clock_again(engine: Engine, shop: Shop) -> None:
    payment = engine.start(shop)
    receipt = shop.deliver(shop.body(payment, amount="10.00"))
    engine.settle()
    engine.databases.rows(
        "update payment_webhooks set received_at = now() - interval '30 days' where id = :id", id=receipt.webhook_id
    )
    case_id = engine.databases.value("select id from dead_letters where payment_id = :id", id=payment.id)
    resolve.reject(shop.runtime, shop.tenant_id, case_id, ACTOR)
    assert shop.payment(payment.id).status == "processing"
