"""What the client raises."""

from __future__ import annotations

from typing import Any

from sluice_client.models import FieldError


class SluiceError(Exception):
    """Something about a call, a stream or a webhook went wrong."""


class NoAnswerError(SluiceError):
    """No answer came, or a torn one, and trying again did not help: whether the call was done is not known.

    A call with the same idempotency key is safe to repeat. `request_id` is what the call was sent with.
    """

    def __init__(self, detail: str, request_id: str) -> None:
        super().__init__(f"{detail} (request {request_id})")
        self.code = "no_answer"
        self.request_id = request_id


class ApiError(SluiceError):
    """The API answered with an error (RFC 9457). Act by `code`; give `request_id` to the operator."""

    def __init__(self, status: int, problem: dict[str, Any], request_id: str, retry_after: float | None) -> None:
        self.status = status
        self.code = str(problem.get("code") or f"http_{status}")
        self.request_id = str(problem.get("request_id") or request_id)
        self.title = str(problem.get("title") or f"HTTP {status}")
        self.detail = str(problem.get("detail") or "")
        self.errors: list[FieldError] = problem.get("errors") or []
        # Seconds that the server asked to wait for; None where it did not.
        self.retry_after = retry_after
        fields = "; ".join(f"{error['field']}: {error['message']}" for error in self.errors)
        parts = ": ".join(part for part in (self.title, self.detail, fields) if part)
        super().__init__(f"{status} {self.code}: {parts} (request {self.request_id})")


class EventsMissingError(SluiceError):
    """The server no longer holds every event after the given id: read the state anew, continue after `last_id`."""

    def __init__(self, after: int, last_id: int) -> None:
        super().__init__(f"events after {after} are no longer all there; the last id is {last_id}")
        self.after, self.last_id = after, last_id


class WebhookVerificationError(SluiceError):
    """The delivery is not proven to be Sluice's: answer 400 and use nothing of it."""
