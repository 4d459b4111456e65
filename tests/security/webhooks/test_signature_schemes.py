"""Each way of signing, against the packages of those who defined it, and against what an attacker would send."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence

import pytest
import stripe
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import WebhookRejected
from app.core.signatures import (
    HMAC_HEX,
    HMAC_SHA512_HEX,
    PUBLIC_KEY_PREFIX,
    SIGNATURE_ENTRIES_MAX,
    STANDARD,
    STRIPE,
    Key,
    Scheme,
    check_secret,
    encode_secret,
    sign_standard,
    verify,
)
from app.providers.ed25519 import read_key

NOW = 1_700_000_000
BODY = b'{"id": "evt_1", "amount": "25.00"}'
SECRET = "whsec_test_0123456789abcdefghij"
STRIPE_KEYS = (read_key(STRIPE, SECRET),)
HEX_KEYS = (read_key(HMAC_HEX, SECRET),)
HEX_GOOD = hmac.new(SECRET.encode(), BODY, hashlib.sha256).hexdigest()


def stripe_v1(seconds: int, body: bytes = BODY, secret: str = SECRET) -> str:
    return stripe.WebhookSignature._compute_signature(f"{seconds}.{body.decode()}", secret)


def reason_of(
    scheme: Scheme, keys: Sequence[Key], headers: dict[str, str], body: bytes = BODY, now: float = NOW
) -> str | None:
    """Return why a delivery was refused, None where it was taken."""
    try:
        verify(scheme, keys, headers, body, json.loads(body), now)
    except WebhookRejected as rejection:
        return rejection.reason if rejection.status == 400 else "not a 400"
    return None


def stripe_reason(header: str, now: float = NOW, body: bytes = BODY) -> str | None:
    return reason_of(Scheme(STRIPE), STRIPE_KEYS, {"stripe-signature": header}, body, now)


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=4), st.integers(0, 10**11))
def test_what_the_stripe_package_signs_is_taken(value: dict[str, str], seconds: int) -> None:
    body = json.dumps({**value, "id": "evt_7"}).encode()
    header = f"t={seconds},v1={stripe_v1(seconds, body)}"
    found = verify(Scheme(STRIPE), STRIPE_KEYS, {"stripe-signature": header}, body, json.loads(body), seconds)
    assert found == "evt_7"


def test_what_the_stripe_package_verifies_is_what_sluice_takes() -> None:
    header = f"t={NOW},v1={stripe_v1(NOW)},v0=00"
    assert stripe.WebhookSignature.verify_header(BODY.decode(), header, SECRET, tolerance=None)
    assert stripe_reason(header) is None


@pytest.mark.parametrize("shift", [-301, 301, 10**8])
def test_stripe_times_hold_both_ways(shift: int) -> None:
    header = f"t={NOW + shift},v1={stripe_v1(NOW + shift)}"
    assert stripe_reason(header) == "timestamp"
    assert stripe_reason(header, NOW + shift) is None


GOOD_V1 = stripe_v1(NOW)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "t=,v1=",
        f"v1={GOOD_V1}",
        f"t={NOW}",
        f"t={NOW},v0={GOOD_V1}",
        f"t={NOW},v1={GOOD_V1[:-1]}",
        f"t={NOW},v1={GOOD_V1}0",
        f"t={NOW},v1={GOOD_V1[:-2]}é",
        f"t={NOW} ,v1={GOOD_V1}x",
        f"t={NOW},t={NOW},v1={GOOD_V1}",
        f"t={NOW},v1={GOOD_V1},t={NOW},v1={GOOD_V1}",
        f"t=+{NOW},v1={GOOD_V1}",
        f"t={NOW}.0,v1={GOOD_V1}",
        f"t={'9' * 400},v1={GOOD_V1}",
        f"t=١٧,v1={GOOD_V1}",
        f"t={NOW},v1={GOOD_V1}," + ",".join(["v0=x"] * (SIGNATURE_ENTRIES_MAX - 1)),
        f"t={NOW},v1={GOOD_V1},v0={'x' * 4096}",
    ],
)
def test_other_stripe_headers_are_refused(header: str) -> None:
    assert stripe_reason(header) in ("signature", "timestamp")


def test_a_stripe_signature_is_over_the_raw_bytes() -> None:
    assert stripe_reason(f"t={NOW},v1={GOOD_V1}", body=BODY.replace(b": ", b":")) == "signature"
    assert stripe_reason(f"t={NOW + 1},v1={GOOD_V1}") == "signature"


def test_hex_is_the_same_in_any_letter_case() -> None:
    for digest in (GOOD_V1.upper(), GOOD_V1.title()):
        assert stripe_reason(f"t={NOW},v1={digest}") is None
    for header in (HEX_GOOD.upper(), f"sha256={HEX_GOOD.upper()}", f"SHA256={HEX_GOOD}", f"Sha256={HEX_GOOD.title()}"):
        assert reason_of(Scheme(HMAC_HEX), HEX_KEYS, {"x-hub-signature-256": header}) is None
    wrong = HEX_GOOD.upper().replace("A", "B", 1)
    assert reason_of(Scheme(HMAC_HEX), HEX_KEYS, {"x-hub-signature-256": wrong}) == "signature"


def test_a_plain_hmac_is_by_the_hash_of_its_scheme() -> None:
    scheme, digest = Scheme(HMAC_SHA512_HEX), hmac.new(SECRET.encode(), BODY, hashlib.sha512).hexdigest()
    for signature in (digest, digest.upper(), f"sha512={digest}"):
        assert reason_of(scheme, HEX_KEYS, {"x-hub-signature-256": signature}) is None
    for signature in (HEX_GOOD, digest[:64], f"sha256={digest}", HEX_GOOD * 2):
        assert reason_of(scheme, HEX_KEYS, {"x-hub-signature-256": signature}) == "signature"
    assert reason_of(Scheme(HMAC_HEX), HEX_KEYS, {"x-hub-signature-256": digest}) == "signature"


@pytest.mark.parametrize("prefix", ["", "sha256="])
def test_a_plain_hmac_is_taken(prefix: str) -> None:
    assert reason_of(Scheme(HMAC_HEX), HEX_KEYS, {"x-hub-signature-256": prefix + HEX_GOOD}) is None
    named = Scheme(HMAC_HEX, header="X-Pay-Signature")
    assert reason_of(named, HEX_KEYS, {"x-pay-signature": prefix + HEX_GOOD}) is None
    assert reason_of(named, HEX_KEYS, {"x-hub-signature-256": prefix + HEX_GOOD}) == "signature"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "sha256=",
        f"sha1={HEX_GOOD}",
        f"sha256=sha256={HEX_GOOD}",
        f"sha256={HEX_GOOD[:32]}",
        f"{HEX_GOOD}\n",
        f" {HEX_GOOD}",
        f"{HEX_GOOD},{HEX_GOOD}",
        f"{HEX_GOOD[:-1]}g",
        f"{HEX_GOOD[:-1]}é",
        f"0x{HEX_GOOD}",
    ],
)
def test_other_plain_hmacs_are_refused(header: str) -> None:
    assert reason_of(Scheme(HMAC_HEX), HEX_KEYS, {"x-hub-signature-256": header}) == "signature"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"event": "e-1"}', "e-1"),
        (b'{"event": 77}', "77"),
        (b'{"event": true}', None),
        (b'{"event": ""}', None),
        (b'{"event": "a b"}', None),
        (b'{"event": ["e"]}', None),
        (b"{}", None),
        (b"[]", None),
    ],
)
def test_the_id_is_the_named_field_or_the_hash_of_the_bytes(body: bytes, expected: str | None) -> None:
    headers = {"x-hub-signature-256": hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()}
    found = verify(Scheme(HMAC_HEX, id_field="event"), HEX_KEYS, headers, body, json.loads(body), NOW)
    assert found == (expected or "sha256:" + hashlib.sha256(body).hexdigest())


class KeyPair:
    """A sender's ed25519 pair; it signs as Standard Webhooks says for `v1a`."""

    def __init__(self) -> None:
        self.private = Ed25519PrivateKey.generate()
        raw = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.public = PUBLIC_KEY_PREFIX + base64.b64encode(raw).decode()

    def entry(self, body: bytes = BODY) -> str:
        return "v1a," + base64.b64encode(self.private.sign(f"msg_1.{NOW}.".encode() + body)).decode()


