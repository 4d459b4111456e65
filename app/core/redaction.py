"""Mask credentials and card numbers in text that is stored, logged or shown."""

from __future__ import annotations

import re

from app.core.validation.card_numbers import find_cards

# Credentials that may stand in a message or an exception: keys, tokens, webhook secrets, passwords in URLs.
_SECRETS = re.compile(
    r"(sk_|ct_|whsec_|whsk_|whut_|sbk_)[A-Za-z0-9+/=._~-]{6,}|(?<=://)[^\s/@:]*:[^\s/@]+(?=@)|(?i:bearer)\s+[^\s\"']+"
)


def mask_cards(text: str) -> str:
    """Return `text` with payment card numbers masked, all but their last four digits."""
    parts, kept = [], 0
    for start, end, digits in find_cards(text):
        parts += [text[kept:start], f"[card ...{digits[-4:]}]"]
        kept = end
    return "".join([*parts, text[kept:]])


def redact(text: str) -> str:
    """Return `text` with credentials and payment card numbers masked."""
    return mask_cards(_SECRETS.sub("[secret]", text))
