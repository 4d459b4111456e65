"""Tokens of URLs for unsigned notifications, and their place in bytes that are stored."""

from __future__ import annotations

import json
import urllib.parse
import uuid

from app.core.redaction import redact
from app.providers import poke_urls

ID = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057")


def test_a_token_cannot_be_guessed_and_is_told_by_its_hash() -> None:
    tokens = {poke_urls.new_token() for _ in range(100)}
    assert len(tokens) == 100
    token = min(tokens)
    assert len(token) >= len("whut_") + 128 // 6
    hashes = [poke_urls.hash_token(other) for other in tokens]
    assert poke_urls.fits(token, hashes)
    assert poke_urls.fits(token, hashes[::-1])
    for wrong in (token[:-1], token + "x", token.swapcase(), "", "x" * 10_000, "\udcff"):
        assert not poke_urls.fits(wrong, hashes)
    assert not poke_urls.fits(token, [])


def test_logs_mask_the_token_wherever_it_stands() -> None:
    token = poke_urls.new_token()
    for text in (token, f"POST /webhooks/{ID}/{token} HTTP/1.1", f'{{"webhookUrl":"https://a.example/{token}"}}'):
        assert token[5:] not in redact(text)


def test_a_placeholder_survives_json_and_forms_and_is_filled_in() -> None:
    url = "https://sluice.example/webhooks/" + poke_urls.write_path(ID, poke_urls.write_placeholder(ID))
    bodies = {json.dumps({"webhookUrl": url}).encode(), urllib.parse.urlencode({"webhookUrl": url}).encode()}
    for stored in bodies:
        sent = poke_urls.fill_in(stored, {ID: "whut_a-b_c"}.get)
        assert sent.count(b"whut_a-b_c") == 1
        assert poke_urls.write_placeholder(ID).encode() not in sent
        # That of a token that is not known stays as it is; so does what is no placeholder.
        assert poke_urls.fill_in(stored, {}.get) == stored
    assert poke_urls.fill_in(b"poke-token-xyz poke-token-", {ID: "x"}.get) == b"poke-token-xyz poke-token-"
