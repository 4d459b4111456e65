"""Webhook signatures, against the reference implementation of Standard Webhooks."""

from __future__ import annotations

import base64
import datetime
import json
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from app.core.errors import WebhookRejected
from app.core.signatures import (
    SIGNATURE_ENTRIES_MAX,
    check_timestamp,
    check_webhook_id,
    decode_secret,
    encode_secret,
    sign_standard,
    verify_standard,
)

KEY = bytes(range(32))
SECRET = encode_secret(KEY)
BODY = b'{"amount": "25.00"}'
NOW = "1700000000"
GOOD = sign_standard(KEY, "msg_1", NOW, BODY)


def accepts(signature: str, keys: tuple[bytes, ...] = (KEY,), body: bytes = BODY, webhook_id: str = "msg_1") -> bool:
    try:
        verify_standard(keys, webhook_id, NOW, signature, body)
    except WebhookRejected as rejection:
        # Anything else than "no signature matches" is no answer to the question.
        if (rejection.status, rejection.reason) != (400, "signature"):
            raise
        return False
    return True


@given(
    st.binary(min_size=24, max_size=64),
    st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=4),
    st.integers(0, 10**10),
)
def test_what_the_reference_signs_is_verified(key: bytes, value: dict[str, str], seconds: int) -> None:
    body = json.dumps(value)
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    theirs = Webhook(encode_secret(key)).sign("msg_x", moment, body)
    verify_standard((decode_secret(encode_secret(key)),), "msg_x", str(seconds), theirs, body.encode())
    assert sign_standard(key, "msg_x", str(seconds), body.encode()) == theirs


def test_what_sluice_signs_the_reference_verifies() -> None:
    stamp = str(int(datetime.datetime.now(datetime.UTC).timestamp()))
    signature = sign_standard(KEY, "msg_1", stamp, BODY)
    headers = {"webhook-id": "msg_1", "webhook-timestamp": stamp, "webhook-signature": signature}
    assert Webhook(SECRET).verify(BODY, headers) == json.loads(BODY)


def test_one_good_entry_among_others_is_enough() -> None:
    assert accepts(f"v1a,{'A' * 44} v2,xyz v1,{base64.b64encode(bytes(32)).decode()} {GOOD}")


def test_any_of_several_keys_may_fit() -> None:
    other = secrets.token_bytes(32)
    assert accepts(GOOD, (other, KEY))
    assert accepts(sign_standard(other, "msg_1", NOW, BODY), (other, KEY))
    assert not accepts(GOOD, (other,))
    assert not accepts(GOOD, ())


DIGEST = GOOD.removeprefix("v1,")


@pytest.mark.parametrize(
    "signature",
    [
        "",
        " ",
        "v1",
        "v1,",
        DIGEST,
        f"V1,{DIGEST}",
        f"v2,{DIGEST}",
        f"v1, {DIGEST}",
        f"v1,{DIGEST},",
        f"v1,{DIGEST}\n",
        f"v1,{DIGEST.rstrip('=')}",
        f"v1,{DIGEST}=",
        f"v1,{DIGEST[:-2]}{'B' if DIGEST[-2] != 'B' else 'C'}=",
        f"v1,{DIGEST.replace('+', '-').replace('/', '_')}!",
        f"v1,{base64.b64decode(DIGEST).hex()}",
        f"v1,{DIGEST}é",
        f"\tv1,{DIGEST}",
    ],
)
def test_malformed_signatures_are_refused(signature: str) -> None:
    assert not accepts(signature)


def test_another_spelling_of_the_same_digest_is_refused() -> None:
    # The last character before the padding carries two bits that decode to nothing.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    body, last = DIGEST[:-2], DIGEST[-2]
    twin = body + alphabet[alphabet.index(last) ^ 1] + "="
    assert base64.b64decode(twin) == base64.b64decode(DIGEST)
    assert not accepts(f"v1,{twin}")


def test_entries_and_bytes_are_bounded() -> None:
    filler = [f"v2,{index}" for index in range(SIGNATURE_ENTRIES_MAX - 1)]
    assert accepts(" ".join([*filler, GOOD]))
    assert not accepts(" ".join([*filler, "v2,x", GOOD]))
    assert not accepts(f"{GOOD} v2,{'x' * 4096}")


