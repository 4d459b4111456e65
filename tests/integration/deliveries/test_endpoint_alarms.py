"""What keeps deliveries from an endpoint is one open alarm, until the endpoint is used again or is gone."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from app.services.deliveries import webhook_endpoints
from app.services.upkeep import alert_resolution
from testbed.shop import ACTOR
from tests.integration.deliveries.endpoint_requests import Backend
from tests.support.webhook_receiver import WebhookReceiver

End = Callable[[Backend, uuid.UUID], None]


def list_alarms(backend: Backend) -> list[tuple[str, int, str | None]]:
    """Return the kind of each alarm about endpoints, how often it was raised, and its end; None while it is open."""
    alert_resolution.resolve_ended(backend.runtime)
    query = "select kind, occurrences, resolved_by from alerts where kind ~ 'endpoint' order by at"
    return [(row["kind"], row["occurrences"], row["resolved_by"]) for row in backend.databases.rows(query)]


def change(status: str) -> End:
    """Return what gives an endpoint this status."""

    def act(backend: Backend, endpoint_id: uuid.UUID) -> None:
        about = (backend.shop.tenant_id, endpoint_id, {"status": status}, ACTOR)
        webhook_endpoints.change_endpoint(backend.runtime, *about)

    return act


def delete(backend: Backend, endpoint_id: uuid.UUID) -> None:
    webhook_endpoints.delete_endpoint(backend.runtime, backend.shop.tenant_id, endpoint_id, ACTOR)


def mend(backend: Backend, endpoint_id: uuid.UUID) -> None:
    """Let the key of the secret be back, and the deliveries that waited be made."""
    whole = backend.runtime.vault.encrypt(backend.secrets[str(endpoint_id)])
    set_secret(backend, endpoint_id, whole)
    backend.make_due()
    backend.deliver()


def wait_long(backend: Backend, endpoint_id: uuid.UUID) -> None:
    backend.databases.rows("update alerts set last_at = now() - interval '16 minutes'")


def set_secret(backend: Backend, endpoint_id: uuid.UUID, encrypted: bytes) -> None:
    change = "update endpoint_secrets set secret_encrypted = :encrypted where endpoint_id = :id"
    backend.databases.rows(change, encrypted=encrypted, id=endpoint_id)


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (mend, "no delivery waits for the endpoint"),
        (change("disabled"), "the endpoint is disabled"),
        (delete, "the endpoint is deleted"),
        (wait_long, "it was not met again"),
    ],
)
def test_a_secret_that_cannot_be_decrypted_is_an_alarm_until_it_can_be_or_need_not(
    backend: Backend, receiver: WebhookReceiver, end: End, words: str
) -> None:
    endpoint_id = backend.endpoint(receiver.url)
    set_secret(backend, endpoint_id, b"gAAAAA")
    backend.complete()
    for times in (1, 2):
        backend.make_due()
        backend.deliver()
        assert list_alarms(backend) == [("endpoint_unusable", times, None)]
    end(backend, endpoint_id)
    assert list_alarms(backend) == [("endpoint_unusable", 2, words)]
    assert len(receiver.received) == (1 if end is mend else 0)


@pytest.mark.parametrize(
    ("end", "words"), [(change("enabled"), "the endpoint is enabled"), (delete, "the endpoint is deleted")]
)
def test_an_endpoint_that_is_gone_is_an_alarm_until_it_is_enabled_or_deleted(
    backend: Backend, receiver: WebhookReceiver, end: End, words: str
) -> None:
    receiver.answer = lambda received: 410
    endpoint_id = backend.endpoint(receiver.url)
    backend.complete(3)
    backend.deliver()
    backend.complete()
    backend.make_due()
    backend.deliver()
    assert list_alarms(backend) == [("endpoint_disabled", 1, None)]
    end(backend, endpoint_id)
    ended = ("endpoint_disabled", 1, words)
    assert list_alarms(backend) == [ended]
    if end is not delete:
        backend.complete()
        backend.deliver()
        assert list_alarms(backend) == [ended, ("endpoint_disabled", 1, None)]
