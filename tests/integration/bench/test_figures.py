"""The bench itself, at a size that proves nothing about speed: every figure is there and is made of real work."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from app.cli import main
from app.services.webhooks import settle as settling
from bench import history, hops, redirect, settle, sockets, to_socket, web
from bench.figures import at_most, compare, describe_latency, percentile
from bench.filling import AMOUNT_MINOR, fill_history, fill_webhooks, make_due
from bench.load import provider
from bench.measured_stack import open_measured_stack
from bench.report.results import write_results
from bench.run import Form
from bench.settle import SHORT
from testbed.servers import NO_SYNC, Servers, open_servers

pytestmark = pytest.mark.slow

SIZE = replace(SHORT, webhooks=300, rows=160, tasks=100, history=(300, 600), drained=1_200, sustained=300)
# Starting the workers alone takes seconds, and a busy machine takes them several times over.
SECONDS = 300


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Servers of the bench."""
    with open_servers(tmp_path_factory.mktemp("bench"), NO_SYNC) as opened:
        yield opened


def is_whole(figure: dict[str, Any]) -> bool:
    """Return whether a figure has the fields that every key of the JSON has."""
    return {"median", "spread", "goal", "unit", "rounds"} <= figure.keys() and figure["median"] > 0


@pytest.mark.timeout(SECONDS)
def test_settling_is_measured_with_its_baselines_and_after_an_outage(servers: Servers) -> None:
    figures = settle.run_settle(servers, SIZE, print)
    assert set(figures) == set(settle.KEYS)
    for figure in figures.values():
        assert is_whole(figure)
        assert len(figure["rounds"]) == settle.ROUNDS
    assert {"settled", "celery_noop"} <= figures["settle_vs_celery_noop"].keys()
    assert {"settled", "row_at_a_time"} <= figures["settle_vs_row_at_a_time"].keys()
    assert figures["drain_after_outage"]["due_at_once"] == SIZE.drained
    spent = {cost["operation"]: cost for cost in figures["settle_vs_celery_noop"]["costs"]}
    settled = spent["webhook settled"]
    assert settled["count"] == settle.ROUNDS * SIZE.webhooks
    assert settled["microseconds"]["worker-settle"] > 0
    assert settled["microseconds"]["postgresql"] > 0


@pytest.mark.timeout(SECONDS)
def test_a_single_key_is_measured_without_the_others(servers: Servers) -> None:
    figures = settle.run_settle(servers, SIZE, print, ["settle_hot_wallet"])
    assert set(figures) == {"settle_hot_wallet"}
    assert is_whole(figures["settle_hot_wallet"])


@pytest.mark.timeout(SECONDS)
def test_settling_is_measured_with_history_and_by_batch_size(servers: Servers) -> None:
    figure = history.run_history(servers, SIZE, print)["settle_at_10m"]
    assert is_whole(figure)
    assert [point["payments"] for point in figure["points"]] == [0, 300, 600]
    figures = history.run_batches(servers, SIZE, print)
    batches, fixed = figures["settle_by_batch_size"], figures["batch_fixed_cost"]
    assert [point["batch"] for point in batches["points"]] == list(history.BATCH_SIZES)
    assert batches["messages_per_batch"] > 1
    assert is_whole(fixed)
    # A batch of one costs more than a row of a large one, on every machine.
    assert fixed["median"] > 1
    sustained = history.run_sustained(servers, SIZE, print)["sustained"]
    assert is_whole(sustained)
    assert sustained["webhooks_each"] == SIZE.sustained


@pytest.mark.timeout(SECONDS)
def test_the_web_process_is_measured(servers: Servers) -> None:
    figures = web.run_web(servers, 0.3, print, backlog=500)
    assert set(figures) == set(web.KEYS)
    assert all(is_whole(figure) and figure["rows_stored"] > 0 for figure in figures.values())
    spent = {cost["operation"]: cost for cost in figures["deposit_vs_hello"]["costs"]}
    assert set(spent) == set(web.OPERATIONS.values())
    for cost in spent.values():
        assert cost["count"] > 0
        assert cost["microseconds"]["web"] > 0
        assert cost["microseconds"]["load generator"] > 0


@pytest.mark.timeout(SECONDS)
def test_both_waits_of_a_person_are_measured(servers: Servers) -> None:
    with provider.run_in_thread(redirect.PROVIDER_SECONDS) as pays, open_measured_stack(servers, pays.url) as stack:
        stack.start("web", "sockets", *settle.WORKERS)
        to_page = redirect.run_redirect(stack, pays.seconds, 4, print)["deposit_to_redirect_overhead_ms"]
        to_browser = to_socket.run_webhook_to_socket(stack, 40, 12, print)["webhook_to_socket_ms"]
    for figure in (to_browser, to_page):
        assert is_whole(figure)
        assert {"p50", "p99"} == figure["goal"].keys()
        assert figure["idle"]["p50"] <= figure["idle"]["p99"]
    assert to_browser["at_half_rate"]["p99"] > 0
    # Each hop ends after it began: the moments come from three servers' clocks and are in their order.
    assert [hop["hop"] for hop in to_browser["hops"]] == list(hops.HOPS.values())
    assert all(hop["ms"] > 0 for hop in to_browser["hops"])


