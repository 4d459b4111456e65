"""Named credentials: what an adapter declares, what it is given, and how it is stored."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.providers.adapters.stripe import StripeAdapter
from app.providers.credentials import (
    LENGTH_MAX,
    Credential,
    CredentialError,
    check_credentials,
    decode_credentials,
    encode_credentials,
)

DECLARED = (
    Credential("client_id", "page Apps", is_secret=False),
    Credential("client_secret", "page Apps", pattern=re.compile(r"EK[a-z]+", re.ASCII), form="begins with EK"),
    Credential("merchant_account", "page Accounts", is_secret=False, is_required=False),
)
GOOD = {"client_id": "AbC", "client_secret": "EKabc"}


def test_what_is_declared_is_accepted() -> None:
    check_credentials(DECLARED, GOOD)
    check_credentials(DECLARED, GOOD | {"merchant_account": "Shop_EU"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"client_secret": None}, "client_secret is missing: page Apps"),
        ({"client_secret": "hunter2"}, "client_secret is not what it should be: it begins with EK"),
        ({"client_secret": "EKabc\r\nX: y"}, "client_secret is not what it should be"),
        ({"client_id": ""}, "client_id is empty"),
        ({"client_id": "two words"}, "client_id is not what it should be"),
        ({"client_id": "a" * (LENGTH_MAX + 1)}, "client_id is not what it should be"),
        ({"merchant_account": "\u00fc"}, "merchant_account is not what it should be"),
        ({"password": "hunter2"}, "this adapter has client_id, client_secret, merchant_account"),
    ],
)
def test_what_cannot_be_is_named_without_its_value(changes: dict[str, str | None], message: str) -> None:
    values = {name: value for name, value in (GOOD | changes).items() if value is not None}
    with pytest.raises(CredentialError, match=re.escape(message)) as refused:
        check_credentials(DECLARED, values)
    assert not [value for value in changes.values() if value and value in str(refused.value)]


@pytest.mark.parametrize("name", ["", "API_KEY", "api-key", "1st", "a" * 41])
def test_a_name_is_one_that_a_variable_can_have(name: str) -> None:
    with pytest.raises(ValueError, match="no name of a credential"):
        Credential(name, "nowhere")


@given(st.dictionaries(st.from_regex(r"[a-z][a-z_]{0,9}", fullmatch=True), st.text(st.characters(codec="utf-8"))))
def test_what_is_stored_is_read_again(credentials: dict[str, str]) -> None:
    assert decode_credentials(encode_credentials(credentials)) == credentials


@pytest.mark.parametrize("key", ["sbk_abc", "12345", "null", '"quoted"', "[1]", "{", '{"a": 1}'])
def test_a_key_that_was_stored_without_a_name_is_the_api_key(key: str) -> None:
    assert decode_credentials(key) == {"api_key": key}


def test_what_is_stored_is_one_json_object() -> None:
    assert json.loads(encode_credentials(GOOD)) == GOOD


@pytest.mark.parametrize("key", ["sk_test_4eC39H", "sk_live_4eC39H", "rk_test_4eC39H", "rk_live_4eC39H"])
def test_stripes_keys_are_known_by_their_beginning(key: str) -> None:
    check_credentials(StripeAdapter.credentials, {"api_key": key})


@pytest.mark.parametrize("key", ["pk_test_4eC39H", "whsec_4eC39H", "sk_test_", "sk_test_a b", "4eC39H"])
def test_what_is_no_key_of_stripes_is_refused(key: str) -> None:
    with pytest.raises(CredentialError, match="begins with sk_test_, sk_live_"):
        check_credentials(StripeAdapter.credentials, {"api_key": key})
