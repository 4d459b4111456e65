"""Return URLs carry the payment's id, and what the client wrote stays as it is."""

from __future__ import annotations

import uuid

import pytest

from app.core.validation.return_urls import with_payment_id

ID = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://shop.example/ok", f"https://shop.example/ok?payment_id={ID}"),
        ("https://shop.example", f"https://shop.example?payment_id={ID}"),
        ("https://shop.example/ok?a=b%20c&x#top", f"https://shop.example/ok?a=b%20c&x&payment_id={ID}#top"),
        ("https://shop.example/ok?my_payment_id=7", f"https://shop.example/ok?my_payment_id=7&payment_id={ID}"),
        ("https://shop.example/ok?payment_id=own", "https://shop.example/ok?payment_id=own"),
        ("https://shop.example/ok?a=1&payment_id=", "https://shop.example/ok?a=1&payment_id="),
        (None, None),
    ],
)
def test_the_id_is_added_once(url: str | None, expected: str | None) -> None:
    assert with_payment_id(url, ID) == expected