@pytest.mark.timeout(SECONDS)
def test_sockets_are_counted_weighed_and_reported(servers: Servers) -> None:
    figure = sockets.run_sockets(servers, print, wanted=60)["sockets"]
    assert is_whole(figure)
    assert figure["median"] == 60
    assert figure["broadcast_p99"]["median"] > 0
    # A crowd waits its turn; none of it is sent away.
    assert figure["handshakes_refused"] == 0


@pytest.mark.timeout(SECONDS)
def test_history_keeps_the_books_whole(servers: Servers) -> None:
    with open_measured_stack(servers) as stack:
        fill_history(stack, 0, 300)
        fill_webhooks(stack, 40, users=3)
        make_due(stack, 40)
        settling.settle_due(stack.runtime)
        fill_history(stack, 300, 500)
        assert stack.databases.value("select count(*) from payment_transactions where status = 'completed'") == 540
        assert stack.databases.value("select sum(balance_minor) from wallets where kind = 'user'") == 540 * AMOUNT_MINOR
        assert stack.databases.value("select sum(balance_minor) from wallets") == 0
        assert stack.databases.value("select max(number) = count(*) from notification_numbers")
        torn = """
            select count(*) from wallet_transactions e join wallet_transactions b
            on b.wallet_id = e.wallet_id and b.wallet_version = e.wallet_version - 1
            where e.balance_before_minor <> b.balance_after_minor"""
        assert stack.databases.value(torn) == 0


def test_a_figure_is_the_median_of_its_rounds() -> None:
    figure = compare([20.0, 30.0, 50.0], [10.0, 10.0, 10.0], 3, ("ours", "theirs"))
    assert (figure["median"], figure["spread"], figure["met"]) == (3.0, 3.0, True)
    assert figure["ours"]["rounds"] == [20.0, 30.0, 50.0]
    assert (at_most(figure, 3.0)["met"], at_most(figure, 2.9)["met"]) == (True, False)
    assert [percentile([3.0, 1.0, 2.0], share) for share in (0.01, 0.5, 0.99)] == [1.0, 2.0, 3.0]


def test_the_page_shows_what_fell_short_as_it_is(tmp_path: Path) -> None:
    short = compare([5.0, 5.0, 5.0], [10.0, 10.0, 10.0], 0.9, ("with_history", "without"))
    points = [{"payments": 0, "per_second": 900}, {"payments": 1_000_000, "per_second": 400}]
    run = {
        "settle_at_10m": {**short, "history": 1_000_000, "points": points},
        "sockets": {"median": None, "spread": None, "goal": None, "met": False, "error": "no more files"},
        "intake_vs_hello": {
            **compare([2.0], [10.0], 0.4, ("webhooks", "hello")),
            "connections": 32,
            "costs": [{"operation": "webhook taken", "count": 7, "microseconds": {"web": 900.0, "postgresql": 350.0}}],
        },
        "webhook_to_socket_ms": {
            **describe_latency([[12.0, 18.0]], {"p50": 15.0, "p99": 60.0}),
            "hops": [{"hop": "from here", "ms": 4.26}, {"hop": "to there", "ms": 8.0}],
        },
        "form": "short",
        "date": "2026-01-01T00:00:00+00:00",
        "seconds": 9,
        "machine": {"processor": "x", "processors": 2, "memory_gb": 4, "system": "Linux", "load_before": [0.1]},
        "versions": {"python": "3.11"},
    }
    page = write_results(run, tmp_path).read_text(encoding="utf-8")
    assert "| 0.5 (spread 0.0) | **no** |" in page
    assert "failed: no more files" in page
    assert "plots/history.svg" in page
    assert "| webhook taken | 900 | 350 | 1,250 |" in page
    assert "| from here | 4.3 |" in page
    assert "| sum | 12.3 |" in page
    drawn = ElementTree.parse(tmp_path / "plots" / "history.svg")  # noqa: S314  # written a moment ago
    assert len(drawn.findall(".//{http://www.w3.org/2000/svg}circle")) == len(points)


def test_an_unknown_key_is_refused_before_anything_starts() -> None:
    done = CliRunner().invoke(main, ["bench", "--only", "speed"])
    assert done.exit_code == 2
    assert "settle_hot_wallet" in done.stderr


def test_the_short_form_has_the_sizes_that_the_measures_name() -> None:
    assert Form(is_long=False).size.history[-1] == 1_000_000
    assert Form(is_long=False).size.drained == 20_000
    assert (Form(is_long=True).size.history[-1], Form(is_long=True).size.drained) == (10_000_000, 100_000)
