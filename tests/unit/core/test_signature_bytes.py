"""A signature holds only as a whole: each of its bytes counts, in each scheme, and no shorter one is taken."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.core.errors import WebhookRejected
from app.core.signatures import HMAC_HEX, PUBLIC_KEY_PREFIX, STANDARD, STRIPE, Scheme, encode_secret, verify
from app.providers.ed25519 import read_key

NOW = 1_700_000_000
BODY = b'{"id": "evt_1"}'
HMAC_KEY = bytes(range(32))
TEXT_SECRET = "a-secret-of-more-than-24-characters"
PAIR = Ed25519PrivateKey.from_private_bytes(bytes(32))
PUBLIC = PUBLIC_KEY_PREFIX + base64.b64encode(PAIR.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode(
    "ascii"
)
SIGNED = b"msg_1.%d." % NOW + BODY

# By name: the scheme, the provider's secret, the true signature, and how a header carries one.
Form = tuple[Scheme, str, bytes, Callable[[bytes], dict[str, str]]]


def standard_headers(version: str, signature: bytes) -> dict[str, str]:
    encoded = base64.b64encode(signature).decode("ascii")
    return {"webhook-id": "msg_1", "webhook-timestamp": str(NOW), "webhook-signature": f"{version},{encoded}"}


FORMS: dict[str, Form] = {
    "v1": (
        Scheme(STANDARD),
        encode_secret(HMAC_KEY),
        hmac.digest(HMAC_KEY, SIGNED, hashlib.sha256),
        lambda signature: standard_headers("v1", signature),
    ),
    "v1a": (Scheme(STANDARD), PUBLIC, PAIR.sign(SIGNED), lambda signature: standard_headers("v1a", signature)),
    "stripe": (
        Scheme(STRIPE),
        TEXT_SECRET,
        hmac.digest(TEXT_SECRET.encode(), b"%d." % NOW + BODY, hashlib.sha256),
        lambda signature: {"stripe-signature": f"t={NOW},v1={signature.hex()}"},
    ),
    "hex": (
        Scheme(HMAC_HEX),
        TEXT_SECRET,
        hmac.digest(TEXT_SECRET.encode(), BODY, hashlib.sha256),
        lambda signature: {"x-hub-signature-256": signature.hex()},
    ),
}


def is_taken(form: Form, signature: bytes) -> bool:
    scheme, secret, _, write_headers = form
    try:
        verify(scheme, [read_key(scheme.name, secret)], write_headers(signature), BODY, json.loads(BODY), NOW)
    except WebhookRejected as rejection:
        # Another reason is no answer to the question.
        if rejection.reason != "signature":
            raise
        return False
    return True


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_each_byte_of_a_signature_counts(form: Form) -> None:
    true = form[2]
    assert is_taken(form, true)
    for index in range(len(true)):
        changed = bytearray(true)
        changed[index] ^= 0x01
        assert not is_taken(form, bytes(changed)), f"byte {index} does not count"


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_part_of_a_signature_is_none(form: Form) -> None:
    true = form[2]
    for length in range(len(true)):
        assert not is_taken(form, true[:length]), f"{length} bytes were enough"
        assert not is_taken(form, true[:length] + bytes(len(true) - length)), f"{length} bytes were enough"
    assert not is_taken(form, true + b"\0")
    assert not is_taken(form, true + true)
