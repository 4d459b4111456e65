"""The bench of what users meet, at a size that proves nothing about speed: calls, credits and ways are real."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import requests

from bench import calls, deliveries, settle, ways
from bench.load import provider
from testbed.servers import NO_SYNC, Servers, open_servers

SIZE = replace(settle.SHORT, calls=24, posted=48, whole=32, deliveries=40)
# Starting all processes takes most of it on a busy machine.
SECONDS = 300


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Servers of the bench."""
    with open_servers(tmp_path_factory.mktemp("ways"), NO_SYNC) as opened:
        yield opened


def assert_compared(figure: dict[str, Any], *names: str) -> None:
    """Fail unless a figure has a ratio by round, and a rate above zero under each name."""
    assert {"median", "spread", "goal", "unit", "rounds"} <= figure.keys()
    assert len(figure["rounds"]) == settle.ROUNDS
    assert all(figure[name]["median"] > 0 for name in names)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS)
def test_provider_calls_are_measured_with_both_baselines(servers: Servers) -> None:
    figure = calls.run_calls(servers, SIZE, print)["provider_calls"]
    for each in (figure, figure["slow"]):
        assert_compared(each, "one_process", "two_processes", "celery_task_a_call", "bare_loop")
    # Each of the calls that wait at once waits the provider's time.
    assert figure["slow"]["bare_loop"]["median"] <= SIZE.calls / calls.SLOW_SECONDS
    (cost,) = figure["costs"]
    assert cost["count"] == settle.ROUNDS * SIZE.calls
    assert cost["microseconds"]["worker-provider"] > 0
    # The provider's own is less than a tick of the kernel's clock at this size.
    assert {"postgresql", "load generator"} <= cost["microseconds"].keys()


@pytest.mark.slow
@pytest.mark.timeout(SECONDS)
def test_deliveries_are_measured_with_a_bare_loop(servers: Servers) -> None:
    figure = deliveries.run_deliveries(servers, SIZE, print)["deliveries"]
    assert_compared(figure, "delivered", "bare_loop")
    (cost,) = figure["costs"]
    assert cost["count"] == settle.ROUNDS * SIZE.deliveries
    assert cost["microseconds"]["worker-deliver"] > 0


@pytest.mark.slow
@pytest.mark.timeout(SECONDS)
def test_webhooks_are_followed_until_they_are_credited(servers: Servers) -> None:
    figure = ways.run_credited(servers, SIZE, print)["webhook_credited"]
    assert_compared(figure, "credited", "plain")
    assert set(figure["by_callers"]) == {str(callers) for callers in ways.CALLERS}
    assert 0 <= figure["stored_to_settling_ms"]["p50"] <= figure["stored_to_settling_ms"]["p99"]


@pytest.mark.slow
@pytest.mark.timeout(SECONDS)
def test_the_whole_way_ends_at_the_frame(servers: Servers) -> None:
    figure = ways.run_whole(servers, SIZE, print)["whole_way"]
    assert_compared(figure, "whole_way", "plain")
    (cost,) = figure["costs"]
    assert cost["count"] == settle.ROUNDS * SIZE.whole
    # The system counts processor time in ticks, of which so short a run may have none in one of the processes.
    assert cost["microseconds"].keys() >= {"web", "sockets", "worker-settle", "worker-provider"}
    assert sum(cost["microseconds"].values()) > 0


def test_the_provider_answers_when_its_time_is_over() -> None:
    with provider.run_in_thread(0.05) as pays, requests.Session() as session:
        began = time.monotonic()
        answer = session.post(pays.url + "/v1/payments", json={"merchant_reference": "p1"}, timeout=5)
        assert time.monotonic() - began >= 0.05
        body = {"reference": "sbx_p1", "redirect_url": "https://pay.example/sbx_p1", "status": "open"}
        assert (answer.status_code, answer.json()) == (201, body)
        assert pays.seconds["p1"] >= 0.05
        # Asked about a payment on the same connection, and without a wait.
        assert json.loads(session.get(pays.url + "/v1/payments/sbx_p1", timeout=5).text)["reference"] == "sbx_p1"
