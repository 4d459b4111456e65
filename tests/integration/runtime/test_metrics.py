"""The metrics that a running stack serves, and Flower."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from testbed.waiting import wait_until
from tests.support.clients.tenant_client import TenantClient
from tests.support.repository import ROOT
from tests.support.supervised_stack import SupervisedStack

TOKEN = "metrics-token-of-this-test"
FLOWER = ("operator", "flower-password-of-this-test")
PROCESSES = ("web", "sockets", "worker-settle", "worker-provider", "worker-deliver", "beat")
# Enough that both web processes answer some of them.
REQUESTS = 60

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class WatchedStack(SupervisedStack):
    """A stack with two web processes, a metrics token and a password for Flower."""

    @property
    def environment(self) -> dict[str, str]:
        """Add the settings that this test needs."""
        return {
            **super().environment,
            "SLUICE_WEB_WORKERS": "2",
            "SLUICE_METRICS_TOKEN": TOKEN,
            "SLUICE_FLOWER_AUTH": ":".join(FLOWER),
        }

    def text(self, process: str) -> str:
        """Return what a process type serves to Prometheus."""
        answer = requests.get(self.run["metrics"][process], headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10)
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"].startswith("text/plain")
        return answer.text

    def samples(self, process: str) -> Samples:
        """Return a process type's numbers by name and labels."""
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.text(process))
            for sample in family.samples
        }

    def number(self, process: str, metric: str, /, **labels: str) -> float:
        """Return the sum of a metric's samples that carry these labels; 0 where there are none."""
        wanted = set(labels.items())
        found = self.samples(process)
        return sum(value for (named, carried), value in found.items() if named == metric and wanted <= carried)


@pytest.fixture(scope="module")
def watched_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedStack]:
    running = WatchedStack(tmp_path_factory.mktemp("watched") / "home")
    try:
        running.start()
        yield running
        running.stop()
    finally:
        running.end()


@pytest.fixture(scope="module")
def demo_tenant(watched_stack: WatchedStack) -> TenantClient:
    """Provide the stack's demo tenant."""
    return TenantClient(watched_stack.run)


@pytest.fixture(scope="module")
def paid(watched_stack: WatchedStack, demo_tenant: TenantClient) -> dict[str, str]:
    """Provide a payment that was paid and settled."""
    payment = demo_tenant.deposit("metrics", Prefer="wait=10")
    watched_stack.sandbox.act(payment["provider_reference"], "pay")
    wait_until(
        lambda: watched_stack.number("web", "sluice_payments", status="completed") >= 1, "the payment is counted"
    )
    return payment


def test_each_process_type_serves_its_own_numbers_to_the_token_only(watched_stack: WatchedStack) -> None:
    assert set(watched_stack.run["metrics"]) == set(PROCESSES)
    for process in PROCESSES:
        url = watched_stack.run["metrics"][process]
        assert requests.get(url, timeout=10).status_code == 403, process
        assert requests.get(url, headers={"Authorization": f"Bearer {TOKEN}x"}, timeout=10).status_code == 403, process
        counted = watched_stack.number(process, "sluice_auth_failures_total", door="metrics", form="refused")
        assert counted >= 1, process
        assert "sluice_rings_failed_total" in watched_stack.text(process), process


def test_web_serves_its_numbers_on_its_own_port(watched_stack: WatchedStack) -> None:
    assert watched_stack.run["metrics"]["web"] == f"{watched_stack.run['web']}/metrics"


def test_requests_of_both_web_processes_add_up(watched_stack: WatchedStack) -> None:
    labels = {"rule": "/health/live", "method": "GET", "status": "200"}
    before = watched_stack.number("web", "sluice_http_requests_total", **labels)
    for _ in range(REQUESTS):
        # A connection of its own each time, so that the requests are spread.
        assert requests.get(f"{watched_stack.run['web']}/health/live", timeout=10).status_code == 200
    assert watched_stack.number("web", "sluice_http_requests_total", **labels) == before + REQUESTS
    folder = watched_stack.home / "metrics" / "web"
    workers = {match[1] for path in folder.glob("*.db") if (match := re.search(r"_(\d+)\.db", path.name))}
    assert len(workers) >= 2, workers


