"""The guard of calls to webhook endpoints, at the connection: a URL that was stored is checked at each attempt."""

from __future__ import annotations

import pytest

from app.core.errors import ProviderCallFailed
from app.providers.calls.addresses import AddressRefused
from app.providers.calls.endpoint_posts import EndpointPosts
from tests.integration.deliveries.endpoint_requests import Backend
from tests.support.webhook_receiver import WebhookReceiver


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1:80/", "https://127.0.0.1/", "https://localhost/", "https://[::1]/", "https://10.0.0.1/"),
        *("https://169.254.169.254/latest/", "https://[::ffff:127.0.0.1]/", "https://0.0.0.0/", "https://192.168.1.1/"),
    ],
)
def test_no_private_address_is_called_without_a_list(url: str) -> None:
    with pytest.raises(ProviderCallFailed) as refused:
        EndpointPosts(frozenset(), None).post(url, {}, b"{}")
    assert isinstance(refused.value, AddressRefused)


def test_the_providers_list_is_not_the_endpoints(backend: Backend, receiver: WebhookReceiver) -> None:
    backend.endpoint(receiver.url)
    backend.complete()
    # SLUICE_PRIVATE_PROVIDERS names this machine; without `sluice up` no endpoint may be here.
    with backend.databases.open_runtime(SLUICE_STACK_PORTS="") as elsewhere:
        assert "127.0.0.1" in elsewhere.settings.private_providers
        Backend(backend.databases, elsewhere, backend.shop).deliver()
    assert receiver.received == []
    (attempt,) = backend.attempts("status_code, error")
    assert (attempt["status_code"], "SLUICE_PRIVATE_ENDPOINTS" in attempt["error"]) == (None, True)


def test_a_listed_host_may_be_called_but_at_no_port_of_the_stack(receiver: WebhookReceiver) -> None:
    port = int(receiver.url.rpartition(":")[2])
    assert EndpointPosts(frozenset({"127.0.0.1"}), None).post(receiver.url, {}, b"{}").status == 200
    with pytest.raises(AddressRefused, match="port of Sluice"):
        EndpointPosts(frozenset({"127.0.0.1"}), frozenset({port})).post(receiver.url, {}, b"{}")
    assert len(receiver.received) == 1
