"""Secrets that no key decrypts: whom they concern waits and is named, nobody else notices, and nothing is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import requests

from app.doctor.secrets import examine_secrets
from app.doctor.work import examine_work
from app.providers.credentials import decode_credentials
from app.runtime.vault import Vault, VaultError, fingerprint, new_encryption_key
from app.services.payments.calls import provider_trouble
from app.services.tenants import key_rotation, process_keys, webhook_secrets
from testbed.servers import Databases
from testbed.shop import ACTOR, Shop, make_shop
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.support.engine import Engine

LOST = Vault([new_encryption_key()])


def post(front: Stack, shop: Shop, path: str, body: bytes, secret: str | None = None) -> requests.Response:
    url = f"{front.web}/webhooks/{path}"
    return requests.post(url, data=body, headers=shop.sign(body, secret=secret), timeout=20)


def spoil(front: Stack, shop: Shop, what: bytes, last_only: bool = False) -> list[dict[str, object]]:
    """Put `what` in the place of the provider's webhook secrets; return what was there."""
    newest = "and id = (select max(id::text)::uuid from provider_secrets where provider_id = :id)" if last_only else ""
    before = front.databases.rows(
        f"select id, secret_encrypted from provider_secrets where provider_id = :id {newest}", id=shop.provider_id
    )
    front.databases.rows(
        f"update provider_secrets set secret_encrypted = :what where provider_id = :id {newest}",
        id=shop.provider_id,
        what=what,
    )
    return before


def mend(front: Stack, rows: list[dict[str, object]]) -> None:
    for row in rows:
        front.databases.rows(
            "update provider_secrets set secret_encrypted = :secret where id = :id",
            id=row["id"],
            secret=bytes(row["secret_encrypted"]),
        )  # type: ignore[arg-type]


def forget(front: Stack, shop: Shop) -> None:
    """Delete the troubles that were recorded for the provider."""
    front.databases.rows("delete from provider_troubles where provider_id = :id", id=shop.provider_id)


@pytest.mark.parametrize("stored", [LOST.encrypt("whsec_x"), b"\x00no token", b""], ids=["lost key", "noise", "empty"])
def test_webhooks_of_a_provider_whose_secret_cannot_be_read_come_again(
    front: Stack, shop: Shop, engine: Engine, stored: bytes
) -> None:
    healthy = front.make_shop()
    payment, other = shop.deposit(), healthy.deposit()
    before = spoil(front, shop, stored)
    for path in ("payment-success", "payment-callback", str(shop.provider_id)):
        answer = post(front, shop, path, shop.body(payment))
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2"), answer.text
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert post(front, healthy, "payment-success", healthy.body(other)).status_code == 200

    work = requests.get(f"{front.web}/health/work", timeout=20)
    assert work.status_code == 503
    assert f"provider {shop.provider_id}" in work.json()["failing"]
    assert f"provider {healthy.provider_id}" not in work.json()["failing"]
    findings = [str(finding) for finding in (*examine_work(front.runtime), *examine_secrets(front.runtime))]
    assert any(str(shop.provider_id) in finding for finding in findings)
    for _ in range(2):
        provider_trouble.raise_alarms(front.runtime)
    alarms = front.databases.rows(
        "select tenant_id from alerts where kind = 'provider_unusable' and detail ->> 'provider_id' = :id",
        id=str(shop.provider_id),
    )
    assert [alarm["tenant_id"] for alarm in alarms] == [shop.tenant_id]

    mend(front, before)
    wait_until(
        lambda: post(front, shop, "payment-success", shop.body(payment)).status_code == 200, "the key is back", 5
    )
    engine.settle()
    assert (shop.payment(payment.id).status, healthy.payment(other.id).status) == ("completed", "completed")
    forget(front, shop)


