"""Signatures of Adyen's standard notifications: of eight fields of each item, not of the body.

The fields are joined by colons, without escapes. So an item is read by its signed fields alone, and only where none of
them has a colon: the same signed text could else be split in another way.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.core.signatures import SECRET_BYTES_MIN, Key, rejected

# Adyen sends few items in one notification; a body of the largest size that is accepted has no more than this.
ITEMS_MAX = 1_000
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})+", re.ASCII)


@dataclass(frozen=True, slots=True)
class SignedItem:
    """The signed fields of an item; `is_good` is its `success`, `value` in Adyen's units of `currency`."""

    psp_reference: str
    original_reference: str
    merchant_account: str
    merchant_reference: str
    value: Any
    currency: str
    event_code: str
    success: str

    @property
    def joined(self) -> str:
        """What is signed."""
        return ":".join(map(str, self._fields))

    @property
    def has_one_reading(self) -> bool:
        """Whether the signed text can be split in this way only."""
        return all(":" not in str(field) for field in self._fields)

    @property
    def event_id(self) -> str:
        """What names the event for deduplication."""
        return f"{self.event_code}:{self.psp_reference}:{self.success}"

    @property
    def _fields(self) -> tuple[Any, ...]:
        return (
            *(self.psp_reference, self.original_reference, self.merchant_account, self.merchant_reference),
            *(self.value, self.currency, self.event_code, self.success),
        )


def read_key(secret: str) -> bytes:
    """Return the HMAC key of a stored secret, which is hexadecimal. Raise ValueError."""
    if not _HEX.fullmatch(secret) or len(secret) < 2 * SECRET_BYTES_MIN:
        raise ValueError(f"Adyen's HMAC key has at least {2 * SECRET_BYTES_MIN} hexadecimal digits")
    return bytes.fromhex(secret)


def list_items(body: Any) -> list[Mapping[str, Any]]:
    """Return the items of a notification. Raise ValueError where it has none, or something else among them."""
    wrapped = body.get("notificationItems") if isinstance(body, dict) else None
    if not isinstance(wrapped, list) or not 0 < len(wrapped) <= ITEMS_MAX:
        raise ValueError("the notification has no items")
    items = [each.get("NotificationRequestItem") if isinstance(each, dict) else None for each in wrapped]
    if not all(isinstance(item, dict) for item in items):
        raise ValueError("the notification has an item that is none")
    return [item for item in items if item is not None]


def read_item(item: Mapping[str, Any]) -> SignedItem:
    """Return an item's signed fields; one that is missing is empty. Raise ValueError for one that is no text."""
    amount = item.get("amount") or {}
    if not isinstance(amount, dict) or isinstance(amount.get("value"), bool | float | list | dict):
        raise ValueError("the item's amount is none")
    return SignedItem(
        _text(item, "pspReference"),
        _text(item, "originalReference"),
        _text(item, "merchantAccountCode"),
        _text(item, "merchantReference"),
        amount.get("value", ""),
        _text(amount, "currency"),
        _text(item, "eventCode"),
        _text(item, "success"),
    )


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{name} of the item is no text")
    return value


def verify(keys: Sequence[Key], body: Any) -> str:
    """Return an id of what is signed, once every item's signature fits one of `keys`. Raise WebhookRejected."""
    try:
        items = list_items(body)
        signed = [read_item(item).joined.encode() for item in items]
    except ValueError:
        raise rejected("signature") from None
    are_good = [_fits(keys, one, _read_signature(item)) for item, one in zip(items, signed, strict=True)]
    if not all(are_good):
        raise rejected("signature")
    return hashlib.sha256(b"\n".join(signed)).hexdigest()


def _fits(keys: Sequence[Key], signed: bytes, signature: bytes) -> bool:
    is_good = False
    # Each is compared, so that the time taken does not depend on which one fitted.
    for key in keys:
        if isinstance(key, bytes):
            is_good |= hmac.compare_digest(hmac.digest(key, signed, hashlib.sha256), signature)
    return is_good


def _read_signature(item: Mapping[str, Any]) -> bytes:
    more = item.get("additionalData")
    encoded = more.get("hmacSignature") if isinstance(more, dict) else None
    try:
        return base64.b64decode(encoded, validate=True) if isinstance(encoded, str) else b""
    except (binascii.Error, ValueError):
        return b""
