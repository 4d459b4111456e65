"""Sends calls, again where that is safe."""
# Made from aio/sender.py by make_blocking.py: change that one.

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import httpx

from sluice_client.calls import ANSWER_SECONDS, Call, NotReachedError, find_pause, new_key, read_problem
from sluice_client.errors import ApiError, NoAnswerError, SluiceError

Answer = TypeVar("Answer")


class Sender:
    """Connections to one API with one secret key. `on_retry` gets each error after which a call is sent again."""

    def __init__(
        self, base_url: str, secret_key: str, retries: int, on_retry: Callable[[SluiceError], None] | None = None
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.http = httpx.Client(headers={"Authorization": f"Bearer {secret_key}"}, timeout=ANSWER_SECONDS)
        self._retries = retries
        self._on_retry = on_retry

    def send(self, call: Call[Answer]) -> Answer:
        """Return the JSON of the answer. Raise ApiError, or NoAnswerError where none comes."""
        tries = 0
        while True:
            tries += 1
            try:
                answer: Answer = self._try(call)
            except SluiceError as error:
                pause = find_pause(call, error, tries, self._retries)
                if pause is None:
                    raise
                if self._on_retry is not None:
                    self._on_retry(error)
                time.sleep(pause)
            else:
                return answer

    def _try(self, call: Call[Any]) -> Any:
        request_id = new_key()
        try:
            response = self.http.request(
                call.method,
                self.base_url + call.path,
                params=call.query,
                json=call.body,
                headers={"X-Request-Id": request_id, **call.headers},
                timeout=call.timeout,
            )
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise NotReachedError(f"{self.base_url} could not be reached: {error}", request_id) from error
        except httpx.TransportError as error:
            raise NoAnswerError(f"no answer: {type(error).__name__} {error}", request_id) from error
        return read_answer(response, request_id)


def read_answer(response: httpx.Response, request_id: str) -> Any:
    """Return the JSON of a whole answer. Raise ApiError for an error, NoAnswerError for a torn body."""
    try:
        content = response.json()
    except ValueError as error:
        if response.is_success:
            raise NoAnswerError("the answer is no JSON", request_id) from error
        content = None
    if not response.is_success:
        problem: ApiError = read_problem(response.status_code, content, response.headers, request_id)
        raise problem
    return content
