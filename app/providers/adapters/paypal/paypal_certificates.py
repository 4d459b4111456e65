"""The certificates by which PayPal signs webhooks: fetched from its own hosts only, checked, and cached.

They are fetched in the request that brings a webhook. Few exist, each for a year, so the cache answers; a fetch is
bound in time, in number and to URLs of one form, so that nobody makes this process call or wait by what they send.
Strangers can name URLs that no certificate has: their fetches are counted by URL and by the account that the webhook is
for, and apart from those of certificates that were good before, which nobody's flood delays.
"""

from __future__ import annotations

import datetime
import functools
import re
import threading
import time
import urllib.parse
import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import certifi
from cachetools import TTLCache
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from app.core.errors import ProviderCallFailed, WebhookRejected
from app.core.signatures import rejected
from app.providers.calls.addresses import is_listed
from app.providers.calls.outgoing import DEFAULT_PORTS, ProviderAnswer

LIVE_HOST, TEST_HOST = "api.paypal.com", "api.sandbox.paypal.com"
_PATH = re.compile(r"(?:/[a-z]{1,20})?/v1/notifications/certs/CERT-[A-Za-z0-9-]{1,100}", re.ASCII)
_NAME = re.compile(r"[a-z0-9-]{1,63}(?:\.sandbox)?\.paypal\.com", re.ASCII)
_MAX_URL_LENGTH = 500

# A key that is withdrawn is used no longer than this.
KEY_SECONDS = 12 * 3_600
KEYS_MAX = 100
# A certificate that was good once is good again when it is fetched anew.
PROVED_SECONDS, PROVED_MAX = 400 * 86_400, 100
# What was wrong once is not asked for again at once, and no more than a few are asked for in a while: the sender of a
# webhook is not known yet, and PayPal tries again for three days.
REFUSED_SECONDS, REFUSED_MAX = 60, 1_000
FETCHES_SECONDS = 60
FETCHES_PER_URL, FETCHES_PER_ACCOUNT, FETCHES_MAX, PROVED_FETCHES_MAX = 2, 6, 30, 12
# While another request fetches, others wait for its answer no longer than this.
WAIT_SECONDS = 2.0
CHAIN_MAX = 6

Fetch = Callable[[str], ProviderAnswer]


class CertificateUnavailable(WebhookRejected):
    """The certificate cannot be had now; the sender has to try again."""

    def __init__(self) -> None:
        super().__init__(
            503,
            "certificate",
            "The webhook cannot be verified now; nothing was stored. Try again.",
            "webhook_unverified",
        )


@dataclass(frozen=True, slots=True)
class CertificateUrl:
    """An address that a certificate may be fetched from; `is_private`: at a host that the environment allows."""

    text: str
    host: str
    is_private: bool


def read_certificate_url(text: str, private_hosts: frozenset[str]) -> CertificateUrl:
    """Return the URL of a certificate. Raise WebhookRejected unless it is at PayPal, or at a private test host."""
    try:
        parts = urllib.parse.urlsplit(text) if len(text) <= _MAX_URL_LENGTH else None
        port = None if parts is None else parts.port
    except ValueError:
        parts = port = None
    if parts is None or parts.query or parts.fragment or "@" in parts.netloc or not _PATH.fullmatch(parts.path):
        raise rejected("certificate_url")
    host = parts.hostname or ""
    if parts.scheme == "https" and parts.netloc in (LIVE_HOST, TEST_HOST) and parts.path.startswith("/v1/"):
        return CertificateUrl(text, host, is_private=False)
    if parts.scheme in DEFAULT_PORTS and is_listed(host, port or DEFAULT_PORTS[parts.scheme], private_hosts):
        return CertificateUrl(text, host, is_private=True)
    raise rejected("certificate_url")


@dataclass(slots=True)
class _FetchBudget:
    """The fetches of the last FETCHES_SECONDS, `most` in all and `per_account` of one; one at a time."""

    most: int
    per_account: int
    fetching: threading.Lock = field(default_factory=threading.Lock)
    _made: deque[tuple[float, str, object]] = field(default_factory=deque)

    def take(self, url: str, account: object, now: float) -> bool:
        """Count a fetch and return True, unless it is one too many."""
        while self._made and self._made[0][0] <= now - FETCHES_SECONDS:
            self._made.popleft()
        of_url = sum(one == url for _, one, _ in self._made)
        of_account = sum(one == account for _, _, one in self._made)
        if len(self._made) >= self.most or of_account >= self.per_account or of_url >= FETCHES_PER_URL:
            return False
        self._made.append((now, url, account))
        return True


