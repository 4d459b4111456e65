"""What the command line prints: JSON values, table cells, durations, times, timelines in words."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from typing import Any

import click
import pytest

from app.cli import output
from app.cli.options import Duration, Moment, WebAddress
from app.cli.timeline import describe_actor, describe_event, describe_event_actor, print_timeline

NOON = datetime.datetime(2026, 1, 31, 12, 0, 0, 5, tzinfo=datetime.UTC)
DAY = 86_400


def test_json_is_one_document_with_plain_values(capsys: pytest.CaptureFixture[str]) -> None:
    some_id = uuid.uuid4()
    output.print_json({"id": some_id, "at": NOON, "percent": decimal.Decimal("0.50"), "list": (1, None), "name": "Zoë"})
    assert json.loads(capsys.readouterr().out) == {
        "id": str(some_id),
        "at": "2026-01-31T12:00:00.000005Z",
        "percent": "0.50",
        "list": [1, None],
        "name": "Zoë",
    }


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        ([], "-"),
        ({}, "-"),
        (True, "yes"),
        (False, "no"),
        (0, "0"),
        (["a", "b"], "a, b"),
        ({"a": 1}, "a=1"),
        (NOON, "2026-01-31 12:00:00Z"),
        ("[red]not markup[/red]", "[red]not markup[/red]"),
        ("line\nbreak \x1b[31mred", "line\\nbreak \\x1b[31mred"),
    ],
)
def test_a_cell_shows_a_value(value: Any, shown: str) -> None:
    assert output.cell(value).plain == shown


def test_tables_have_headings_and_no_colour_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table([{"a": "one", "b": None}], {"a": "First", "b": "Second"})
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["First", "Second"]
    assert row.split() == ["one", "-"]


def test_a_long_row_is_not_wrapped_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table([{"a": "x" * 200, "b": "y" * 100}], {"a": "A", "b": "B"})
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_an_empty_table_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_rows([], {"a": "A"}, as_json=False, empty="No keys yet.")
    assert capsys.readouterr().out == "No keys yet.\n"


@pytest.mark.parametrize(
    ("written", "seconds"), [("0", 0), ("90", 90), ("90s", 90), ("15m", 900), ("24h", DAY), ("7d", 7 * DAY)]
)
def test_durations(written: str, seconds: int) -> None:
    assert Duration(7 * DAY).convert(written, None, None) == seconds


@pytest.mark.parametrize("written", ["", "-1", "1.5h", "1w", "h", "8d", "٣", "1h30m", " 5"])
def test_bad_durations_are_refused(written: str) -> None:
    with pytest.raises(click.BadParameter):
        Duration(7 * DAY).convert(written, None, None)


@pytest.mark.parametrize(
    "written", ["shop.example", "ftp://shop.example", "https://", "javascript:alert(1)", "http://a:x"]
)
def test_bad_urls_are_refused(written: str) -> None:
    with pytest.raises(click.BadParameter):
        WebAddress().convert(written, None, None)


@pytest.mark.parametrize("written", ["2026-01-31", "2026-01-31T00:00:00Z", "2026-01-31T02:00:00+02:00"])
def test_times(written: str) -> None:
    assert Moment().convert(written, None, None) == datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC)


@pytest.mark.parametrize("written", ["", "yesterday", "2026-13-01", "31.1.2026"])
def test_bad_times_are_refused(written: str) -> None:
    with pytest.raises(click.BadParameter):
        Moment().convert(written, None, None)


def event(kind: str, actor: str = "system", at: str = "2026-01-31T12:00:00.000000Z", **detail: Any) -> dict[str, Any]:
    return {"at": at, "kind": kind, "actor": actor, "detail": detail}


CALL = {"milliseconds": 6.9, "attempt": 1}


@pytest.mark.parametrize(
    ("happened", "words"),
    [
        (event("payment_created", amount_minor=2500, currency="USD", user_id="ann"), ["25.00 USD", "ann"]),
        (event("provider_call", action="create", outcome="accepted", **CALL), ["asked to take", "it has it", "6.9 ms"]),
        (
            event(
                "provider_call", action="poll", outcome="OutcomeUnknown", error="timed out", milliseconds=1e4, attempt=3
            ),
            ["how the payment stands", "asked again", "timed out", "attempt 3"],
        ),
        (event("provider_call", action="survey", outcome="seen", **CALL), ["survey", "seen"]),
        (
            event("webhook", path="payment-success", status="pending", verdict=None, reason=None),
            ["payment-success", "waits"],
        ),
        (
            event("webhook", path="payment-success", status="processed", verdict="duplicate", reason="nothing new"),
            ["duplicate", "nothing new"],
        ),
        (
            event(
                "decision", **{"from": "processing", "to": "completed"}, verdict="applied", reason="the money arrived"
            ),
            ["from processing to completed", "the money arrived"],
        ),
        (
            event("decision", **{"from": "failed", "to": "failed"}, verdict="ignored", reason="it has failed already"),
            ["stays failed", "ignored", "it has failed already"],
        ),
        (
            event("entry", wallet="user", type="deposit", currency="KWD", amount_minor=1234, balance_after_minor=1234),
            ["user's wallet", "1.234 KWD", "balance"],
        ),
        (
            event("entry", wallet="clearing", type="deposit", currency="JPY", amount_minor=-5, balance_after_minor=-5),
            ["clearing wallet", "-5 JPY"],
        ),
        (
            event("entry", wallet="user", type="reversal", currency="USD", amount_minor=-5, balance_after_minor=-5),
            ["-0.05 USD (reversal)", "-0.05 USD, below zero"],
        ),
        (
            event(
                "wallet_restored",
                type="debit_reversal",
                currency="USD",
                balance_after_minor=0,
                payment_id=None,
                debit_id="01a2",
            ),
            ["no longer below zero", "a debit reversal (debit 01a2)", "0.00 USD"],
        ),
        (event("notification", id=4, type="payment.completed"), ["payment.completed", "event 4"]),
        (event("notification", id=None, type="payment.completed"), ["not numbered yet"]),
        (event("dead_letter", state="open", reason="underpaid", detail="5.00 of 25.00"), ["underpaid", "5.00"]),
        (
            event("dead_letter", state="accepted", reason="underpaid", detail="5.00 of 25.00"),
            ["underpaid", "by now it is accepted"],
        ),
        (event("case_accepted", dead_letter_id="x", note=None), ["Case accepted", "dead_letter_id: x"]),
    ],
)
def test_every_kind_of_event_has_words(happened: dict[str, Any], words: list[str]) -> None:
    said = describe_event(happened)
    for word in words:
        assert word in said
    assert "None" not in said


def test_it_is_sluice_that_calls_and_decides() -> None:
    provider = "provider:01a2"
    assert describe_event_actor(event("provider_call", provider)) == "Sluice"
    assert describe_event_actor(event("decision", provider)) == "Sluice"
    assert describe_event_actor(event("webhook", provider)) == "the provider"
    assert describe_event_actor(event("decision", "user:ann")) == "the user"
    assert describe_actor("operator:eve") == "operator eve"
    assert describe_actor("uid:1000@till") == "operator uid:1000@till"
    assert describe_actor("key:01a2") == "your backend"


def test_a_timeline_counts_from_its_first_event(capsys: pytest.CaptureFixture[str]) -> None:
    print_timeline(
        [
            event("payment_created", "key:1", amount_minor=100, currency="USD", user_id="ann"),
            event("notification", at="2026-01-31T12:00:01.250000Z", id=1, type="payment.failed"),
        ]
    )
    _, first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("+0.000 s")
    assert second.startswith("+1.250 s")


def test_an_empty_timeline_prints_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_timeline([])
    assert capsys.readouterr().out == "None.\n"
