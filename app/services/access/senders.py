"""Who may send webhooks: a provider's scheme, keys and addresses, looked up through the door."""

from __future__ import annotations

import ipaddress
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.core.errors import ProviderUnusable
from app.core.signatures import Key, Scheme
from app.core.validation.addresses import parse_address
from app.providers.ed25519 import read_key
from app.runtime.runtime import Runtime
from app.runtime.vault import VaultError
from models.database import single

# A secret that was ended, or an address taken from the list, must be refused within a second.
REMEMBERED_SECONDS = 1.0
# Decrypted keys of this many providers are held: some hundred bytes each.
REMEMBERED_MAX = 1_000

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Sender:
    """A provider as its webhooks are judged; `read_at` is on the monotonic clock."""

    id: uuid.UUID
    tenant_id: uuid.UUID
    adapter: str
    scheme: Scheme
    networks: tuple[Network, ...]
    keys: tuple[Key, ...] = field(repr=False)
    # Why some of its secrets cannot be used here; a signature that no key fits may be one of theirs.
    problem: str = ""
    read_at: float = 0.0

    def may_send_from(self, address: str) -> bool:
        """Return whether the provider's list of addresses, where it has one, holds `address`."""
        if not self.networks:
            return True
        ip = parse_address(address)
        return ip is not None and any(ip in network for network in self.networks)


_lock = threading.Lock()
_remembered: OrderedDict[uuid.UUID, Sender] = OrderedDict()


def find_sender(runtime: Runtime, provider_id: uuid.UUID, *, newer_than: float | None = None) -> Sender | None:
    """Return the provider, read at most a second ago and after `newer_than`; None where there is no such one.

    Raise ProviderUnusable where how it is configured cannot be read.
    """
    now = time.monotonic()
    with _lock:
        found = _remembered.get(provider_id)
    if found is not None and now - found.read_at < REMEMBERED_SECONDS and (newer_than or 0.0) < found.read_at:
        return found
    found = _read(runtime, provider_id, now)
    with _lock:
        _remembered.pop(provider_id, None)
        if found is not None:
            _remembered[provider_id] = found
        while len(_remembered) > REMEMBERED_MAX:
            _remembered.popitem(last=False)
    return found


def forget_sender(provider_id: uuid.UUID) -> None:
    """Make this process look the provider up anew; others do so within a second."""
    with _lock:
        _remembered.pop(provider_id, None)


_FIND = single(
    "select tenant_id, adapter, webhook_scheme, signature_header, id_field, ip_allowlist, secrets"
    " from door_find_provider(:id)"
)


def _read(runtime: Runtime, provider_id: uuid.UUID, now: float) -> Sender | None:
    rows = runtime.database.run_single("door", _FIND, {"id": provider_id})
    if not rows:
        return None
    (row,) = rows
    scheme = Scheme(row.webhook_scheme, row.signature_header, row.id_field)
    try:
        networks = tuple(ipaddress.ip_network(network) for network in row.ip_allowlist)
    except ValueError:
        raise ProviderUnusable("its list of addresses cannot be read", provider_id=provider_id) from None
    keys, problem = _read_keys(runtime, scheme.name, row.secrets)
    return Sender(provider_id, row.tenant_id, row.adapter, scheme, networks, keys, problem, now)


def _read_keys(runtime: Runtime, scheme: str, secrets: Sequence[bytes]) -> tuple[tuple[Key, ...], str]:
    """Return the keys that can be read, and what is the matter with the others."""
    keys, problem = [], ""
    for secret in secrets:
        try:
            keys.append(read_key(scheme, runtime.vault.decrypt(secret)))
        except VaultError:
            problem = "no key of SLUICE_ENCRYPTION_KEYS decrypts one of its webhook secrets"
        except ValueError:
            problem = "one of its webhook secrets, or SLUICE_ENCRYPTION_KEYS, cannot be read"
    return tuple(keys), problem
