"""Who may send, by address: allowlists, and exactly as many proxies as are configured."""

from __future__ import annotations

import secrets

import pytest
import requests

from app.services.tenants import providers
from app.services.tenants.changes import ConfigurationError
from app.services.tenants.providers import NewProvider
from testbed.shop import ACTOR, NOWHERE, Shop
from testbed.stack import Stack

ALLOWED = ("192.0.2.0/24", "2001:db8:1::/48", "198.51.100.7")


def restricted_shop(stack: Stack, networks: tuple[str, ...] = ALLOWED) -> Shop:
    """Make a tenant whose provider sends from `networks` alone."""
    shop = stack.make_shop()
    api_key = "sbk_" + secrets.token_hex(8)
    new = NewProvider(shop.tenant_id, "listed", "sandbox", NOWHERE, {"api_key": api_key}, ip_allowlist=networks)
    provider_id, secret = providers.create_provider(stack.runtime, new, ACTOR)
    return Shop(stack.runtime, shop.tenant_id, shop.key_id, shop.secret_key, provider_id, secret, "")


def deliver(stack: Stack, shop: Shop, **headers: str) -> int:
    body = shop.body(shop.deposit(provider_id=None), provider_id=str(shop.provider_id))
    sent = shop.sign(body) | {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.post(f"{stack.web}/webhooks/payment-success", data=body, headers=sent, timeout=20).status_code


@pytest.mark.parametrize(
    ("forwarded", "status"),
    [
        ("192.0.2.9", 200),
        ("198.51.100.7", 200),
        ("2001:db8:1:2::3", 200),
        ("::ffff:192.0.2.9", 200),
        ("192.0.3.9", 403),
        ("198.51.100.8", 403),
        ("2001:db8:2::1", 403),
        ("::ffff:10.0.0.1", 403),
        ("not an address", 403),
        # With the client's port, as some proxies write it, and IPv6 in brackets.
        ("192.0.2.9:8080", 200),
        ("192.0.3.9:8080", 403),
        ("[2001:db8:1::7]", 200),
        ("[2001:db8:1::7]:443", 200),
        ("[2001:db8:2::7]:443", 403),
        ("[::ffff:192.0.2.9]:51008", 200),
        ("::FFFF:192.0.2.9", 200),
        ('"[2001:db8:1::7]:443"', 200),
        ("2001:DB8:1::7%eth0", 200),
        ("203.0.113.5, [2001:db8:1::7]:443", 200),
        # What is no address is nobody's.
        ("192.0.2.9:", 403),
        ("192.0.2.9:65536", 403),
        ("192.0.2.9:x", 403),
        ("192.0.2.9:80:80", 403),
        ("[192.0.2.9]:80", 403),
        ("[2001:db8:1::7", 403),
        ("2001:db8:1::7]:443", 403),
        ("192.0.2", 403),
        ("0xc0000209", 403),
        ("192.0.2.9,", 403),
        ("", 403),
        # What stands further left is the client's own word.
        ("192.0.2.9, 203.0.113.5", 403),
        ("203.0.113.5, 192.0.2.9", 200),
    ],
)
def test_only_listed_addresses_get_in(behind_proxy: Stack, forwarded: str, status: int) -> None:
    assert deliver(behind_proxy, restricted_shop(behind_proxy), X_Forwarded_For=forwarded) == status


def test_without_a_proxy_its_header_is_nobodys_word(web_stack: Stack) -> None:
    shop = restricted_shop(web_stack)
    names = ("X-Forwarded-For", "Forwarded", "X-Real-IP", "True-Client-IP", "X-Client-IP")
    claims = dict.fromkeys(names, "192.0.2.9") | {"Forwarded": "for=192.0.2.9"}
    assert deliver(web_stack, shop, **claims) == 403
    assert deliver(web_stack, restricted_shop(web_stack, ("127.0.0.0/8",))) == 200


@pytest.mark.parametrize("network", ["192.0.2.9/24", "256.1.1.1", "all", "", "10.0.0.0/33", "::/129"])
def test_a_misspelt_network_is_not_stored(web_stack: Stack, network: str) -> None:
    with pytest.raises(ConfigurationError):
        restricted_shop(web_stack, (network,))


@pytest.mark.parametrize(
    ("forwarded", "status"),
    [
        *(("203.0.113.7:51008", 403), ("[2001:db8::7]:443", 403), ("[::1", 403), ("nonsense", 403), ("", 403)),
        *(("127.0.0.1", 200), ("127.0.0.1:51008", 200), ("[::1]:51008", 200), ("127.0.0.1, 203.0.113.7", 403)),
    ],
)
def test_the_metrics_door_reads_addresses_as_the_allowlist_does(
    behind_proxy: Stack, forwarded: str, status: int
) -> None:
    headers = {"X-Forwarded-For": forwarded}
    assert requests.get(f"{behind_proxy.web}/metrics", headers=headers, timeout=20).status_code == status
