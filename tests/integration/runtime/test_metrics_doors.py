"""Who may read the numbers, and what they say when something is away."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import requests
from sqlalchemy import text

from app.local.processes import Ports, list_processes
from app.local.spawn import reserve_ports
from app.runtime.runtime import Runtime
from app.runtime.settings import Settings, SettingsError
from app.services.upkeep import backlog
from models import new_id
from testbed.shop import Shop
from testbed.stack import Stack
from testbed.waiting import wait_until

# /health and /metrics answer within this also while Redis takes no connections.
ANSWER_SECONDS = 3.0


@pytest.fixture(scope="module")
def metrics(stack: Stack) -> str:
    """Provide the URL of a web process that has no metrics token and a Redis that is not there."""
    (nowhere,) = reserve_ports(1)
    stack.start("web", REDIS_URL=f"redis://127.0.0.1:{nowhere}/0", BROKER_URL=f"redis://127.0.0.1:{nowhere}/0")
    return f"{stack.web}/metrics"


def test_this_machine_may_read_without_a_token(metrics: str) -> None:
    answer = requests.get(metrics, timeout=10)
    assert answer.status_code == 200
    assert "sluice_database_up 1.0" in answer.text


def test_what_comes_through_an_unnamed_proxy_is_not_this_machine(metrics: str) -> None:
    assert requests.get(metrics, headers={"X-Forwarded-For": "203.0.113.9"}, timeout=10).status_code == 403
    assert requests.get(metrics, headers={"Forwarded": "for=203.0.113.9"}, timeout=10).status_code == 403


@pytest.mark.parametrize("forwarded", ["203.0.113.7:51008", "[2001:db8::7]:443", "[::1", "nonsense", "", "127.0.0.1"])
def test_no_form_of_a_forwarded_address_is_an_error(metrics: str, forwarded: str) -> None:
    assert requests.get(metrics, headers={"X-Forwarded-For": forwarded}, timeout=10).status_code == 403


@pytest.mark.serial
def test_redis_that_is_away_is_reported_and_delays_nobody(metrics: str) -> None:
    began = time.monotonic()
    text = requests.get(metrics, timeout=10).text
    assert time.monotonic() - began < ANSWER_SECONDS
    assert "sluice_redis_up 0.0" in text
    assert "sluice_database_up 1.0" in text


def test_a_killed_process_leaves_its_counts_and_not_its_gauges(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import time
        from app.runtime.metrics import POOL_IN_USE, SETTLE_BATCH, WEBHOOKS_SETTLED
        WEBHOOKS_SETTLED.labels("applied").inc(3)
        POOL_IN_USE.inc(7)
        print("counted", flush=True)
        time.sleep(600)
        """
    )
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    counting = subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE)
    assert counting.stdout is not None
    assert counting.stdout.readline() == b"counted\n"
    assert collect(environment)["sluice_pool_connections_in_use"] == 7
    counting.kill()
    counting.wait()
    counting.stdout.close()
    found = collect(environment)
    assert found.get("sluice_pool_connections_in_use", 0) == 0
    assert found['sluice_webhooks_settled_total{verdict="applied"}'] == 3


def collect(environment: dict[str, str]) -> dict[str, float]:
    """Return what a process that shares the folder would serve."""
    program = "from app.http.metrics_server import collect_counters; print(collect_counters().decode())"
    text = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True, text=True)
    lines = [line.rsplit(" ", 1) for line in text.stdout.splitlines() if line.startswith("sluice_")]
    return {name: float(value) for name, value in lines}


def test_flower_is_not_started_beyond_loopback_without_a_password(tmp_path: Path) -> None:
    ports = Ports("0.0.0.0", *reserve_ports(4))
    flower = {process.name: process for process in list_processes(ports, tmp_path)}["flower"]
    with pytest.raises(SettingsError, match="SLUICE_FLOWER_AUTH"):
        flower.run()
    assert "--address=127.0.0.1" in flower.argv, "with other processes it stays on this machine"
    allowed = {process.name: process for process in list_processes(ports, tmp_path, flower_auth="a:b")}["flower"]
    assert "--address=0.0.0.0" in allowed.argv
    assert not allowed.refusal


@pytest.mark.parametrize("value", ["operator", "operator:", ":password", "a:b,c"])
def test_a_password_for_flower_has_a_user_and_is_never_repeated(value: str) -> None:
    with pytest.raises(SettingsError, match="SLUICE_FLOWER_AUTH") as raised:
        Settings.from_environment({"SLUICE_FLOWER_AUTH": value})
    assert "password" not in str(raised.value).replace("user:password", "")


def test_a_port_that_is_taken_stops_no_process(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import os, socket
        from app.http.metrics_server import serve_metrics
        taken = socket.create_server(("127.0.0.1", 0))
        os.environ["SLUICE_METRICS_PORT"] = str(taken.getsockname()[1])
        serve_metrics()
        print("goes on")
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("goes on\n")
    assert "metrics_not_served" in done.stdout + done.stderr


def test_without_a_token_a_port_of_its_own_is_for_this_machine_only() -> None:
    (port,) = reserve_ports(1)
    program = textwrap.dedent(
        """
        import time
        from app.http.metrics_server import serve_metrics
        serve_metrics()
        time.sleep(600)
        """
    )
    environment = {**os.environ, "SLUICE_METRICS_PORT": str(port), "SLUICE_BIND": "0.0.0.0", "SLUICE_METRICS_TOKEN": ""}
    serving = subprocess.Popen([sys.executable, "-c", program], env=environment)
    try:
        wait_until(lambda: listens_on(port), "the port is served")
        assert listens_on(port) == {"127.0.0.1"}
        assert requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).status_code == 200
        assert requests.get(f"http://127.0.0.1:{port}/", timeout=10).status_code == 404
    finally:
        serving.kill()
        serving.wait()


def listens_on(port: int) -> set[str]:
    """Return the IPv4 addresses that a port is served on."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    ends = [row[1].split(":") for row in rows if row[3] == "0A"]
    return {
        ".".join(str(byte) for byte in reversed(bytes.fromhex(address))) for address, at in ends if int(at, 16) == port
    }


def test_work_that_nobody_does_is_an_alarm_once_an_hour(runtime: Runtime, tenant: Shop) -> None:
    backlog.raise_overdue(runtime)
    assert overdue_alarms(runtime) == []
    delivery = (
        "insert into webhook_work (webhook_id, tenant_id, due_at) values (:id, :tenant, now() - interval '1 hour')"
    )
    with runtime.database.transaction("worker") as connection:
        connection.execute(text(delivery), {"id": new_id(), "tenant": tenant.tenant_id})
    backlog.raise_overdue(runtime)
    backlog.raise_overdue(runtime)
    assert overdue_alarms(runtime) == ["settle"]


def overdue_alarms(runtime: Runtime) -> list[str]:
    """Return the kinds of work for which an alarm was raised."""
    with runtime.database.transaction("worker") as connection:
        query = "select detail ->> 'queue' from alerts where kind = 'work_overdue' and due_at is not null"
        return list(connection.execute(text(query)).scalars())
