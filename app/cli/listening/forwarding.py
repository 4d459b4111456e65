"""Forward events to a backend under development, signed as webhooks are (Standard Webhooks)."""

from __future__ import annotations

import ipaddress
import time
from urllib.parse import urlsplit

import requests

from app.cli.listening.event_stream import Frame
from app.core.signatures import decode_secret, sign_standard

# As long as a delivery to a webhook endpoint may take.
ANSWER_SECONDS = 15.0


class Forwarder:
    """Sends events to one URL, each once and in order."""

    def __init__(self, url: str, secret: str) -> None:
        self._url = url
        self._key = decode_secret(secret)
        self._session = requests.Session()
        # Neither a proxy nor a password from .netrc: the target is as it was named.
        self._session.trust_env = False

    def send(self, frame: Frame) -> tuple[bool, str]:
        """Send an event; return whether the backend took it (any 2xx), and in words what became of it."""
        webhook_id, timestamp = f"evt_{frame.id}", str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "sluice-listen",
            "webhook-id": webhook_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": sign_standard(self._key, webhook_id, timestamp, frame.data),
        }
        started = time.monotonic()
        try:
            answer = self._session.post(
                self._url, data=frame.data, headers=headers, timeout=ANSWER_SECONDS, allow_redirects=False
            )
        except requests.RequestException as error:
            return False, f"not delivered to {self._url}: {type(error).__name__}"
        words = f"{answer.status_code} {answer.reason} from {self._url} in {1000 * (time.monotonic() - started):.0f} ms"
        return 200 <= answer.status_code < 300, words


def is_loopback(url: str) -> bool:
    """Return whether `url` names this machine: localhost or an address of the loopback network."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
