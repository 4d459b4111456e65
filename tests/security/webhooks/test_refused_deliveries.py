"""The record of refused deliveries: of use to the operator, of none to who floods the door."""

from __future__ import annotations

import time

import requests

from app.services.webhooks.receive import RECORDS_PER_SECOND, REFUSED_BYTES_KEPT
from testbed.shop import Shop
from testbed.stack import Stack
from testbed.waiting import wait_until

FLOOD = 100


def refuse(house: Stack, session: requests.Session, shop: Shop, body: bytes) -> None:
    headers = {"content-type": "application/json", "webhook-id": "msg_f", "webhook-timestamp": str(int(time.time()))}
    headers["webhook-signature"] = "v1," + "A" * 43 + "="
    answer = session.post(f"{house.web}/webhooks/{shop.provider_id}", data=body, headers=headers, timeout=20)
    assert answer.status_code == 400


def counted(house: Stack) -> float:
    lines = requests.get(f"{house.web}/metrics", timeout=20).text.splitlines()
    (line,) = [line for line in lines if line.startswith('sluice_webhooks_refused_total{reason="signature"')]
    return float(line.rsplit(" ", 1)[1])


def test_a_flood_is_counted_in_full_and_recorded_in_part(house: Stack, shop: Shop) -> None:
    before, started = counted(house), time.monotonic()
    with requests.Session() as session:
        for _ in range(FLOOD):
            refuse(house, session, shop, b"x" * 100_000)
    lasted = time.monotonic() - started
    assert counted(house) - before == FLOOD
    rows = house.databases.rows(
        "select octet_length(body_head) as bytes, reason, remote_address, at from webhook_refusals"
        " where provider_id = :id",
        id=shop.provider_id,
    )
    assert 0 < len(rows) <= RECORDS_PER_SECOND * (lasted + 1)
    assert {(row["bytes"], row["reason"], row["remote_address"]) for row in rows} == {
        (REFUSED_BYTES_KEPT, "signature", "127.0.0.1")
    }


def test_the_ring_turns_and_does_not_grow(house: Stack, shop: Shop) -> None:
    house.databases.value("select setval('refusal_slots', 9998)")

    def newest_slots() -> list[int]:
        with requests.Session() as session:
            refuse(house, session, shop, b"{}")
        rows = house.databases.rows("select slot from webhook_refusals where provider_id = :id", id=shop.provider_id)
        return sorted(row["slot"] for row in rows)

    slots = wait_until(lambda: len(found := newest_slots()) >= 4 and found, "four records")
    assert {9999, 10_000, 1} <= set(slots)
    assert house.databases.value("select max(slot) from webhook_refusals") == 10_000
    # Turned once more over the same place: the older record goes, and the newer one counts as newer.
    house.databases.value("select setval('refusal_slots', 9999)")
    read = "select sequence from webhook_refusals where slot = 10000"
    before = house.databases.value(read)
    wait_until(
        lambda: newest_slots() and house.databases.value(read) > before, "the newer record has the old one's place"
    )
    assert house.databases.value("select count(*) from webhook_refusals where slot = 10000") == 1
