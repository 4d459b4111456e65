"""Addresses of providers and endpoints: which may be called, and resolving a host with a time limit."""

from __future__ import annotations

import ipaddress
import queue
import socket
import threading
from typing import Any

from app.core.errors import NotSent
from app.core.validation.addresses import url_host

# The part of IPv6 that is assigned to public hosts (RFC 4291, IANA's registry).
_PUBLIC_IPV6 = ipaddress.IPv6Network("2000::/3")
# IPv6 forms that lead to an IPv4 address in their last four bytes: NAT64 (RFC 6052) and the old "compatible" one.
_ENDS_IN_IPV4 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))
# Special ranges that older Pythons report as public: protocol assignments, 6to4 relays, documentation.
_NOT_PUBLIC = tuple(ipaddress.ip_network(network) for network in ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20"))

Addresses = list[tuple[socket.AddressFamily, Any]]


class AddressRefused(NotSent):
    """The address is not one that may be called."""


def is_loopback_name(host: str) -> bool:
    """Return whether `host` is a loopback name or address."""
    return host in ("localhost", "127.0.0.1", "::1")


def is_listed(host: str, port: int, private_hosts: frozenset[str]) -> bool:
    """Return whether `private_hosts` has `host`, with this port or without one."""
    return host in private_hosts or f"{url_host(host)}:{port}" in private_hosts


def is_callable(address: str, host: str, port: int, private_hosts: frozenset[str]) -> bool:
    """Return whether `address`, which `host` was resolved to, may be connected to."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return is_listed(host, port, private_hosts)
    if is_listed(host, port, private_hosts):
        # A loopback name must resolve to a loopback address.
        return ip.is_loopback or not is_loopback_name(host)
    return is_public(ip)


def is_public(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return whether `ip`, and an IPv4 address embedded in it, is a public unicast address."""
    if any(ip in network for network in _NOT_PUBLIC):
        return False
    if isinstance(ip, ipaddress.IPv4Address):
        return ip.is_global and not ip.is_multicast and not ip.is_reserved
    inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
    if inner is None and any(ip in network for network in _ENDS_IN_IPV4):
        inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    if inner is not None:
        return is_public(inner)
    return ip in _PUBLIC_IPV6 and ip.is_global and not ip.is_multicast


def resolve(host: str, port: int, seconds: float) -> Addresses:
    """Return the addresses of `host`. Raise NotSent where there are none within `seconds`.

    The system's resolver has no time limit that could be set here, so it runs in a thread.
    """
    answers: queue.SimpleQueue[Addresses | OSError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answers.put([(family, address) for family, _, _, _, address in found])
        except (OSError, UnicodeError) as error:
            answers.put(OSError(str(error)))

    threading.Thread(target=look_up, name="resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise NotSent("the host could not be resolved in time") from None
    if isinstance(answer, OSError):
        raise NotSent(f"the host cannot be resolved: {answer}") from answer
    return answer