class Certificates:
    """The keys of certificates that were fetched and checked, by URL. `clock` counts seconds."""

    def __init__(self, fetch: Fetch, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch, self._clock = fetch, clock
        self._lock = threading.Lock()
        self._proved_budget = _FetchBudget(PROVED_FETCHES_MAX, PROVED_FETCHES_MAX)
        self._others_budget = _FetchBudget(FETCHES_MAX, FETCHES_PER_ACCOUNT)
        self._keys: TTLCache[str, rsa.RSAPublicKey] = TTLCache(KEYS_MAX, KEY_SECONDS, clock)
        self._proved: TTLCache[str, None] = TTLCache(PROVED_MAX, PROVED_SECONDS, clock)
        self._refused: TTLCache[str, None] = TTLCache(REFUSED_MAX, REFUSED_SECONDS, clock)

    def find(self, url: CertificateUrl, account: object) -> rsa.RSAPublicKey:
        """Return the key of a certificate, for a webhook of `account`.

        Raise WebhookRejected for a wrong one, 503 where there is none now.
        """
        found = self._known(url)
        if found is not None:
            return found
        with self._lock:
            budget = self._proved_budget if url.text in self._proved else self._others_budget
        if not budget.fetching.acquire(timeout=WAIT_SECONDS):
            raise CertificateUnavailable
        try:
            if (found := self._known(url)) is None:
                found = self._load(url, account, budget)
        finally:
            budget.fetching.release()
        return found

    def _known(self, url: CertificateUrl) -> rsa.RSAPublicKey | None:
        with self._lock:
            if url.text in self._refused:
                raise rejected("certificate")
            return self._keys.get(url.text)

    def _load(self, url: CertificateUrl, account: object, budget: _FetchBudget) -> rsa.RSAPublicKey:
        if not budget.take(url.text, account, self._clock()):
            raise CertificateUnavailable
        try:
            answer = self._fetch(url.text)
        except ProviderCallFailed as failure:
            raise CertificateUnavailable from failure
        if answer.status >= 500 or answer.status in (408, 425, 429):
            raise CertificateUnavailable
        try:
            key = check_chain(answer.body if answer.status == 200 else b"", url, datetime.datetime.now(datetime.UTC))
        except ValueError:
            with self._lock:
                self._refused[url.text] = None
            raise rejected("certificate") from None
        with self._lock:
            self._keys[url.text], self._proved[url.text] = key, None
        return key


def check_chain(chain: bytes, url: CertificateUrl, now: datetime.datetime) -> rsa.RSAPublicKey:
    """Return the key of the first certificate in `chain` (PEM). Raise ValueError unless it is PayPal's, valid `now`.

    Its name is one of PayPal's, and an authority that the machine trusts vouches for it. A private test host brings its
    own authority, the last in the chain.
    """
    found = x509.load_pem_x509_certificates(chain)
    if not 0 < len(found) <= CHAIN_MAX:
        raise ValueError("there are too many certificates")
    names = found[0].subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    name = str(names[0].value) if len(names) == 1 else ""
    if not _NAME.fullmatch(name):
        raise ValueError("the certificate is not PayPal's")
    if url.is_private and len(found) == 1:
        raise ValueError("the certificate comes without an authority")
    trusted = found[-1:] if url.is_private else _read_authorities()
    verifier = PolicyBuilder().store(Store(trusted)).time(now).build_server_verifier(x509.DNSName(name))
    try:
        verifier.verify(found[0], found[1:])
    except VerificationError as error:
        raise ValueError("no trusted authority vouches for the certificate now") from error
    key = found[0].public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError("the certificate has no RSA key")
    return key


@functools.cache
def _read_authorities() -> list[x509.Certificate]:
    with open(certifi.where(), "rb") as file, warnings.catch_warnings():
        # One of them has a serial number that is not allowed any more.
        warnings.simplefilter("ignore")
        return x509.load_pem_x509_certificates(file.read())
