"""Callers who were authenticated a moment ago are recognised without a query; nobody else is, and nobody for long."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from cachetools import TLRUCache

from app.runtime.runtime import Runtime
from app.services.access import callers
from app.services.access.callers import Caller, authenticate, recognise
from app.services.tenants import tenants
from models.statements import watched
from testbed.shop import ACTOR, Shop
from testbed.waiting import wait_until


class Lookups:
    """Counts what is sent to a runtime's database."""

    def __init__(self, runtime: Runtime, sent: Sequence[object]) -> None:
        self.database = runtime.database
        self.sent = sent

    def of(self, plain: str) -> tuple[Caller | None, int]:
        """Return the recognised caller and the number of queries that this took."""
        before = len(self.sent)
        return recognise(self.database, plain), len(self.sent) - before


@pytest.fixture
def lookups(runtime: Runtime) -> Iterator[Lookups]:
    callers._cache.clear()
    with watched(runtime.database.engine) as sent:
        yield Lookups(runtime, sent)
    callers._cache.clear()


def with_other_secret(plain: str) -> str:
    return plain[:-1] + ("A" if plain[-1] != "A" else "B")


@pytest.fixture
def long_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep cached callers longer than a slow machine needs for a test."""
    monkeypatch.setattr(callers, "CACHE_SECONDS", 600.0)
    monkeypatch.setattr(callers, "RENEW_SECONDS", 600.0)


@pytest.mark.usefixtures("long_memory")
def test_the_same_credential_is_looked_up_once(tenant: Shop, lookups: Lookups) -> None:
    for plain in (tenant.secret_key, tenant.token("ann")):
        first, count = lookups.of(plain)
        assert count == 1
        assert first == authenticate(tenant.runtime.database, plain)
        assert lookups.of(plain) == (first, 0)


@pytest.mark.usefixtures("long_memory")
def test_another_secret_is_looked_up_like_an_unknown_one_and_harms_nobody(tenant: Shop, lookups: Lookups) -> None:
    good = tenant.secret_key
    found, _ = lookups.of(good)
    unknown = "sk_" + "A" * 16 + "." + good.partition(".")[2]
    for wrong in (with_other_secret(good), good.replace("sk_", "ct_", 1), unknown, good[:-1], "", "sk_"):
        for _ in range(3):
            assert lookups.of(wrong) == (None, 1), wrong
    assert lookups.of(good) == (found, 0)


@pytest.mark.serial
def test_what_is_remembered_ends_within_a_second(tenant: Shop, lookups: Lookups) -> None:
    key_id, plain = tenants.create_key(tenant.runtime, tenant.tenant_id, "read", "test", ACTOR)
    assert lookups.of(plain)[0] is not None
    tenants.revoke_key(tenant.runtime, key_id, ACTOR)
    revoked = time.monotonic()
    wait_until(lambda: lookups.of(plain)[0] is None, "the key is dead")
    assert time.monotonic() - revoked < 5.0
    assert lookups.of(plain) == (None, 1)


@pytest.mark.usefixtures("long_memory")
def test_one_of_many_renews(tenant: Shop, lookups: Lookups, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = tenant.secret_key
    found, _ = lookups.of(plain)
    place = plain.partition(".")[0]
    old = dataclasses.replace(callers._cache[place], read_at=time.monotonic() - 60)
    monkeypatch.setattr(callers, "RENEW_SECONDS", 30.0)
    callers._cache[place] = old
    # While one thread renews the entry, the others use the cached one.
    assert [callers._is_good(old, time.monotonic()) for _ in range(3)] == [False, True, True]
    callers._cache[place] = dataclasses.replace(old, is_renewed=False)
    before = len(lookups.sent)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: recognise(lookups.database, plain), range(40))) == {found}
    assert len(lookups.sent) - before == 1
    assert time.monotonic() - callers._cache[place].read_at < 30


def test_nobody_waits_for_a_renewal_that_hangs_nor_is_let_in_by_it_for_long(
    tenant: Shop, lookups: Lookups, monkeypatch: pytest.MonkeyPatch
) -> None:
    # docs/SECURITY.md: a revoked key is dead within a second.
    assert callers.CACHE_SECONDS <= 1.0
    monkeypatch.setattr(callers, "CACHE_SECONDS", 1_000.0)
    monkeypatch.setattr(callers, "RENEW_SECONDS", 500.0)
    plain = tenant.secret_key
    found, _ = lookups.of(plain)
    place = plain.partition(".")[0]
    hanging = dataclasses.replace(callers._cache[place], is_renewed=True)
    for age, count in ((700.0, 0), (1_000.0, 1)):
        callers._cache[place] = dataclasses.replace(hanging, read_at=time.monotonic() - age)
        assert lookups.of(plain) == (found, count)


@pytest.mark.usefixtures("long_memory")
def test_a_renewal_that_finds_the_key_revoked_ends_it_at_once(
    tenant: Shop, lookups: Lookups, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_id, plain = tenants.create_key(tenant.runtime, tenant.tenant_id, "read", "test", ACTOR)
    assert lookups.of(plain)[0] is not None
    tenants.revoke_key(tenant.runtime, key_id, ACTOR)
    monkeypatch.setattr(callers, "RENEW_SECONDS", 0.0)
    assert [lookups.of(plain) for _ in range(2)] == [(None, 1)] * 2


@pytest.mark.usefixtures("long_memory")
def test_the_memory_is_bounded_and_keeps_no_secret(
    tenant: Shop, lookups: Lookups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "_cache", TLRUCache(3, callers._cache.ttu))
    tokens = [tenant.token("ann") for _ in range(5)]
    for token in tokens:
        assert lookups.of(token)[1] == 1
    assert len(callers._cache) == 3
    assert [lookups.of(token)[1] for token in tokens[2:]] == [0, 0, 0]
    assert lookups.of(tokens[0])[1] == 1
    kept = repr(callers._cache)
    assert not any(token.partition(".")[2] in kept for token in tokens)
