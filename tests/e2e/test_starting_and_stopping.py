"""`sluice up` on one home: what it leaves, what it keeps, what it refuses, and how it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest

from app.local.processes import SECRET_NAME, Ports, list_processes
from app.local.spawn import reserve_ports
from app.runtime.settings import LOGIN_VARIABLES
from models.database_urls import parse_url
from models.logins import LOGIN_ROLES
from testbed.waiting import wait_until
from tests.e2e.frontend import Frontend, PayPage, SocketClosed, assert_credited_once
from tests.support.supervised_stack import SECOND_START_SECONDS, STOP_SECONDS, SupervisedStack, list_living


@pytest.fixture(scope="module")
def home_of_one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SupervisedStack]:
    """Provide a home that is started and stopped again and again."""
    running = SupervisedStack(tmp_path_factory.mktemp("own") / "home")
    yield running
    running.end()


@pytest.fixture
def own_stack(home_of_one: SupervisedStack) -> SupervisedStack:
    """Provide a stack that the test may stop, running."""
    if not home_of_one.running:
        home_of_one.start()
    return home_of_one


def refused_start(contender: SupervisedStack) -> str:
    """Start a stack that may not start, and return what it said."""
    process = contender.launch()
    assert process.wait(30) == 1
    assert "Traceback" not in contender.output
    assert "sluice ready" not in contender.output
    return contender.output


def test_what_a_ready_stack_reports(full_stack: SupervisedStack) -> None:
    run = full_stack.run
    assert stat.S_IMODE((full_stack.home / "run.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((full_stack.home / "demo.json").stat().st_mode) == 0o600
    assert {"web", "sockets", "sandbox", "flower", "secret_key", "tenant", "provider_id", "webhook_secret"} < set(run)
    assert {"database_url", "owner_database_url", "redis_url", "pids"} < set(run)
    assert all(psutil.pid_exists(pid) for pid in run["pids"].values())
    assert run["secret_key"] in full_stack.output
    assert f"\nsluice ready {run['web']}/demo\n" in full_stack.output
    for url in (f"{run['web']}/demo", f"{run['web']}/health/work", f"{run['sandbox']}/health", f"{run['flower']}/"):
        assert full_stack.http.get(url, timeout=5).status_code == 200


def test_only_loopback_is_bound(full_stack: SupervisedStack) -> None:
    listening = {
        connection.laddr.ip
        for process in full_stack.processes()
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_a_second_stack_on_the_same_home_is_refused(full_stack: SupervisedStack) -> None:
    contender = SupervisedStack(full_stack.home)
    contender.output_path = full_stack.home.with_name("contender.out")
    said = refused_start(contender)
    assert str(full_stack.home) in said
    assert f"process {full_stack.run['pids']['supervisor']}" in said


@pytest.mark.parametrize(
    ("place", "variable"), [(0, "SLUICE_PORT"), (1, "SLUICE_SANDBOX_PORT"), (2, "SLUICE_FLOWER_PORT")]
)
def test_a_taken_port_is_named(
    full_stack: SupervisedStack, tmp_path_factory: pytest.TempPathFactory, place: int, variable: str
) -> None:
    ports = reserve_ports(3)
    ports[place] = full_stack.ports[place]
    contender = SupervisedStack(tmp_path_factory.mktemp("contender") / "home", ports=(ports[0], ports[1], ports[2]))
    said = refused_start(contender)
    assert str(full_stack.ports[place]) in said
    assert variable in said
    assert not (contender.home / "run.json").exists()


def test_a_second_start_keeps_everything(own_stack: SupervisedStack) -> None:
    frontend = Frontend(own_stack)
    listener = frontend.listen()
    paid, open_payment = frontend.deposit("12.50"), frontend.deposit("7.00")
    PayPage(paid["redirect_url"]).press("Pay")
    seen = listener.wait_for("payment.completed", paid["id"])
    before = own_stack.run
    wallet, entries = frontend.wallet(), frontend.entries()

    # Also with the socket still open.
    assert own_stack.stop() < STOP_SECONDS
    with pytest.raises(SocketClosed, match="1012"):
        listener.wait_for("payment.failed", paid["id"])
    listener.close()
    assert own_stack.output.endswith("sluice stopped\n")

    assert own_stack.start() < SECOND_START_SECONDS * count_waiting()
    kept = ("secret_key", "tenant", "provider_id", "webhook_secret")
    assert {name: own_stack.run[name] for name in kept} == {name: before[name] for name in kept}
    assert (frontend.wallet(), frontend.entries()) == (wallet, entries)
    assert frontend.wallet()["balance"] == "12.50"
    assert frontend.wallet()["pending"] == "7.00"
    # The open payment continues on the same page, and the token is still valid.
    resumed = frontend.listen(after=seen["id"])
    assert resumed.hello["resumed"] is True
    PayPage(open_payment["redirect_url"]).press("Pay")
    resumed.wait_for("payment.completed", open_payment["id"])
    resumed.close()
    assert_credited_once(own_stack, open_payment["id"], 700)
    assert frontend.wallet()["balance"] == "19.50"


def count_waiting() -> float:
    """Return how many processes share one processor at present, at least 1: what starts here gets that part of it."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def test_nothing_outlives_a_supervisor_killed_after_its_guard(own_stack: SupervisedStack) -> None:
    """Nor one whose guard it could not replace: the kernel ends each process with the one that started it."""
    processes = own_stack.processes()
    guard = psutil.Process(own_stack.run["pids"]["guard"])
    psutil.Process(own_stack.run["pids"]["supervisor"]).suspend()
    guard.kill()
    own_stack.kill_supervisor()
    wait_until(lambda: not list_living(processes), "every process is gone", STOP_SECONDS)


