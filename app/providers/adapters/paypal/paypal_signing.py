"""How PayPal signs webhooks: with RSA and a certificate, over the webhook's id, a time and a checksum of the body."""

from __future__ import annotations

import base64
import binascii
import datetime
import re
import zlib
from collections.abc import Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from app.core.signatures import Key, Scheme, rejected
from app.providers.adapters.paypal.paypal_certificates import Certificates, Fetch, read_certificate_url
from app.providers.signing import Received, SchemeSigned

TRANSMISSION_ID, TRANSMISSION_TIME = "paypal-transmission-id", "paypal-transmission-time"
SIGNATURE, CERTIFICATE_URL, ALGORITHM = "paypal-transmission-sig", "paypal-cert-url", "paypal-auth-algo"
HEADERS = (TRANSMISSION_ID, TRANSMISSION_TIME, SIGNATURE, CERTIFICATE_URL, ALGORITHM)
SHA256_WITH_RSA = "SHA256withRSA"

# PayPal sends a webhook again for three days, maybe with the time of the first try. What is older is refused, and what
# is not is deduplicated without a time limit.
AGE_SECONDS_MAX = 3 * 86_400 + 3_600
AHEAD_SECONDS_MAX = 300
# An RSA signature of 4096 bits, in base64.
SIGNATURE_LENGTH_MAX = 1_024

_WEBHOOK_ID = re.compile(r"[A-Za-z0-9_-]{8,64}", re.ASCII)
_TRANSMISSION_ID = re.compile(r"[A-Za-z0-9_-]{1,100}", re.ASCII)
_EVENT_ID = re.compile(r"[!-+\--~]{1,255}", re.ASCII)


class PayPalSigned(SchemeSigned):
    """The half of the adapter that verifies webhooks. The webhook's secret is its id at PayPal."""

    def __init__(self, fetch: Fetch, private_hosts: frozenset[str]) -> None:
        self._certificates, self._allowed_hosts = Certificates(fetch), private_hosts

    def signature_headers(self, configured: Scheme) -> tuple[str, ...]:
        """Return the headers that belong to the signature, in lower case."""
        return HEADERS

    def read_key(self, configured: Scheme, secret: str) -> Key:
        """Return the key of a stored webhook secret. Raise ValueError for one that cannot verify webhooks."""
        self.check_secret(configured, secret)
        return secret.encode("ascii")

    def check_secret(self, configured: Scheme, secret: str) -> None:
        """Raise ValueError unless `secret` may be the id of a webhook at PayPal."""
        if not _WEBHOOK_ID.fullmatch(secret):
            raise ValueError("the secret is the id of the webhook, as PayPal's dashboard shows it")

    def verify(self, configured: Scheme, keys: Sequence[Key], received: Received, now_seconds: float) -> str:
        """Return the event's id once the signature over the raw bytes holds. Raise WebhookRejected.

        What costs a call, the certificate, comes last.
        """
        given = {name: received.headers.get(name) or "" for name in HEADERS}
        _check_time(given[TRANSMISSION_TIME], now_seconds)
        signature = _read_signature(given[SIGNATURE])
        event_id = received.parsed.get("id") if isinstance(received.parsed, dict) else None
        if given[ALGORITHM] != SHA256_WITH_RSA or not _TRANSMISSION_ID.fullmatch(given[TRANSMISSION_ID]):
            raise rejected("headers")
        if not isinstance(event_id, str) or not _EVENT_ID.fullmatch(event_id):
            raise rejected("id")
        url = read_certificate_url(given[CERTIFICATE_URL], self._allowed_hosts)
        certificate = self._certificates.find(url, tuple(keys))
        for key in keys:
            webhook_id = key.decode("ascii") if isinstance(key, bytes) else ""
            checksum = zlib.crc32(received.body)
            signed = f"{given[TRANSMISSION_ID]}|{given[TRANSMISSION_TIME]}|{webhook_id}|{checksum}".encode()
            try:
                certificate.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
            except InvalidSignature:
                continue
            return event_id
        raise rejected("signature")


def _read_signature(text: str) -> bytes:
    try:
        return base64.b64decode(text if len(text) <= SIGNATURE_LENGTH_MAX else "", validate=True)
    except (binascii.Error, ValueError):
        raise rejected("signature") from None


def _check_time(text: str, now_seconds: float) -> None:
    try:
        moment = datetime.datetime.fromisoformat(text if len(text) <= 40 and "T" in text else "")
    except ValueError:
        raise rejected("timestamp") from None
    if moment.tzinfo is None or not -AHEAD_SECONDS_MAX <= now_seconds - moment.timestamp() <= AGE_SECONDS_MAX:
        raise rejected("timestamp")
