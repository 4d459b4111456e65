"""Rows of earlier revisions with references and URLs that are refused now: the bounds are added in place."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psycopg2
import pytest

from models import migrations
from testbed.servers import Databases
from testbed.shop import Shop

SQL = Path(migrations.__file__).parent / "versions" / "v0_2" / "0011_references.sql"


def test_bounds_are_added_to_a_database_with_older_rows(databases: Databases, tenant: Shop) -> None:
    long, plain, script, new = (tenant.deposit() for _ in range(4))
    for name in ("provider_reference", "redirect_url"):
        databases.rows(f"alter table payment_transactions drop constraint ck_payment_transactions_{name}")
    change = "update payment_transactions set provider_reference = :reference, redirect_url = :url where id = :id"
    databases.rows(change, id=long.id, reference="r" * 600, url="https://user@pay.example/")
    databases.rows(change, id=plain.id, reference="r", url="https://pay.example/1?x=a@b")
    databases.rows(change, id=script.id, reference=None, url="javascript:alert(1)")
    connection = psycopg2.connect(databases.owner_database_url)
    with contextlib.closing(connection), connection, connection.cursor() as cursor:
        cursor.execute(SQL.read_text(encoding="utf-8"))
    assert tenant.payment(plain.id).redirect_url == "https://pay.example/1?x=a@b"
    assert [tenant.payment(payment.id).redirect_url for payment in (long, script)] == [None, None]
    # What has such a reference can still be settled; nothing new gets one.
    databases.rows("update payment_transactions set version = version + 1 where id = :id", id=long.id)
    assert tenant.payment(long.id).provider_reference == "r" * 600
    databases.rows("update payment_transactions set created_at = now() + interval '1 s' where id = :id", id=new.id)
    with pytest.raises(Exception, match="ck_payment_transactions_provider_reference"):
        databases.rows(change, id=new.id, reference="r" * 600, url=None)
