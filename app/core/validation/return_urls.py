"""The URL to which the provider sends the payer back: the client's, with the payment's id."""

from __future__ import annotations

import re
import uuid
from urllib.parse import urlsplit, urlunsplit

_HAS_ID = re.compile(r"(?:^|&)payment_id=", re.ASCII)


def with_payment_id(url: str | None, payment_id: uuid.UUID) -> str | None:
    """Return `url` with `payment_id` added to its query, unless the client has put one there itself.

    The client's URL stays byte for byte; it may be signed.
    """
    if url is None:
        return None
    parts = urlsplit(url)
    if _HAS_ID.search(parts.query):
        return url
    added = f"payment_id={payment_id}"
    return urlunsplit(parts._replace(query=f"{parts.query}&{added}" if parts.query else added))
