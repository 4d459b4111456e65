"""Providers of the release before: their one key is read as it is stored, and its workers read it until they end."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from alembic import command

from app.local.embedded import APP_ROLE, OWNER_ROLE, SUPERUSER
from app.services.payments.calls.provider_trouble import read_credentials
from models.migrations import configuration, upgrade
from testbed.servers import Databases, Servers
from testbed.shop import Shop
from testbed.stack import Stack
from tests.support.engine import Engine

EARLIER = "0027"
TENANT, PROVIDER = uuid.uuid4(), uuid.uuid4()
_INSERT = """
insert into payment_providers (id, tenant_id, name, adapter, api_base_url, api_key_encrypted)
values (:id, :tenant, 'main', 'sandbox', 'https://pay.example', :key)
"""


@pytest.fixture
def earlier(servers: Servers) -> Iterator[Databases]:
    """Provide a database of the release before, with a provider."""
    name = "earlier_credentials"
    servers.administer(f"create database {name} owner {OWNER_ROLE}")
    app, owner, superuser = (servers.postgres.url(role, name) for role in (APP_ROLE, OWNER_ROLE, SUPERUSER))
    databases = Databases(name, app, owner, superuser, "", servers.encryption_key, servers.folder)
    try:
        command.upgrade(configuration(owner), EARLIER)
        databases.rows("insert into tenants (id, name) values (:id, 'earlier')", id=TENANT)
        databases.rows(_INSERT, id=PROVIDER, tenant=TENANT, key=b"ciphertext")
        yield databases
    finally:
        databases.superuser.close()
        servers.administer(f"drop database {name} with (force)")


def test_the_key_stays_what_it_was_under_both_names(earlier: Databases) -> None:
    upgrade(earlier.owner_database_url, earlier.database_url)
    (row,) = earlier.rows("select credentials_encrypted as now, api_key_encrypted as before from payment_providers")
    assert (bytes(row["now"]), bytes(row["before"])) == (b"ciphertext", b"ciphertext")
    # Commands of the release before would store a key that nobody reads.
    with pytest.raises(Exception, match="api_key_encrypted"):
        earlier.rows("update payment_providers set api_key_encrypted = 'another'")
    earlier.rows("update payment_providers set credentials_encrypted = 'another'")
    assert bytes(earlier.value("select api_key_encrypted from payment_providers")) == b"another"


def test_a_provider_with_a_key_without_a_name_is_called(front: Stack, shop: Shop, engine: Engine) -> None:
    bare = front.runtime.vault.encrypt(shop.provider_api_key)
    engine.databases.rows(
        "update payment_providers set credentials_encrypted = :bare where id = :id", bare=bare, id=shop.provider_id
    )
    payment = shop.deposit()
    engine.call()
    assert shop.payment(payment.id).status == "processing"
    assert read_credentials(front.runtime, bare) == {"api_key": shop.provider_api_key}