def test_a_secret_that_can_be_read_holds_with_one_that_cannot(front: Stack, shop: Shop) -> None:
    payment = shop.deposit()
    rotated = webhook_secrets.rotate_secret(front.runtime, shop.provider_id, 3600, ACTOR)
    before = spoil(front, shop, LOST.encrypt(rotated), last_only=True)
    wait_until(
        lambda: post(front, shop, "payment-success", shop.body(payment), rotated).status_code == 503,
        "what the lost secret signs comes again",
        5,
    )
    assert post(front, shop, "payment-success", shop.body(payment)).status_code == 200
    mend(front, before)
    wait_until(
        lambda: post(front, shop, "payment-success", shop.body(payment), rotated).status_code == 200,
        "what the lost secret signs is taken",
        5,
    )
    forget(front, shop)


def test_a_rotation_does_not_stop_at_what_it_cannot_read(databases: Databases) -> None:
    old, new = databases.encryption_key, new_encryption_key()
    with databases.open_runtime() as runtime:
        shops = [make_shop(runtime) for _ in range(3)]
    databases.rows(
        "update payment_providers set credentials_encrypted = :lost where id = :id",
        lost=LOST.encrypt("sbk_lost"),
        id=shops[0].provider_id,
    )
    with databases.open_runtime(SLUICE_ENCRYPTION_KEYS=f"{new},{old}") as runtime, pytest.raises(VaultError) as caught:
        key_rotation.rotate_encryption(runtime, ACTOR)
    assert str(shops[0].provider_id) in str(caught.value)
    assert not any(str(shop.provider_id) in str(caught.value) for shop in shops[1:])
    single = Vault([new])
    read = databases.rows(
        "select id, credentials_encrypted as secret from payment_providers where id <> :id", id=shops[0].provider_id
    )
    keys = {decode_credentials(single.decrypt(row["secret"]))["api_key"] for row in read}
    assert keys == {shop.provider_api_key for shop in shops[1:]}
    webhook_secrets = databases.rows("select secret_encrypted as secret from provider_secrets")
    assert {single.decrypt(row["secret"]) for row in webhook_secrets} == {shop.webhook_secret for shop in shops}


def rotate_key(databases: Databases, keys: str, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **databases.environment, "SLUICE_ENCRYPTION_KEYS": keys}
    argv = [sys.executable, "-m", "app.cli", "secrets", "rotate-key", *options]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60)


def test_nothing_is_re_encrypted_with_a_key_that_a_running_process_lacks(databases: Databases, tenant: Shop) -> None:
    old, new = databases.encryption_key, new_encryption_key()
    with databases.open_runtime() as runtime:
        process_keys.report(runtime, "worker")
        (reported,) = process_keys.read_processes(runtime)
        assert reported.fingerprints == (fingerprint(old),)
        assert old[:8] not in reported.fingerprints[0]
    refused = rotate_key(databases, f"{new},{old}")
    assert refused.returncode == 1
    assert process_keys.name_process() in refused.stderr
    stored = "select secret_encrypted from provider_secrets"
    assert Vault([old]).decrypt(databases.value(stored)) == tenant.webhook_secret

    # It was restarted with both, or has been silent for long enough to be gone.
    with databases.open_runtime(SLUICE_ENCRYPTION_KEYS=f"{new},{old}") as runtime:
        process_keys.report(runtime, "door")
    done = rotate_key(databases, f"{new},{old}", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"secrets": 2})
    assert Vault([new]).decrypt(databases.value(stored)) == tenant.webhook_secret


def test_the_old_process_counts_until_it_has_been_silent(databases: Databases, tenant: Shop) -> None:
    old, new = databases.encryption_key, new_encryption_key()
    with databases.open_runtime() as runtime:
        process_keys.report(runtime, "worker")
    assert rotate_key(databases, f"{new},{old}", "--anyway").returncode == 0
    assert rotate_key(databases, f"{new},{old}").returncode == 1
    databases.rows("update process_keys set at = at - interval '46 seconds'")
    assert rotate_key(databases, f"{new},{old}").returncode == 0


def test_a_running_web_process_reports_its_keys(front: Stack) -> None:
    def reported() -> bool:
        found = process_keys.read_processes(front.runtime)
        return [one.fingerprints for one in found] == [(fingerprint(front.databases.encryption_key),)]

    wait_until(reported, "web has reported its key")
    assert process_keys.find_lacking(front.runtime) == []
    findings = [str(finding) for finding in examine_secrets(front.runtime)]
    assert any("running processes have" in finding for finding in findings)