@given(st.integers(0, len(BODY) - 1), st.integers(1, 255))
def test_a_changed_byte_is_noticed(place: int, change: int) -> None:
    changed = bytearray(BODY)
    changed[place] ^= change
    assert not accepts(GOOD, body=bytes(changed))


def test_id_and_time_are_signed_too() -> None:
    assert not accepts(GOOD, webhook_id="msg_2")
    with pytest.raises(WebhookRejected):
        verify_standard((KEY,), "msg_1", "1700000001", GOOD, BODY)


@pytest.mark.parametrize("webhook_id", ["a", "msg_1", "x" * 255, "!#~", "a.b"])
def test_good_ids(webhook_id: str) -> None:
    check_webhook_id(webhook_id)


@pytest.mark.parametrize("webhook_id", ["", "a b", "a,b", "x" * 256, "é", "a\n", "a\x00", "\x7f", " a"])
def test_bad_ids(webhook_id: str) -> None:
    with pytest.raises(WebhookRejected) as caught:
        check_webhook_id(webhook_id)
    assert (caught.value.status, caught.value.reason) == (400, "webhook_id")


@pytest.mark.parametrize("shift", [-300, 0, 300])
def test_times_within_five_minutes_are_taken(shift: int) -> None:
    check_timestamp(str(1_700_000_000 + shift), 1_700_000_000.0)


@pytest.mark.parametrize(
    "timestamp",
    [
        "1699999699",
        "1700000301",
        "",
        "0",
        "-1700000000",
        "1700000000.0",
        " 1700000000",
        "1700000000\n",
        "1e9",
        "0x65",
        "١٧٠٠٠٠٠٠٠٠",
        "1700000000000",
        "9" * 5000,
    ],
)
def test_other_times_are_refused(timestamp: str) -> None:
    with pytest.raises(WebhookRejected) as caught:
        check_timestamp(timestamp, 1_700_000_000.0)
    assert (caught.value.status, caught.value.reason) == (400, "timestamp")


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        SECRET.removeprefix("whsec_"),
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        SECRET + "!",
        SECRET.rstrip("="),
        "whsec_" + base64.urlsafe_b64encode(b"\xff" * 32).decode(),
        SECRET + "\n",
        "WHSEC_" + SECRET,
    ],
)
def test_weak_or_misspelled_secrets_are_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="webhook secret"):
        decode_secret(secret)


@pytest.mark.parametrize(
    "webhook_id",
    ["msg.abc.def", "order.created.7", "evt_1.v2", "a.b.", ".a", "msg.2024x.y", "1700000000.x", "evt.20261127"],
)
def test_ordinary_ids_with_dots_are_good(webhook_id: str) -> None:
    check_webhook_id(webhook_id)


@pytest.mark.parametrize(
    "webhook_id", ["msg.1700000000.x", "a.1.b", "msg..1.", "x.1700000000", "x.170000000000", "a.b.9.c"]
)
def test_an_id_with_a_time_of_its_own_in_it_is_refused(webhook_id: str) -> None:
    with pytest.raises(WebhookRejected) as rejected:
        check_webhook_id(webhook_id)
    assert (rejected.value.status, rejected.value.reason) == (400, "webhook_id")


@given(st.text("ab.19", min_size=1, max_size=12), st.integers(10**9, 10**10 - 1), st.text("ab.19{}", max_size=12))
def test_signed_bytes_have_one_reading(webhook_id: str, seconds: int, body: str) -> None:
    """Whichever two readings of the same bytes there are, one at most is taken."""
    signed = f"{webhook_id}.{seconds}.{body}"
    readings = []
    pieces = signed.split(".")
    for index in range(1, len(pieces) - 1):
        one = (".".join(pieces[:index]), pieces[index], ".".join(pieces[index + 1 :]))
        if not one[1].isdigit() or not 9 <= len(one[1]) <= 12:
            continue
        try:
            check_webhook_id(one[0])
        except WebhookRejected:
            continue
        readings.append(one)
    # An earlier time in the bytes makes every longer id one that has a time in it.
    assert len(readings) <= 1
