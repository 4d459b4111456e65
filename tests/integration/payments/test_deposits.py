"""Deposits as a service: what one leaves behind, and limits as they are at that moment."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from app.core.errors import RequestRejected
from app.runtime.runtime import Runtime
from models.statements import watched
from testbed.servers import Databases
from testbed.shop import ORIGIN, Shop, make_shop
from tests.integration.payments.deposit_requests import create, refused_fields


def test_a_deposit_is_one_statement_and_leaves_these_rows(runtime: Runtime, databases: Databases, tenant: Shop) -> None:
    before = databases.value("select coalesce(sum(delta), 0) from payment_count_deltas where status = 'pending'")
    with watched(runtime.database.engine) as sent:
        creation = create(tenant, "key-1", metadata={"order": "7", "a": 'quote " and \\ slash'})
    assert len(sent) == 1
    payment = creation.payment
    assert not creation.is_replayed
    assert tenant.payment(payment.id) == payment
    assert payment.metadata == {"order": "7", "a": 'quote " and \\ slash'}
    key = {"id": payment.id}
    (stored,) = databases.rows("select * from payment_transactions where id = :id", **key)
    assert (stored["idempotency_scope"], stored["idempotency_key"]) == ("", "key-1")
    assert bytes(stored["request_sha256"]) == bytes(32)
    assert (stored["expires_at"] - stored["created_at"]).total_seconds() == 1800
    (hold,) = databases.rows("select * from wallet_temp_logs where payment_id = :id", **key)
    assert (hold["user_id"], hold["currency"], hold["amount_minor"], hold["state"]) == ("ann", "USD", 2500, "held")
    (work,) = databases.rows("select *, due_at <= now() as due from payment_work where payment_id = :id", **key)
    assert (work["provider_id"], work["action"], work["due"]) == (tenant.provider_id, "create", True)
    assert (work["attempts"], work["polls"], work["claim_id"]) == (0, 0, None)
    (reported,) = databases.rows("select * from audit_logs where payment_id = :id", **key)
    assert (reported["actor"], reported["kind"], reported["payment_version"]) == (
        f"key:{tenant.key_id}",
        "payment_created",
        1,
    )
    assert reported["detail"] == {
        "amount_minor": 2500,
        "currency": "USD",
        "user_id": "ann",
        "provider_id": str(tenant.provider_id),
        "to": "pending",
    }
    assert {row["tenant_id"] for row in (stored, hold, work, reported)} == {tenant.tenant_id}
    assert databases.value("select count(*) from audit_seals where :id = any(audit_ids)", id=reported["id"]) == 1
    assert databases.value("select sum(delta) from payment_count_deltas where status = 'pending'") == before + 1


def test_a_repeat_finds_the_payment_as_it_is_now(runtime: Runtime, databases: Databases, tenant: Shop) -> None:
    made = create(tenant, "key-1").payment
    databases.rows(
        "update payment_transactions set redirect_url = 'https://pay.example/1', version = 2 where id = :id", id=made.id
    )
    again = create(tenant, "key-1")
    assert again.is_replayed
    assert (again.payment.id, again.payment.version) == (made.id, 2)
    # Also where the same request would be refused by now.
    databases.rows("update tenants set amount_minor_max = 1 where id = :id", id=tenant.tenant_id)
    assert create(tenant, "key-1").payment == again.payment
    with pytest.raises(RequestRejected, match="another body"):
        create(tenant, "key-1", request_sha256=b"\1" * 32)
    for table in (
        "payment_transactions",
        "wallet_temp_logs",
        "payment_work",
        "audit_logs where payment_id is not null",
    ):
        assert databases.value(f"select count(*) from {table}") == 1


def test_a_new_payment_rings_and_nothing_else_does(runtime: Runtime, databases: Databases, tenant: Shop) -> None:
    def is_rung() -> bool:
        rung = bool(runtime.redis.delete("bell:provider"))
        assert rung is bool(runtime.redis.delete("ring.provider"))
        return rung

    create(tenant, "key-1")
    assert is_rung()
    assert create(tenant, "key-1").is_replayed
    assert refused_fields(lambda: create(tenant, provider_id=uuid.uuid4())) == {"provider_id"}
    assert not is_rung()


CHANGES: list[tuple[str, dict[str, Any], set[str]]] = [
    ("update tenants set amount_minor_max = 2499", {}, {"amount"}),
    ("update tenants set allowed_origins = '{}'", {"success_url": ORIGIN + "/a"}, {"success_url"}),
    ("update tenants set allowed_origins = '{https://other.example}'", {"failure_url": ORIGIN}, {"failure_url"}),
    ("update payment_providers set currencies = '{EUR}'", {}, {"currency"}),
    ("update payment_providers set disabled_at = now()", {}, {"provider_id"}),
    ("update tenants set default_provider_id = null", {}, {"provider_id"}),
]


@pytest.mark.parametrize(("change", "asked", "fields"), CHANGES, ids=[fields.copy().pop() for _, _, fields in CHANGES])
def test_what_another_process_changes_holds_for_the_next_deposit(
    databases: Databases, tenant: Shop, change: str, asked: dict[str, Any], fields: set[str]
) -> None:
    create(tenant, **asked)
    databases.rows(change)
    assert refused_fields(lambda: create(tenant, "key-1", **asked)) == fields
    assert databases.value("select count(*) from payment_transactions") == 1


def test_everything_wrong_is_named_at_once(tenant: Shop, databases: Databases) -> None:
    databases.rows("update tenants set amount_minor_max = 1")
    evil = "https://evil.example/"
    fields = {"provider_id", "amount", "success_url", "failure_url"}
    stranger = make_shop(tenant.runtime)
    for provider_id in (uuid.uuid4(), stranger.provider_id):
        wrong = {"provider_id": provider_id, "success_url": evil, "failure_url": evil}
        assert refused_fields(lambda wrong=wrong: create(tenant, **wrong)) == fields  # type: ignore[misc]
    assert databases.value("select count(*) from payment_transactions") == 0


def test_defaults_are_those_of_the_moment(databases: Databases, tenant: Shop) -> None:
    databases.rows("update tenants set payment_seconds = 60, default_success_url = 'https://a.example/'")
    first = create(tenant).payment
    databases.rows("update tenants set payment_seconds = 90, default_success_url = 'https://b.example/'")
    second = create(tenant, failure_url=ORIGIN + "/f").payment
    assert [(one.expires_at - one.created_at).total_seconds() for one in (first, second)] == [60, 90]
    urls = "select success_url, failure_url from payment_transactions order by created_at"
    assert [tuple(row.values()) for row in databases.rows(urls)] == [
        ("https://a.example/", None),
        ("https://b.example/", ORIGIN + "/f"),
    ]