def test_nothing_outlives_a_killed_supervisor(own_stack: SupervisedStack) -> None:
    frontend = Frontend(own_stack)
    payment = frontend.deposit("3.00")
    processes = own_stack.processes()
    own_stack.kill_supervisor()
    wait_until(lambda: not list_living(processes), "every process is gone", STOP_SECONDS)
    # The next start finds a crashed PostgreSQL and a run.json of nobody, and minds neither.
    own_stack.start()
    assert set(own_stack.run["pids"].values()).isdisjoint(process.pid for process in processes)
    PayPage(payment["redirect_url"]).press("Pay")
    frontend.wait_until_status(payment["id"], "completed")
    assert_credited_once(own_stack, payment["id"], 300)
    assert own_stack.stop(signal.SIGINT) < STOP_SECONDS


def read_environment(pid: int) -> dict[str, str]:
    """Return the environment that a process was started with."""
    entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(entry.decode().split("=", 1) for entry in entries if b"=" in entry)


def test_each_process_has_the_secrets_that_it_needs_and_a_login_that_acts_as_no_other(
    full_stack: SupervisedStack,
) -> None:
    processes = {process.name: process for process in list_processes(Ports("127.0.0.1", 1, 2, 3, 4), full_stack.home)}
    logins = {}
    for name, process in processes.items():
        environment = read_environment(full_stack.run["pids"][name])
        secrets = {key for key in environment if SECRET_NAME.fullmatch(key)}
        allowed = {variable for group in process.needs for variable in group}
        own = {LOGIN_VARIABLES[process.login]} if process.login else set()
        assert secrets - allowed == own, name
        encrypts = name in ("web", "worker-provider", "worker-deliver")
        assert ("SLUICE_ENCRYPTION_KEYS" in secrets) is encrypts, name
        if own:
            logins[process.login] = environment[LOGIN_VARIABLES[process.login]]
    logins["operator"] = full_stack.run["login_urls"]["operator"]
    assert logins == full_stack.run["login_urls"]
    assert len({parse_url(url).username for url in logins.values()}) == len(LOGIN_ROLES)
    for process_type, url in logins.items():
        assert list_roles(url) == {f"sluice_{role}" for role in LOGIN_ROLES[process_type].roles}, process_type


def list_roles(url: str) -> set[str]:
    """Return the roles that a login may act as, found by trying all there are."""
    allowed = set()
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("select rolname from pg_roles where rolname <> session_user and rolname !~ '^pg_'")
        for (role,) in cursor.fetchall():
            with contextlib.suppress(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(f"set role {role}")
                allowed.add(role)
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute("reset role; select 1 from payment_transactions")
    return allowed
