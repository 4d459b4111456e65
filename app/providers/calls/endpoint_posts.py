"""Posts to tenants' webhook endpoints: to public addresses over https, within the guard of all outgoing calls.

The hosts that may be called although they are private are another list than the providers'. No redirect is followed,
and of an answer only the status, Retry-After and the start of the body are read.
"""

from __future__ import annotations

import functools
import http.client
from collections.abc import Mapping
from dataclasses import dataclass

from app.core.errors import OutcomeUnknown
from app.core.validation.addresses import url_host
from app.providers.calls.addresses import AddressRefused, is_listed, is_loopback_name
from app.providers.calls.connections import CallBounds, Connections
from app.providers.calls.outgoing import CONNECT_SECONDS, OVERHEAD_BYTES_MAX, CallTarget, check_url, parse_retry_after
from app.providers.calls.outgoing import read_target as read_checked_target

# To resolve, connect, send and be answered; CONTRACT section 11.
TOTAL_SECONDS = 15.0
# What is kept of an answer's body.
ANSWER_BYTES_MAX = 1_024
# An endpoint that names a time is not called before it, up to a day.
RETRY_AFTER_SECONDS_MAX = 86_400.0

LOOPBACK_NAMES = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class EndpointAnswer:
    """An endpoint's answer: its status, the start of its body, and Retry-After in seconds, None without one."""

    status: int
    body: bytes
    retry_after_seconds: float | None


class EndpointPosts:
    """Sends to endpoints; threads share it and its connections, which are kept alive.

    `private_hosts` may be called although they are not public. `stack_ports` is None but under `sluice up` on loopback:
    then it has the ports of the stack, and every other port of this machine may be called, over http too.
    """

    def __init__(
        self, private_hosts: frozenset[str], stack_ports: frozenset[int] | None, ca_file: str | None = None
    ) -> None:
        self._private_hosts = private_hosts if stack_ports is None else private_hosts | LOOPBACK_NAMES
        self._stack_ports = stack_ports or frozenset()
        self._connections = Connections(self._private_hosts, ca_file)
        self._aim = functools.lru_cache(maxsize=1_000)(self._check)

    def check(self, url: str) -> None:
        """Raise AddressRefused unless `url` may be called."""
        self._check(url)

    def _check(self, url: str) -> CallTarget:
        check_url(url, self._private_hosts, "webhook endpoint", "SLUICE_PRIVATE_ENDPOINTS")
        target = read_checked_target(url)
        host, port = target.origin.host, target.origin.port
        # Only a listed host can have an address of this machine.
        if port in self._stack_ports and (is_loopback_name(host) or is_listed(host, port, self._private_hosts)):
            raise AddressRefused(f"port {port} of {url_host(host)} is a port of Sluice itself")
        return target

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> EndpointAnswer:
        """Send one request. Raise NotSent where it surely did not arrive, OutcomeUnknown where it may have."""
        target = self._aim(url)
        bounds = CallBounds(TOTAL_SECONDS, ANSWER_BYTES_MAX + OVERHEAD_BYTES_MAX)
        # No compression: the start of the body is kept as text.
        sent = {"Host": target.host, "User-Agent": "sluice", **headers, "Accept-Encoding": "identity"}
        try:
            connection = self._connections.take(target.origin, bounds, min(CONNECT_SECONDS, bounds.left()))
            is_kept = False
            try:
                connection.request("POST", target.path, body, sent)
                with connection.getresponse() as response:
                    start = _read_start(response)
                    wait = parse_retry_after(response.headers.get("Retry-After"), RETRY_AFTER_SECONDS_MAX)
                    # A body that was not read to its end would be read as the next answer.
                    is_kept = response.isclosed() and not response.will_close and response.status in (200, 201, 202)
                    return EndpointAnswer(response.status, start, wait)
            finally:
                if is_kept:
                    self._connections.give_back(connection)
                else:
                    connection.end()
        except TimeoutError as error:
            raise OutcomeUnknown(f"no answer within {TOTAL_SECONDS:.0f} seconds") from error
        # ValueError: an invalid header or number; HTTPException: invalid HTTP.
        except (http.client.HTTPException, OSError, ValueError) as error:
            raise OutcomeUnknown(f"the answer did not come: {type(error).__name__}") from error


def _read_start(response: http.client.HTTPResponse) -> bytes:
    """Return the first bytes of the body, as much of them as came: the status has come, which is the answer."""
    try:
        return response.read(ANSWER_BYTES_MAX)
    except http.client.IncompleteRead as torn:
        return torn.partial
    except (OutcomeUnknown, http.client.HTTPException, OSError, ValueError):
        return b""