def test_a_deposit_is_counted_where_it_is_worked_on(watched_stack: WatchedStack, paid: dict[str, str]) -> None:
    assert watched_stack.number("web", "sluice_webhooks_received_total", outcome="stored") >= 1
    assert watched_stack.number("worker-settle", "sluice_webhooks_settled_total", verdict="applied") >= 1
    assert watched_stack.number("worker-settle", "sluice_tasks_total", task="tasks.settle", outcome="success") >= 1
    calls = {"adapter": "sandbox", "action": "create"}
    assert watched_stack.number("worker-provider", "sluice_provider_calls_total", outcome="accepted", **calls) >= 1
    assert watched_stack.number("worker-provider", "sluice_provider_call_seconds_count", **calls) >= 1
    assert watched_stack.number("web", "sluice_database_up") == 1
    assert watched_stack.number("web", "sluice_redis_up") == 1
    wait_until(lambda: watched_stack.number("web", "sluice_due_rows") == 0, "nothing is due")
    wait_until(lambda: watched_stack.number("web", "sluice_ring_queue_length") == 0, "every doorbell is answered")
    assert 0 <= watched_stack.number("web", "sluice_heartbeat_age_seconds", name="sweep") < 30


def test_a_forged_webhook_is_counted_by_its_reason(watched_stack: WatchedStack, demo_tenant: TenantClient) -> None:
    before = watched_stack.number("web", "sluice_webhooks_refused_total", reason="signature")
    assert demo_tenant.deliver(str(uuid.uuid4()), secret="whsec_" + "A" * 43 + "=").status_code == 400
    assert watched_stack.number("web", "sluice_webhooks_refused_total", reason="signature") == before + 1


def test_an_unusable_webhook_is_an_open_dead_letter_and_an_alarm(
    watched_stack: WatchedStack, demo_tenant: TenantClient, paid: dict[str, str]
) -> None:
    assert demo_tenant.deliver(paid["id"], event_type="payment.failed").status_code == 200
    wait_until(lambda: watched_stack.number("web", "sluice_dead_letters_open") == 1, "the dead letter is counted")
    assert watched_stack.number("web", "sluice_alerts_last_day", kind="webhook_dead_letter") == 1
    assert watched_stack.number("web", "sluice_alerts_open", kind="webhook_dead_letter") == 1


def test_every_number_that_the_alarms_read_is_served(watched_stack: WatchedStack, paid: dict[str, str]) -> None:
    wait_until(
        lambda: watched_stack.number("web", "sluice_heartbeat_age_seconds", name="sweep") > 0, "the sweep was here"
    )
    served = {
        name
        for process in PROCESSES
        for family in text_string_to_metric_families(watched_stack.text(process))
        for name in (family.name, *(f"{family.name}{suffix}" for suffix in ("_total", "_bucket", "_count", "_sum")))
    }
    read = set(re.findall(r"\bsluice_\w+", (ROOT / "docker" / "alerts.yml").read_text(encoding="utf-8")))
    assert read, "the alarms read no numbers at all"
    assert read <= served, f"not served: {sorted(read - served)}"


def test_flower_asks_for_its_password_and_shows_workers_and_their_tasks(
    watched_stack: WatchedStack, paid: dict[str, str]
) -> None:
    flower = watched_stack.run["flower"]
    assert requests.get(f"{flower}/workers", timeout=10).status_code == 401
    assert requests.get(f"{flower}/workers", auth=(FLOWER[0], "wrong"), timeout=10).status_code == 401

    def shown() -> dict[str, int] | None:
        answer = requests.get(f"{flower}/workers?json=1", auth=FLOWER, timeout=10)
        # Each worker adds six digits of its own to the name of its type.
        rows = {str(row["hostname"]).split("-")[0]: int(row.get("task-succeeded", 0)) for row in answer.json()["data"]}
        return rows if rows.get("settle") and rows.get("provider") else None

    wait_until(shown, "both workers are shown with tasks that they did")

    def done() -> set[str]:
        tasks = requests.get(f"{flower}/api/tasks", params={"limit": "500"}, auth=FLOWER, timeout=10).json()
        return {task["name"] for task in tasks.values() if task["state"] == "SUCCESS"}

    # The sweep comes every other second, and Flower hears of each task a moment later.
    wait_until(lambda: {"tasks.settle", "tasks.call_provider", "tasks.sweep"} <= done(), "each kind of task was done")


def test_secrets_are_on_no_command_line(watched_stack: WatchedStack) -> None:
    for process in watched_stack.processes():
        line = " ".join(process.cmdline())
        assert FLOWER[1] not in line, line
        assert TOKEN not in line, line
