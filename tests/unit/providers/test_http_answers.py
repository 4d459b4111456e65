"""Answers of JSON APIs: which statuses are whose fault, which bodies are usable, and which lists end."""

from __future__ import annotations

import pytest

from app.core.errors import OutcomeUnknown, ProviderRefusedUs, Throttled, Unavailable, UnexpectedAnswer
from app.core.facts import Fact, FactKind
from app.providers.calls.http_adapter import (
    CURSOR_LENGTH_MAX,
    accept,
    read_error,
    read_failure,
    read_found,
    read_object,
    walk_pages,
)
from app.providers.calls.outgoing import ProviderAnswer


@pytest.mark.parametrize(
    ("status", "error"),
    [
        *((status, ProviderRefusedUs) for status in (401, 403, 404, 405, 410, 415)),
        *((status, Throttled) for status in (425, 429)),
        *((status, Unavailable) for status in (301, 307, 500, 502, 503)),
        *((status, UnexpectedAnswer) for status in (204, 400, 402, 409, 422, 451)),
    ],
)
def test_a_failure_is_told_by_its_status(status: int, error: type[Exception]) -> None:
    failure = read_failure(ProviderAnswer(status, b"{}", 7.0))
    assert type(failure) is error
    # A refusal is not tried again by itself.
    assert failure.retry_after_seconds == (None if error is ProviderRefusedUs else 7.0)
    with pytest.raises(error):
        read_object(ProviderAnswer(status, b"{}", None))


def test_a_good_status_needs_a_whole_object() -> None:
    assert read_object(ProviderAnswer(201, b'{"a": 1}', None), (200, 201)) == {"a": 1}
    for body in (b'{"a": 1', b"<html>", b"[]", b'"a"', b"", b'{"a": 1, "a": 2}'):
        with pytest.raises(Unavailable):
            read_object(ProviderAnswer(200, body, None))


def test_pages_are_walked_to_their_end() -> None:
    pages: dict[str | None, tuple[list[object], object]] = {None: ([1, 2], "b"), "b": ([], "c"), "c": ([3], None)}
    assert list(walk_pages(lambda cursor: pages[cursor])) == [1, 2, 3]


@pytest.mark.parametrize("following", ["a", 7, "x" * (CURSOR_LENGTH_MAX + 1), ["a"]])
def test_a_cursor_that_leads_nowhere_ends_the_walk(following: object) -> None:
    rows = walk_pages(lambda cursor: ([cursor], "a" if cursor is None else following))
    assert [next(rows), next(rows)] == [None, "a"]
    with pytest.raises(OutcomeUnknown, match="leads nowhere"):
        next(rows)


def test_a_page_that_no_browser_may_follow_is_not_offered() -> None:
    with pytest.raises(UnexpectedAnswer):
        accept(Fact(FactKind.PENDING, "cs_1"), "url")
    page = "https://pay.example/1"
    assert accept(Fact(FactKind.PENDING, "cs_1", page), "url") == Fact(FactKind.ACCEPTED, "cs_1", page)


def test_the_object_of_a_refusal_is_found() -> None:
    assert read_error(ProviderAnswer(400, b'{"error": {"code": "odd"}}', None), "error") == {"code": "odd"}
    for body in (b"{}", b"[]", b'{"error": "odd"}', b'{"error": null}', b"<html>"):
        with pytest.raises(UnexpectedAnswer):
            read_error(ProviderAnswer(400, body, None), "error")


def test_an_object_that_is_not_there_is_none() -> None:
    assert read_found(ProviderAnswer(404, b"{}", None)) is None
    assert read_found(ProviderAnswer(200, b'{"id": "1"}', None)) == {"id": "1"}
    with pytest.raises(Unavailable):
        read_found(ProviderAnswer(500, b"{}", None))
