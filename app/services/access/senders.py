"""Find the sender of a webhook: its provider's signature scheme, keys and addresses, from a cache of a second."""

from __future__ import annotations

import ipaddress
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.core.errors import ProviderUnusable
from app.core.signatures import Key, Scheme
from app.core.validation.addresses import parse_address
from app.providers import Adapter
from app.runtime.runtime import Runtime
from app.runtime.vault import VaultError
from models.database import single

# TTL of the cache: an expired secret and a removed address are refused within a second.
CACHE_SECONDS = 1.0
# Providers with decrypted keys in the cache, some hundred bytes each.
CACHED_MAX = 1_000

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Sender:
    """A provider as its webhooks are verified; `read_at` is on the monotonic clock."""

    id: uuid.UUID
    tenant_id: uuid.UUID
    adapter: str
    scheme: Scheme
    networks: tuple[Network, ...]
    keys: tuple[Key, ...] = field(repr=False)
    # Why some of its secrets cannot be used here; a signature that fits no key may be by one of these.
    problem: str = ""
    read_at: float = 0.0

    def may_send_from(self, address: str) -> bool:
        """Return whether `address` is on the provider's list, or there is no list."""
        return is_listed(address, self.networks)


def is_listed(address: str, networks: Sequence[Network]) -> bool:
    """Return whether `address` is in one of `networks`, or there are none."""
    if not networks:
        return True
    ip = parse_address(address)
    return ip is not None and any(ip in network for network in networks)


# Known providers only. An entry counts for CACHE_SECONDS from the start of its query.
_cache: dict[uuid.UUID, Sender] = {}


def find_sender(runtime: Runtime, provider_id: uuid.UUID, *, newer_than: float | None = None) -> Sender | None:
    """Return the provider, read at most CACHE_SECONDS ago and after `newer_than`, or None where it is unknown.

    Raise ProviderUnusable where its configuration cannot be read.
    """
    now = time.monotonic()
    found = _cache.get(provider_id)
    if found is not None and max(newer_than or 0.0, now - CACHE_SECONDS) < found.read_at:
        return found
    found = _read(runtime, provider_id, now)
    if found is None:
        forget_sender(provider_id)
        return None
    if len(_cache) >= CACHED_MAX:
        # All of them are a second old soon.
        _cache.clear()
    _cache[provider_id] = found
    return found


def forget_sender(provider_id: uuid.UUID) -> None:
    """Remove the provider from this process's cache; in others it expires within a second."""
    _cache.pop(provider_id, None)


_FIND = single(
    "select tenant_id, adapter, webhook_scheme, signature_header, id_field, ip_allowlist, secrets"
    " from door_find_provider(:id)"
)


def _read(runtime: Runtime, provider_id: uuid.UUID, now: float) -> Sender | None:
    rows = runtime.database.run_single("door", _FIND, {"id": provider_id})
    if not rows:
        return None
    row = rows[0]
    scheme = Scheme(row.webhook_scheme, row.signature_header, row.id_field)
    try:
        networks = tuple(ipaddress.ip_network(network) for network in row.ip_allowlist)
    except ValueError:
        raise ProviderUnusable("its list of addresses cannot be read", provider_id=provider_id) from None
    keys, problem = _read_keys(runtime, runtime.find_adapter(row.adapter), scheme, row.secrets)
    return Sender(provider_id, row.tenant_id, row.adapter, scheme, networks, keys, problem, now)


def _read_keys(
    runtime: Runtime, adapter: Adapter, scheme: Scheme, secrets: Sequence[bytes]
) -> tuple[tuple[Key, ...], str]:
    """Return the keys that can be read, and the problem of the others."""
    keys, problem = [], ""
    for secret in secrets:
        try:
            keys.append(adapter.read_key(scheme, runtime.vault.decrypt(secret)))
        except VaultError:
            problem = "no key of SLUICE_ENCRYPTION_KEYS decrypts one of its webhook secrets"
        except ValueError:
            problem = "one of its webhook secrets, or SLUICE_ENCRYPTION_KEYS, cannot be read"
    return tuple(keys), problem
