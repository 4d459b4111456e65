"""The sandbox's pure parts: amounts, times, signatures, settings."""

from __future__ import annotations

import base64
import secrets
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from sandbox.settings import SandboxSettings
from sandbox.values import amounts, signing, timestamps
from sandbox.values.refusal import Refusal


@given(minor=st.integers(1, amounts.MAX_MINOR), currency=st.sampled_from(["USD", "JPY", "KWD", "CLF", "EUR"]))
def test_an_amount_survives_rendering(minor: int, currency: str) -> None:
    text = amounts.render(minor, currency)
    assert amounts.parse(text, currency) == minor
    assert len(text.partition(".")[2]) == amounts.digits(currency)


@given(st.text(max_size=20) | st.from_regex(r"[0-9]{1,18}\.?[0-9]{0,5}", fullmatch=True))
def test_any_text_is_an_amount_or_refused(text: str) -> None:
    try:
        minor = amounts.parse(text, "USD")
    except Refusal:
        return
    assert 0 < minor <= amounts.MAX_MINOR
    assert text.isascii()


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "", "01.00", "1.", ".5", "1,5", " 1", "1 ", "+1", "1e1", "NaN"])
def test_what_is_no_amount(value: object) -> None:
    with pytest.raises(Refusal):
        amounts.parse(value, "USD")


def test_amounts_for_people_are_grouped() -> None:
    assert amounts.render_grouped(123456789, "USD") == "1,234,567.89"
    assert amounts.render_grouped(5, "USD") == "0.05"
    assert amounts.render_grouped(1000, "JPY") == "1,000"


@given(st.lists(st.datetimes(timezones=st.just(UTC), min_value=datetime(1000, 1, 1)), min_size=2, max_size=2))  # noqa: DTZ001
def test_stored_moments_sort_like_the_moments_they_are(pair: list[datetime]) -> None:
    first, second = pair
    assert (timestamps.render(first) < timestamps.render(second)) == (first < second)
    assert timestamps.parse(timestamps.render(first), "at") == timestamps.render(first)


@given(body=st.binary(max_size=200), webhook_id=st.text("abc_123", min_size=1, max_size=40))
def test_a_signature_is_what_the_reference_library_makes(body: bytes, webhook_id: str) -> None:
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    timestamp = 1_700_000_000
    text = base64.b64encode(body).decode()
    wanted = Webhook(secret).sign(webhook_id, datetime.fromtimestamp(timestamp, UTC), text)
    assert signing.sign(signing.secret_bytes(secret), webhook_id, timestamp, text.encode()) == wanted


@pytest.mark.parametrize(
    "secret", [None, "", "whsec_", "whsec_%%%%", "whsec_" + "QUJD", "QUJDREVGR0hJSktMTU5PUFFSU1RVVldY"]
)
def test_a_weak_or_malformed_secret_is_refused(secret: object) -> None:
    with pytest.raises(Refusal):
        signing.secret_bytes(secret)


def test_settings_have_defaults_and_refuse_nonsense() -> None:
    settings = SandboxSettings.from_environment({})
    assert settings.public_url == "http://127.0.0.1:8001"
    assert settings.retry_seconds == (5.0, 30.0, 120.0, 600.0, 3600.0)
    assert settings.directory.parts[-2:] == (".sluice", "sandbox")
    assert settings.control_key is None
    everywhere = SandboxSettings.from_environment({"SLUICE_BIND": "0.0.0.0", "SLUICE_SANDBOX_PORT": "9000"})
    assert everywhere.public_url == "http://127.0.0.1:9000"
    assert SandboxSettings.from_environment({"SLUICE_BIND": "::1"}).public_url == "http://[::1]:8001"
    named = SandboxSettings.from_environment({"SLUICE_SANDBOX_PUBLIC_URL": "https://pay.example/"})
    assert named.public_url == "https://pay.example"
    for name, value in (
        ("SLUICE_SANDBOX_PORT", "0"),
        ("SLUICE_SANDBOX_PORT", "x"),
        ("SANDBOX_RETRY_SECONDS", "5,x"),
        ("SANDBOX_RETRY_SECONDS", "-1"),
        ("SANDBOX_RETRY_SECONDS", "inf"),
    ):
        with pytest.raises(ValueError, match=name):
            SandboxSettings.from_environment({name: value})