def standard_reason(keys: Sequence[Key], signature: str) -> str | None:
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(NOW), "webhook-signature": signature}
    return reason_of(Scheme(STANDARD), keys, headers)


def test_a_key_pairs_signature_is_taken_and_only_its_own() -> None:
    pair, other = KeyPair(), KeyPair()
    keys = (read_key(STANDARD, pair.public),)
    assert standard_reason(keys, pair.entry()) is None
    assert standard_reason(keys, f"v1,{'A' * 43}= {other.entry()} {pair.entry()}") is None
    assert standard_reason(keys, other.entry()) == "signature"
    assert standard_reason(keys, pair.entry(BODY + b" ")) == "signature"
    assert standard_reason(keys, pair.entry().replace("v1a", "v1")) == "signature"


def test_the_configured_key_says_the_algorithm_not_the_message() -> None:
    pair, secret = KeyPair(), bytes(range(32))
    public = base64.b64decode(pair.public.removeprefix(PUBLIC_KEY_PREFIX))
    # The public key must not be usable as an HMAC secret.
    forged = sign_standard(public, "msg_1", str(NOW), BODY)
    assert standard_reason((read_key(STANDARD, pair.public),), forged) == "signature"
    good = sign_standard(secret, "msg_1", str(NOW), BODY)
    assert standard_reason((secret,), good.replace("v1,", "v1a,")) == "signature"
    assert standard_reason((secret, read_key(STANDARD, pair.public)), good) is None


