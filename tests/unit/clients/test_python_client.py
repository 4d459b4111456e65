"""The Python client against answers that it must survive: retries, keys, errors, streams."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import tomllib
from collections.abc import Callable, Iterator
from decimal import Decimal
from importlib.metadata import version
from typing import Any

import pytest
import sluice_client
from sluice_client import ApiError, AsyncClient, Client, EventsMissingError, NoAnswerError, SluiceError
from sluice_client.sse import FrameReader

from tests.support.repository import ROOT
from tests.unit.clients.false_api import Answer, FalseApi, problem

FOLDER = ROOT / "clients" / "python"
# At once, so that the tests are short.
AT_ONCE = {"Retry-After": "0"}

Serve = Callable[..., FalseApi]
Use = Callable[[str, str, dict[str, Any]], Any]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Give a maker of servers, which end with the test."""
    opened: list[FalseApi] = []

    def _serve(*answers: Answer) -> FalseApi:
        opened.append(FalseApi(*answers))
        return opened[-1]

    yield _serve
    for server in opened:
        server.close()


def _use_blocking(url: str, method: str, words: dict[str, Any]) -> Any:
    with Client(url, "sk_test") as client:
        return getattr(client, method)(**words)


def _use_async(url: str, method: str, words: dict[str, Any]) -> Any:
    async def run() -> Any:
        async with AsyncClient(url, "sk_test") as client:
            return await getattr(client, method)(**words)

    return asyncio.run(run())


@pytest.fixture(params=[_use_blocking, _use_async], ids=["blocking", "async"])
def use(request: pytest.FixtureRequest) -> Use:
    """Give a function that calls one method of a client of each kind."""
    chosen: Use = request.param
    return chosen


DEPOSIT = {"user_id": "ann", "amount": "25.00", "currency": "USD", "wait": 0}


def test_a_deposit_is_tried_again_under_its_key(serve: Serve, use: Use) -> None:
    api = serve(problem(503, "unavailable", **AT_ONCE), problem(429, "rate_limited", **AT_ONCE), Answer(202))
    assert use(api.url, "create_deposit", DEPOSIT | {"amount": Decimal("25.00")}) == {"id": "p1"}
    assert len(api.asked) == 3
    assert len({asked.headers["idempotency-key"] for asked in api.asked}) == 1
    assert len({asked.headers["x-request-id"] for asked in api.asked}) == 3
    assert api.asked[0].headers["authorization"] == "Bearer sk_test"
    assert api.asked[0].body == {"user_id": "ann", "amount": "25.00", "currency": "USD"}


@pytest.mark.parametrize("lost", [Answer(body=None), Answer(body=b"torn {"), problem(500, "internal_error", **AT_ONCE)])
def test_an_unknown_outcome_is_asked_about_under_the_same_key(serve: Serve, use: Use, lost: Answer) -> None:
    api = serve(lost, Answer(201))
    assert use(api.url, "create_deposit", DEPOSIT | {"idempotency_key": "order-42"}) == {"id": "p1"}
    assert [asked.headers["idempotency-key"] for asked in api.asked] == ["order-42"] * 2


@pytest.mark.parametrize(("first", "tries"), [(503, 2), (429, 2), (502, 1), (500, 1)])
def test_a_call_without_a_key_is_repeated_only_where_nothing_was_done(
    serve: Serve, use: Use, first: int, tries: int
) -> None:
    api = serve(problem(first, "x", **AT_ONCE), Answer())
    if tries == 1:
        with pytest.raises(ApiError):
            use(api.url, "cancel_payment", {"payment_id": "p1"})
    else:
        use(api.url, "cancel_payment", {"payment_id": "p1"})
    assert len(api.asked) == tries


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
def test_a_refusal_is_raised_at_once(serve: Serve, use: Use, status: int) -> None:
    api = serve(problem(status, "some_code"))
    with pytest.raises(ApiError) as raised:
        use(api.url, "create_deposit", DEPOSIT)
    assert (raised.value.status, raised.value.code, raised.value.request_id) == (status, "some_code", "r-7")
    assert "r-7" in str(raised.value)
    assert len(api.asked) == 1


def test_a_pause_that_is_too_long_becomes_the_error(serve: Serve, use: Use) -> None:
    api = serve(problem(503, "unavailable", **{"Retry-After": "3600"}))
    with pytest.raises(ApiError) as raised:
        use(api.url, "get_payment", {"payment_id": "p1"})
    assert raised.value.retry_after == 3600
    assert len(api.asked) == 1


def test_an_error_that_is_no_problem_document_is_an_error_all_the_same(serve: Serve, use: Use) -> None:
    api = serve(Answer(404, b"<h1>proxy</h1>"))
    with pytest.raises(ApiError) as raised:
        use(api.url, "get_payment", {"payment_id": "a/../b"})
    assert raised.value.code == "http_404"
    assert raised.value.request_id == api.asked[0].headers["x-request-id"]
    assert api.asked[0].path == "/api/payments/a%2F..%2Fb"


