"""The record of refused deliveries: of use to the operator, of none to who floods the door."""

from __future__ import annotations

import time

import requests

from app.services.webhooks.receive import RECORDS_PER_SECOND, REFUSED_BYTES_KEPT
from testbed.shop import Shop
from testbed.stack import Stack
from testbed.waiting import wait_until

FLOOD = 100


def refuse(web_stack: Stack, session: requests.Session, shop: Shop, body: bytes) -> None:
    headers = {"content-type": "application/json", "webhook-id": "msg_f", "webhook-timestamp": str(int(time.time()))}
    headers["webhook-signature"] = "v1," + "A" * 43 + "="
    answer = session.post(f"{web_stack.web}/webhooks/{shop.provider_id}", data=body, headers=headers, timeout=20)
    assert answer.status_code == 400


def counted(web_stack: Stack) -> float:
    lines = requests.get(f"{web_stack.web}/metrics", timeout=20).text.splitlines()
    (line,) = [line for line in lines if line.startswith('sluice_webhooks_refused_total{reason="signature"')]
    return float(line.rsplit(" ", 1)[1])


def test_a_flood_is_counted_in_full_and_recorded_in_part(web_stack: Stack, shop: Shop) -> None:
    before, started = counted(web_stack), time.monotonic()
    with requests.Session() as session:
        for _ in range(FLOOD):
            refuse(web_stack, session, shop, b"x" * 100_000)
    lasted = time.monotonic() - started
    assert counted(web_stack) - before == FLOOD
    rows = web_stack.databases.rows(
        "select octet_length(body_head) as bytes, reason, remote_address, at from webhook_refusals"
        " where provider_id = :id",
        id=shop.provider_id,
    )
    assert 0 < len(rows) <= RECORDS_PER_SECOND * (lasted + 1)
    assert {(row["bytes"], row["reason"], row["remote_address"]) for row in rows} == {
        (REFUSED_BYTES_KEPT, "signature", "127.0.0.1")
    }


def test_the_ring_turns_and_does_not_grow(web_stack: Stack, shop: Shop) -> None:
    web_stack.databases.value("select setval('refusal_slots', 9998)")

    def newest_slots() -> list[int]:
        with requests.Session() as session:
            refuse(web_stack, session, shop, b"{}")
        rows = web_stack.databases.rows(
            "select slot from webhook_refusals where provider_id = :id", id=shop.provider_id
        )
        return sorted(row["slot"] for row in rows)

    slots = wait_until(lambda: len(found := newest_slots()) >= 4 and found, "four records")
    assert {9999, 10_000, 1} <= set(slots)
    assert web_stack.databases.value("select max(slot) from webhook_refusals") == 10_000
    # Turned once more over the same place: the older record goes, and the newer one counts as newer.
    web_stack.databases.value("select setval('refusal_slots', 9999)")
    read = "select sequence from webhook_refusals where slot = 10000"
    before = web_stack.databases.value(read)
    wait_until(
        lambda: newest_slots() and web_stack.databases.value(read) > before, "the newer record has the old one's place"
    )
    assert web_stack.databases.value("select count(*) from webhook_refusals where slot = 10000") == 1
