"""Every planted corruption is found by the proof of the books, under the name of the invariant that it breaks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.services.verification import prove
from models import Database
from testbed.servers import Servers
from testbed.shop import make_shop
from tests.integration.verification.corruptions import CORRUPTIONS
from tests.integration.verification.debit_corruptions import DEBIT_CORRUPTIONS
from tests.integration.verification.refund_corruptions import REFUND_CORRUPTIONS
from tests.integration.verification.suspense_corruptions import SUSPENSE_CORRUPTIONS
from tests.support import books


@pytest.fixture(scope="module")
def superuser(servers: Servers) -> Iterator[Database]:
    """Busy books that hold, as a superuser has them."""
    with servers.open_databases() as databases:
        with databases.open_runtime() as runtime:
            shop = make_shop(runtime)
            books.make_debits(shop)
            books.make_busy(databases, shop)
            books.make_refunds(shop)
            books.make_policy_refunds(shop)
            report = prove(runtime.database, "full")
            assert report.is_whole, report.as_json()
            assert report.counts["seals"] >= 3
        database = Database(databases.superuser_url, 1)
        yield database
        database.engine.dispose()


_ALL = CORRUPTIONS | REFUND_CORRUPTIONS | DEBIT_CORRUPTIONS | SUSPENSE_CORRUPTIONS


@pytest.mark.parametrize("name", _ALL)
def test_names_the_broken_invariant(superuser: Database, name: str) -> None:
    statements, expected = _ALL[name]
    with books.spoil(superuser, statements) as spoiled:
        report = prove(spoiled, "full")
    assert expected <= set(report.invariants), report.as_json()
    assert report.verdict.startswith("BROKEN: ")
    assert all(broken.rows for broken in report.broken.values())


def test_a_changed_audit_row_is_named(superuser: Database) -> None:
    row = "(select max(id) from audit_logs where kind = 'key_created')"
    with books.spoil(superuser, [f"update audit_logs set actor = 'operator:eve' where id = {row}"]) as spoiled:
        (broken,) = prove(spoiled, "full").broken.values()
        audit_id = spoiled._connection.exec_driver_sql(f"select {row}").scalar()
    assert [found["subject"] for found in broken.rows] == [f"audit row {audit_id}"]


def test_nothing_is_broken_after_it_is_put_right(superuser: Database) -> None:
    with books.spoil(superuser, []) as spoiled:
        assert prove(spoiled, "full").is_whole
