"""Takes credentials and card numbers out of text that is kept, logged or shown."""

from __future__ import annotations

import re

# Credentials that may stand in a message or an exception: keys, tokens, webhook secrets, passwords in URLs.
_SECRETS = re.compile(
    r"(sk_|ct_|whsec_|whsk_|sbk_)[A-Za-z0-9+/=._~-]{6,}|(?<=://)[^\s/@:]*:[^\s/@]+(?=@)|(?i:bearer)\s+[^\s\"']+"
)
# Thirteen to nineteen digits, blanks or hyphens between them, that begin as the card networks' numbers do. A word or a
# hyphen in front makes it somebody's reference: `order-4242...` stays.
_CARD = re.compile(r"(?<![0-9A-Za-z-])[2-6](?:[ -]?\d){11,17}[ -]?\d(?![0-9A-Za-z-])")


def _passes_luhn(digits: str) -> bool:
    total = 0
    for place, character in enumerate(reversed(digits)):
        digit = int(character)
        if place % 2:
            digit = digit * 2 - 9 if digit > 4 else digit * 2
        total += digit
    return total % 10 == 0


def mask_cards(text: str) -> str:
    """Returns `text` with card-like numbers (Luhn) masked, all but their last four digits."""

    def mask(match: re.Match[str]) -> str:
        digits = re.sub(r"[ -]", "", match.group())
        return f"[card ...{digits[-4:]}]" if _passes_luhn(digits) else match.group()

    return _CARD.sub(mask, text)


def redact(text: str) -> str:
    """Returns `text` with credentials and card-like numbers masked."""
    return mask_cards(_SECRETS.sub("[secret]", text))
