"""Doorbells, hints and rate limits where sentinels name the master, and after they have named another."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import pytest
import redis

from app.cli.stack import open_runtime
from app.doctor.broker import examine_redis
from app.doctor.finding import Level
from app.local.embedded.valkey import find_valkey_binary
from app.local.readiness import node_answers
from app.local.spawn import launch, reserve_ports
from app.runtime.redis_client import open_client
from app.runtime.settings import Settings
from testbed.servers import Databases
from testbed.shop import make_shop
from testbed.waiting import wait_until
from tests.integration.runtime.process_nodes import WorkerProcess

PASSWORD = "a b"
FAIL_OVER_SECONDS = 30.0


@dataclass
class Group:
    """A master, a replica and a sentinel that watches them."""

    folder: Path
    ports: tuple[int, int, int]
    processes: list[Popen[bytes]]

    @property
    def url(self) -> str:
        """The URL with a sentinel that is not there before the one that is."""
        return f"sentinel://:a%20b@127.0.0.1:9;sentinel://127.0.0.1:{self.ports[2]}/0?master_name=pay"

    def run(self, name: str, *arguments: str, text: str = "") -> None:
        """Start one server with a configuration file of its own."""
        config = self.folder / f"{name}.conf"
        config.write_text(text + f'\nbind 127.0.0.1\ndir "{self.folder}"\n', encoding="ascii")
        argv = [str(find_valkey_binary()), str(config), *arguments]
        self.processes.append(launch(argv, log_path=self.folder / f"{name}.log"))

    def answers(self, port: int) -> bool:
        """Return whether a server answers."""
        with contextlib.suppress(redis.RedisError), redis.Redis(port=port, password=PASSWORD) as client:
            return bool(client.ping())
        return False


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    """Servers of the module's own, whose master may be killed."""
    ports = reserve_ports(3)
    made = Group(tmp_path_factory.mktemp("sentinel"), (ports[0], ports[1], ports[2]), [])
    login = f'requirepass "{PASSWORD}"\nmasterauth "{PASSWORD}"\nmaxmemory-policy noeviction\nsave ""\n'
    for number, name in enumerate(("one", "two")):
        replica = f"replicaof 127.0.0.1 {ports[0]}\n" if number else ""
        made.run(name, text=f"port {ports[number]}\ndbfilename {name}.rdb\n{login}{replica}")
    wait_until(lambda: made.answers(ports[0]) and made.answers(ports[1]), "both servers answer")
    watch = (
        f"port {ports[2]}\nsentinel monitor pay 127.0.0.1 {ports[0]} 1\n"
        f'sentinel auth-pass pay "{PASSWORD}"\nsentinel down-after-milliseconds pay 500\n'
        "sentinel failover-timeout pay 3000"
    )
    made.run("watch", "--sentinel", text=watch)
    with redis.Redis(port=ports[2]) as sentinel:
        wait_until(lambda: _knows_replica(sentinel), "the sentinel knows the replica")
    yield made
    for process in made.processes:
        process.kill()
        process.wait()


def _knows_replica(sentinel: redis.Redis) -> bool:
    with contextlib.suppress(redis.RedisError):
        return any(replica["master-link-status"] == "ok" for replica in sentinel.sentinel_slaves("pay"))
    return False


def test_a_fail_over_is_followed_by_everybody(group: Group, databases: Databases) -> None:
    environment = {**databases.environment, "REDIS_URL": group.url, "BROKER_URL": group.url}
    settings = Settings.from_environment(environment)
    findings = list(examine_redis(settings))
    assert not [finding for finding in findings if finding.level is Level.FAIL], findings
    worker = WorkerProcess("worker-settle", environment, databases.folder)
    try:
        with open_runtime(settings) as runtime:
            shop = make_shop(runtime)
            wait_until(lambda: node_answers(group.url, worker.worker_name()), "the worker answers", 40)
            before = shop.deposit()
            shop.deliver(shop.body(before))
            wait_until(lambda: shop.payment(before.id).status == "completed", "a doorbell is answered")

            group.processes[0].kill()
            group.processes[0].wait()
            client = open_client(group.url, socket_timeout=1)
            wait_until(lambda: _writes(client), "another master is named", FAIL_OVER_SECONDS)

            after = shop.deposit(user_id=f"user-{uuid.uuid4().hex[:8]}")
            shop.deliver(shop.body(after))

            def is_settled() -> bool:
                runtime.doorbells.ring_regardless("settle")
                return shop.payment(after.id).status == "completed"

            wait_until(is_settled, "a doorbell at the other master is answered", FAIL_OVER_SECONDS)
    finally:
        worker.kill("SIGTERM")


def _writes(client: redis.Redis) -> bool:
    with contextlib.suppress(redis.RedisError):
        return bool(client.set("sluice:test", 1))
    return False