def test_two_standard_headers_in_one_are_refused() -> None:
    secret = bytes(range(32))
    good = sign_standard(secret, "msg_1", str(NOW), BODY)
    assert standard_reason((secret,), good) is None
    for doubled in (f"{good},{good}", f"{good},", f",{good}", f"{good}, {good}", f"{good} v2,x,v2,y"):
        assert standard_reason((secret,), doubled) == "signature"


@pytest.mark.parametrize(
    ("scheme", "secret"),
    [
        (STANDARD, "whpk_" + base64.b64encode(bytes(31)).decode()),
        (STANDARD, "whpk_" + base64.b64encode(bytes(32)).decode().rstrip("=")),
        (STANDARD, "whsk_" + base64.b64encode(bytes(64)).decode()),
        (STANDARD, "short"),
        (STRIPE, "whsec_short"),
        (STRIPE, "whsk_" + base64.b64encode(bytes(64)).decode()),
        (HMAC_HEX, "x" * 23),
        (HMAC_HEX, "é" * 24),
    ],
)
def test_weak_and_foreign_secrets_are_not_stored(scheme: str, secret: str) -> None:
    with pytest.raises(ValueError, match="webhook"):
        check_secret(scheme, secret)


@given(
    st.sampled_from([STANDARD, STRIPE, HMAC_HEX, HMAC_SHA512_HEX]),
    st.text(max_size=300),
    st.text(max_size=300),
    st.text(max_size=20),
    st.binary(max_size=64),
)
def test_nothing_but_a_refusal_comes_of_anything(
    name: str, signature: str, webhook_id: str, stamp: str, body: bytes
) -> None:
    scheme = Scheme(name)
    headers = dict.fromkeys(scheme.headers, signature) | {"webhook-id": webhook_id, "webhook-timestamp": stamp}
    headers["webhook-signature"] = signature
    with pytest.raises(WebhookRejected):
        verify(scheme, (bytes(range(32)),), headers, body, None, NOW)


def test_all_refusals_read_the_same() -> None:
    texts = set()
    for header in ("", f"t={NOW},v1={'0' * 64}", f"t=1,v1={GOOD_V1}", f"t={NOW},t=1"):
        with pytest.raises(WebhookRejected) as caught:
            verify(Scheme(STRIPE), STRIPE_KEYS, {"stripe-signature": header}, BODY, None, NOW)
        texts.add(str(caught.value))
    assert len(texts) == 1


def test_an_encoded_secret_is_stored_as_it_stands() -> None:
    assert read_key(STRIPE, encode_secret(bytes(32))) == encode_secret(bytes(32)).encode()