def test_tries_end_and_are_reported(serve: Serve) -> None:
    api, reported = serve(problem(503, "unavailable", **AT_ONCE)), list[SluiceError]()
    with Client(api.url, "sk_test", retries=2, on_retry=reported.append) as client, pytest.raises(ApiError):
        client.get_payment("p1")
    assert len(api.asked) == 3
    assert [getattr(error, "code", None) for error in reported] == ["unavailable"] * 2


def test_a_server_that_is_not_there_is_named() -> None:
    with Client("http://127.0.0.1:9", "sk_test", retries=0) as client, pytest.raises(NoAnswerError) as raised:
        client.get_payment("p1")
    assert (raised.value.code, raised.value.request_id in str(raised.value)) == ("no_answer", True)


def test_an_amount_is_never_a_float(use: Use) -> None:
    with pytest.raises(TypeError):
        use("http://127.0.0.1:9", "create_deposit", DEPOSIT | {"amount": 25.0})


def _page(*ids: int) -> Answer:
    return Answer(body=json.dumps({"data": [{"id": one} for one in ids], "next_cursor": None}).encode())


def _frames(*messages: dict[str, Any]) -> Answer:
    frames = "".join(f"event: x\ndata: {json.dumps(message)}\n\n" for message in messages)
    return Answer(body=(": comment\n\n" + frames).encode(), headers={"Content-Type": "text/event-stream"})


def _hello(resumed: bool = True) -> dict[str, Any]:
    return {"type": "hello", "resumed": resumed, "last_id": 9}


FAILURES = (problem(503, "unavailable", **AT_ONCE), Answer(body=None))


@pytest.mark.parametrize(
    ("transport", "answers"),
    [
        ("poll", (_page(4, 5), *FAILURES, _page(6))),
        ("sse", (_frames(_hello(), {"id": 4}, {"id": 5}), *FAILURES, _frames(_hello(), {"id": 6}))),
    ],
)
@pytest.mark.parametrize("kind", ["blocking", "async"])
def test_a_stream_resumes_after_the_last_event(
    serve: Serve, kind: str, transport: Any, answers: tuple[Answer, ...]
) -> None:
    api = serve(*answers)

    async def run() -> list[int]:
        async with AsyncClient(api.url, "sk_test", retries=0) as client:
            found = list[int]()
            async for event in client.stream_events(3, transport=transport):
                found.append(event["id"])
                if found[-1] == 6:
                    break
            return found

    if kind == "async":
        found = asyncio.run(run())
    else:
        with Client(api.url, "sk_test", retries=0) as client:
            stream = iter(client.stream_events(3, transport=transport))
            found = [next(stream)["id"] for _ in range(3)]
    assert found == [4, 5, 6]
    assert [asked.path.split("after=")[1].split("&")[0] for asked in api.asked] == ["3", "5", "5", "5"]


def test_a_stream_follows_to_the_sockets_and_says_when_events_are_missing(serve: Serve) -> None:
    sockets = serve(_frames(_hello(resumed=False)))
    web = serve(problem(421, "served_elsewhere", **{"Content-Location": sockets.url}))
    with Client(web.url, "sk_test") as client, pytest.raises(EventsMissingError) as raised:
        next(iter(client.stream_events(3, transport="sse")))
    assert (raised.value.after, raised.value.last_id, len(web.asked)) == (3, 9, 1)


@pytest.mark.parametrize("transport", ["poll", "sse"])
def test_a_stream_ends_where_the_key_is_refused(serve: Serve, transport: Any) -> None:
    api = serve(problem(401, "unauthenticated"))
    with Client(api.url, "sk_test") as client, pytest.raises(ApiError):
        next(iter(client.stream_events(0, transport=transport)))


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_frames_are_cut_at_the_line_ends_of_the_protocol_only(size: int) -> None:
    frame = 'id: 1\r\nevent: x\r\ndata: {"note": "a\u2028b"}\r\n\r\n: beat\n\n'
    text = (frame + 'data: {"id":\ndata: 2}\n\ndata: {"half').encode()
    frames = FrameReader()
    read = [each for start in range(0, len(text), size) for each in frames.feed(text[start : start + size])]
    assert read == [{"note": "a\u2028b"}, {"id": 2}]


def test_the_blocking_client_is_made_from_the_async_one() -> None:
    spec = importlib.util.spec_from_file_location("make_blocking", FOLDER / "make_blocking.py")
    assert spec is not None
    assert spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    folder = FOLDER / "src" / "sluice_client" / "blocking"
    assert {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.py")} == maker.make_blocking()


def test_its_version_is_the_apis_and_its_types_go_with_it() -> None:
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == version("sluice") == version("sluice-client")
    assert (FOLDER / "src" / "sluice_client" / "py.typed").is_file()
    assert set(sluice_client.__all__) <= set(dir(sluice_client))
