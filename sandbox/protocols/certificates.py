"""An authority of this process's own, and a certificate of it that signs webhooks."""

from __future__ import annotations

import datetime
import functools
import threading
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# The least that receivers accept today.
_BITS = 2048
_LIFE = datetime.timedelta(days=365)
_ID_CHARACTERS = 32


@dataclass(frozen=True, slots=True)
class Signer:
    """A key whose certificate names it; `chain` has the certificate and its authority's in PEM."""

    certificate_id: str
    chain: bytes
    key: rsa.RSAPrivateKey

    def sign(self, text: bytes) -> bytes:
        """Return the signature by RSA (PKCS #1 v1.5) with SHA-256."""
        return self.key.sign(text, padding.PKCS1v15(), hashes.SHA256())


# Of threads that need the first one at once, one makes it.
_making = threading.Lock()


def signer_of(name: str) -> Signer:
    """Return the signer of this process whose certificate names `name`."""
    with _making:
        return _make(name)


@functools.cache
def _make(name: str) -> Signer:
    authority_key, key = (rsa.generate_private_key(65_537, _BITS) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Sandbox authority")])
    authority = _build(issuer, issuer, authority_key, authority_key, is_authority=True)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    own = _build(subject, issuer, key, authority_key, is_authority=False)
    chain = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in (own, authority))
    return Signer(own.fingerprint(hashes.SHA256()).hex()[:_ID_CHARACTERS], chain, key)


def _build(
    subject: x509.Name,
    issuer: x509.Name,
    key: rsa.RSAPrivateKey,
    issuer_key: rsa.RSAPrivateKey,
    *,
    is_authority: bool,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + _LIFE)
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if is_authority:
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, critical=True)
    else:
        name = str(subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())
