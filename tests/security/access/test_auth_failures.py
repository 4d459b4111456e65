"""Who is refused at the doors is counted and, within a bound, logged: never with a secret."""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest
import requests

from app.services.access import auth_failures
from app.services.access.auth_failures import LOGGED_PER_SECOND
from app.services.tenants import tenants
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.support.clients.api import Api


def logged(stack: Stack) -> list[dict[str, Any]]:
    lines = (stack.databases.folder / "web.log").read_text(encoding="utf-8").splitlines()
    return [line for line in map(json.loads, lines) if line["event"] == "authentication_failed"]


def counted(stack: Stack) -> float:
    lines = requests.get(f"{stack.web}/metrics", timeout=20).text.splitlines()
    return sum(
        float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith('sluice_auth_failures_total{door="api"')
    )


def credentials(web_stack: Stack, shop: Shop) -> dict[str, str]:
    """Return a credential for each reason to be refused."""
    revoked_id, revoked = tenants.create_key(web_stack.runtime, shop.tenant_id, "read", "", ACTOR)
    expired_id, expired = tenants.create_key(web_stack.runtime, shop.tenant_id, "read", "", ACTOR)
    token = shop.token("ann")
    tenants.revoke_key(web_stack.runtime, revoked_id, ACTOR)
    web_stack.databases.rows("update api_keys set expires_at = now() where id = :id", id=expired_id)
    web_stack.databases.rows("update client_tokens set expires_at = now() where tenant_id = :id", id=shop.tenant_id)
    return {
        "unknown": f"sk_{secrets.token_hex(8)}.{secrets.token_urlsafe(32)}",
        "wrong_secret": f"{shop.secret_key.split('.')[0]}.{secrets.token_urlsafe(32)}",
        "revoked": revoked,
        "expired": expired,
        "malformed": "sk_nonsense-" + secrets.token_hex(8),
        "token": token,
    }


@pytest.mark.parametrize("kind", ["unknown", "wrong_secret", "revoked", "expired", "malformed", "token"])
def test_a_refused_credential_is_logged_by_its_public_part(web_stack: Stack, shop: Shop, kind: str) -> None:
    credential = credentials(web_stack, shop)[kind]
    public_part = None if kind == "malformed" else credential.split(".")[0].partition("_")[2]
    reason = {"token": "expired"}.get(kind, kind)

    def is_logged() -> bool:
        # Beyond the bound a line is left out: asked again until one is written.
        assert Api(web_stack.web, credential).get("/api/payments").status_code == 401
        return any((line["public_part"], line["reason"]) == (public_part, reason) for line in logged(web_stack))

    before = counted(web_stack)
    wait_until(is_logged, "it is logged", 20)
    assert counted(web_stack) > before
    (line, *_) = [line for line in logged(web_stack) if (line["public_part"], line["reason"]) == (public_part, reason)]
    assert (line["door"], line["address"], line["level"]) == ("api", "127.0.0.1", "warning")
    text = (web_stack.databases.folder / "web.log").read_text(encoding="utf-8")
    assert credential.split(".")[-1] not in text


def test_a_flood_of_wrong_keys_is_counted_in_full_and_logged_in_part(
    web_stack: Stack, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[dict[str, Any]] = []

    class Log:
        def warning(self, event: str, **fields: Any) -> None:
            written.append({"event": event, **fields})

    monkeypatch.setattr(auth_failures, "log", Log())
    statements = 100
    for _ in range(statements):
        auth_failures.note_failure(web_stack.runtime.database, "sk_nonsense", "192.0.2.1", "api")
    assert 0 < len(written) <= 2 * LOGGED_PER_SECOND

    def next_line() -> bool:
        auth_failures.note_failure(web_stack.runtime.database, "", "192.0.2.1" * 100, "api")
        return written[-1]["reason"] == "missing"

    wait_until(next_line, "the next line", 5)
    assert written[-1]["further_failures"] > 0
    assert len(written[-1]["address"]) <= 200
