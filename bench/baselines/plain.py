"""The plain baseline, running: Flask with gunicorn's threads, Celery with one task a call and one a webhook.

No sweep, no tenants, no notifications, single entry: what most teams would write in two days, and tune in one more.
"""

from __future__ import annotations

import contextlib
import secrets
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from app.local.readiness import url_answers
from app.local.spawn import reserve_ports
from bench.baselines.processes import run_program
from bench.baselines.task_worker import TaskWorker, launch_worker
from bench.figures import BenchFailed
from bench.filling import AMOUNT_MINOR, CURRENCY
from models.database_urls import psycopg2_url
from testbed.servers import Databases, Servers
from testbed.shop import NOWHERE
from testbed.stack import START_SECONDS
from testbed.waiting import wait_until

MODULE = "bench.baselines.plain_"
# Threads were cheaper than gevent: two processes of eight.
WEB_FLAGS = ("--worker-class", "gthread", "--workers", "2", "--threads", "8", "--log-level", "warning")
WEBHOOK_FLAGS = ("--pool", "prefork", "--concurrency", "2")
CALL_TASK = "call_provider"
# As plain_tasks names them.
CALLS, WEBHOOKS = "calls", "webhooks"
_FILL = """
insert into plain.payments (id, idempotency_key, user_id, amount_minor, currency, status, provider_reference)
select id, id::text, 'user-' || n % :users, :amount_minor, :currency, :status,
       case :status when 'pending' then null else 'sbx_' || id end
from (select n, gen_random_uuid() as id from generate_series(1, :count) as n) as made returning id
"""


@dataclass
class PlainStack:
    """The baseline on a database and a broker of its own."""

    servers: Servers
    databases: Databases
    webhook_secret: str
    provider_url: str
    key: str = field(default_factory=lambda: "key_" + secrets.token_hex(12))
    port: int = field(default_factory=lambda: reserve_ports(1)[0])
    running: dict[str, int] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What each of its processes needs."""
        return {
            "PLAIN_DATABASE_URL": psycopg2_url(self.databases.superuser_url),
            "PLAIN_BROKER_URL": self.databases.redis_url,
            "PLAIN_SECRET": self.webhook_secret,
            "PLAIN_PROVIDER_URL": self.provider_url,
            "PLAIN_KEY": self.key,
        }

    @contextlib.contextmanager
    def open_web(self) -> Iterator[None]:
        """Run the web half."""
        argv = (sys.executable, "-m", "gunicorn", *WEB_FLAGS, "--bind", f"127.0.0.1:{self.port}", MODULE + "web:app")
        with run_program(self.servers, "plain-web", argv, **self.environment) as process:
            wait_until(lambda: url_answers(f"http://127.0.0.1:{self.port}/health"), "plain web works", START_SECONDS)
            self.running["web"] = process.pid
            yield

    @contextlib.contextmanager
    def open_worker(self, queue: str, *flags: str, pool: int = 2) -> Iterator[TaskWorker]:
        """Run a worker; each of its processes may keep `pool` database connections."""
        environment = {**self.environment, "PLAIN_POOL": str(pool)}
        name, url = f"plain-{queue}", self.databases.redis_url
        launched = launch_worker(self.servers, MODULE + "tasks", name, queue, url, *flags, **environment)
        with launched as worker:
            wait_until(worker.answers, f"{name} answers", START_SECONDS)
            yield worker

    def fill_payments(self, count: int, users: int, status: str = "pending") -> list[uuid.UUID]:
        """Make payments, with the provider's reference unless they are pending; return their ids."""
        values = {"amount_minor": AMOUNT_MINOR, "currency": CURRENCY, "status": status}
        return [row["id"] for row in self.databases.rows(_FILL, count=count, users=users, **values)]

    def count_completed(self) -> int:
        """Return how many payments are credited."""
        return int(self.databases.value("select count(*) from plain.payments where status = 'completed'"))


def call_flags(threads: int) -> tuple[str, ...]:
    """Return the flags of the worker that calls the provider: it waits on the network, in threads."""
    return ("--pool", "threads", "--concurrency", str(threads))


@contextlib.contextmanager
def open_plain(servers: Servers, webhook_secret: str, provider_url: str = NOWHERE) -> Iterator[PlainStack]:
    """Give the baseline with its tables, of which nothing runs yet."""
    with servers.open_databases() as databases:
        stack = PlainStack(servers, databases, webhook_secret, provider_url)
        make = "from bench.baselines import plain_model as m; m.PlainTable.metadata.create_all(m.engine)"
        databases.rows("create schema plain")
        with run_program(servers, "plain-tables", (sys.executable, "-c", make), **stack.environment) as process:
            if process.wait():
                raise BenchFailed("the baseline's tables could not be made")
        yield stack
