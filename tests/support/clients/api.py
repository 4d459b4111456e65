"""A caller of the API over real HTTP."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

import requests

from app.core.problem_codes import PROBLEM_CODES

# The longest wait that a request may ask for, and some.
ANSWER_SECONDS = 25


@dataclass(frozen=True)
class Api:
    """Sends requests with one credential to one web process."""

    base: str
    credential: str | None

    def send(self, method: str, path: str, headers: dict[str, str] | None = None, **options: Any) -> requests.Response:
        """Send one request; the credential goes along unless the headers have their own."""
        sent = dict(headers or {})
        if self.credential is not None:
            sent.setdefault("Authorization", f"Bearer {self.credential}")
        return requests.request(
            method, self.base + path, headers=sent, timeout=ANSWER_SECONDS, allow_redirects=False, **options
        )

    def get(self, path: str, headers: dict[str, str] | None = None, **query: Any) -> requests.Response:
        """Read."""
        return self.send("GET", path, headers, params=query)

    def post(self, path: str, json: object = None, headers: dict[str, str] | None = None) -> requests.Response:
        """Post JSON."""
        return self.send("POST", path, headers, json={} if json is None else json)

    def deposit(
        self, key: str | None = None, headers: dict[str, str] | None = None, without: tuple[str, ...] = (), **body: Any
    ) -> requests.Response:
        """Ask for a deposit of 25.00 USD for ann, with what is given instead; a key of its own unless one is given."""
        asked = {"user_id": "ann", "amount": "25.00", "currency": "USD"} | body
        asked = {name: value for name, value in asked.items() if name not in without}
        keyed = {"Idempotency-Key": key or secrets.token_hex(16)} | (headers or {})
        return self.post("/api/payments/deposit", asked, keyed)

    def read(self, payment_id: object) -> dict[str, Any]:
        """Return a payment that must be there."""
        answer = self.get(f"/api/payments/{payment_id}")
        assert answer.status_code == 200, answer.text
        payment: dict[str, Any] = answer.json()
        return payment


def problem_of(answer: requests.Response, status: int) -> dict[str, Any]:
    """Return the problem document that the answer must be (RFC 9457)."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert all(isinstance(problem[name], str) and problem[name] for name in ("type", "title", "detail"))
    assert status in PROBLEM_CODES[problem["code"]][0], problem
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    assert problem.keys() <= {"type", "title", "status", "detail", "code", "request_id", "errors"}
    assert "Traceback" not in answer.text
    return problem


def without_request_id(answer: requests.Response) -> bytes:
    """Return the answer's body without what differs between any two answers."""
    return answer.content.replace(answer.headers["X-Request-Id"].encode(), b"")


def fields_of(answer: requests.Response, status: int = 422) -> set[str]:
    """Return the names of the fields that the answer finds fault with."""
    errors = problem_of(answer, status)["errors"]
    assert all(error.keys() == {"field", "message"} and error["message"] for error in errors)
    return {error["field"] for error in errors}
