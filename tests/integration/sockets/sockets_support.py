"""A real sockets process for tests, with rows of its own and clients that wait for conditions, not for time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import websocket
from celery import Celery
from redis import Redis
from sqlalchemy import text

from app.local.embedded import PostgresServer, ValkeyServer, embedded_postgres, embedded_valkey
from app.local.spawn import find_free_ports, launch, read_log_tail
from app.runtime.doorbells import Doorbells
from app.runtime.runtime import Runtime, connect_redis
from app.runtime.settings import Settings
from app.services.access.callers import create_client_token, new_credential
from app.services.records.notifications import number_tenants
from models import Database, new_id
from models.migrations import upgrade
from testbed.waiting import wait_until
from tests.integration.sockets.clients import Client, Stream
from tests.support.repository import ROOT

COMMAND = (sys.executable, "-m", "gunicorn", "--config", "python:app.sockets.gunicorn_settings")
ORIGIN = "https://shop.example"
PUBLIC_URL = "http://127.0.0.1:8000"


@dataclass
class Shop:
    """A tenant with a key, and what is written for its users."""

    stack: Stack
    tenant_id: uuid.UUID
    key_id: uuid.UUID
    secret_key: str

    def token(self, user_id: str = "ann", seconds: float | None = None) -> str:
        """Return a client token; one that ends in `seconds` where given."""
        token, _ = create_client_token(self.stack.runtime, self.tenant_id, self.key_id, user_id)
        if seconds is not None:
            self.stack.execute(
                "update client_tokens set expires_at = now() + make_interval(secs => :seconds)"
                " where public_part = :part",
                seconds=seconds,
                part=token.removeprefix("ct_").split(".")[0],
            )
        return token

    def write(self, *user_ids: str, text_bytes: int = 0) -> None:
        """Commit one unnumbered notification for each of the users; `text_bytes` makes it longer."""
        parameters = [
            {
                "id": new_id(),
                "tenant": self.tenant_id,
                "user": user_id,
                "payload": json.dumps({"user_id": user_id, "note": "x" * text_bytes}),
            }
            for user_id in user_ids
        ]
        with self.stack.runtime.database.transaction("worker") as connection:
            connection.execute(
                text(
                    "insert into notifications (id, tenant_id, user_id, payment_id, type, payload)"
                    " values (:id, :tenant, :user, :id, 'payment.completed', :payload)"
                ),
                parameters,
            )
            connection.execute(
                text(
                    "insert into notification_work (notification_id, tenant_id, user_id) values (:id, :tenant, :user)"
                ),
                parameters,
            )

    def number(self, *, published: bool = True) -> None:
        """Give out numbers as the worker does; without `published` the hint is lost."""
        number_tenants(self.stack.runtime if published else self.stack.silent_runtime, [self.tenant_id])

    def notify(self, *user_ids: str, text_bytes: int = 0) -> None:
        """Write, numbers and publish."""
        self.write(*user_ids, text_bytes=text_bytes)
        self.number()

    def revoke_key(self) -> None:
        """Revoke the key that the tokens were made with."""
        self.stack.execute("update api_keys set revoked_at = now() where id = :id", id=self.key_id)


@dataclass
class Stack:
    """Servers, a runtime of the test's own, and the sockets process under test."""

    postgres: PostgresServer
    valkey: ValkeyServer
    folder: Path
    runtime: Runtime
    silent_runtime: Runtime
    port: int = 0
    metrics_port: int = 0
    process: subprocess.Popen[bytes] | None = None
    sockets: list[Any] = field(default_factory=list)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log_path(self) -> Path:
        return self.folder / "sockets.log"

    def start(self) -> None:
        """Start the sockets process and waits until it hears hints."""
        self.port, self.metrics_port = find_free_ports(2)
        environment = {
            **os.environ,
            "DATABASE_URL": self.postgres.database_url,
            "REDIS_URL": self.valkey.url,
            "SLUICE_SOCKETS_PORT": str(self.port),
            "SLUICE_METRICS_PORT": str(self.metrics_port),
            "SLUICE_PUBLIC_URL": PUBLIC_URL,
            "SLUICE_HOME": str(self.folder),
        }
        argv = (*COMMAND, "app.sockets:create_app()")
        self.process = launch(argv, log_path=self.log_path, env=environment, cwd=ROOT, death_signal=signal.SIGTERM)
        wait_until(self.ready, f"sockets ready; {self.log_path}", 30)

    def ready(self) -> bool:
        """Tell whether the process answers and is subscribed."""
        assert self.process is None or self.process.poll() is None, read_log_tail(self.log_path)
        with contextlib.suppress(requests.RequestException):
            answer = requests.get(f"{self.base}/health/ready", timeout=2)
            return answer.status_code == 200 and answer.json()["status"] == "ok"
        return False

    def stop(self, seconds: float = 5.0) -> float:
        """Stop the process with SIGTERM; return how long it took."""
        assert self.process is not None
        started = time.monotonic()
        self.process.terminate()
        self.process.wait(seconds)
        return time.monotonic() - started

    def execute(self, sql: str, **values: object) -> None:
        """Run a statement as the operator."""
        database = Database(self.postgres.superuser_url, 1)
        with database.engine.begin() as connection:
            connection.execute(text(sql), values)
        database.engine.dispose()

    def make_shop(self) -> Shop:
        """Store a tenant that allows ORIGIN, with an admin key."""
        tenant_id, key_id, key = new_id(), new_id(), new_credential("sk")
        self.execute(
            "insert into tenants (id, name, allowed_origins) values (:id, :name, array[:origin])",
            id=tenant_id,
            name=str(tenant_id),
            origin=ORIGIN,
        )
        self.execute(
            "insert into api_keys (id, tenant_id, public_part, secret_sha256, role)"
            " values (:id, :tenant, :part, :sha256, 'admin')",
            id=key_id,
            tenant=tenant_id,
            part=key.public_part,
            sha256=key.secret_sha256,
        )
        return Shop(self, tenant_id, key_id, key.plain)

    def connect(self, token: str, after: int | None = None, **options: Any) -> Client:
        """Open a WebSocket; raise websocket.WebSocketBadStatusException where it is refused."""
        query = "" if after is None else f"?after={after}"
        options.setdefault("subprotocols", ["sluice.v1", f"sluice.token.{token}"])
        options.setdefault("suppress_origin", "origin" not in options)
        sock = websocket.create_connection(f"ws://127.0.0.1:{self.port}/ws{query}", timeout=10, **options)
        self.sockets.append(sock)
        return Client(sock)

    def refusal(self, token: str, after: int | None = None, **options: Any) -> tuple[int, dict[str, Any]]:
        """Return status and problem of a WebSocket that must be refused."""
        try:
            self.connect(token, after, **options)
        except websocket.WebSocketBadStatusException as error:
            body = error.resp_body or b"{}"
            return int(error.status_code), json.loads(body)
        raise AssertionError("the socket was accepted")

    def stream(self, token: str = "", query: str = "", **headers: str) -> Stream:
        """Open an event stream, refused or not."""
        if token:
            headers["Authorization"] = f"Bearer {token}"
        answer = requests.get(f"{self.base}/api/stream{query}", headers=headers, stream=True, timeout=10)
        self.sockets.append(answer)
        return Stream(answer)

    def close_clients(self) -> None:
        """Close what the test left open."""
        for sock in self.sockets:
            # Without the closing handshake, for which a process that was stopped would be waited for.
            getattr(sock, "shutdown", sock.close)()
        self.sockets.clear()


@contextlib.contextmanager
def make_stack(postgres: PostgresServer, valkey: ValkeyServer, folder: Path) -> Iterator[Stack]:
    """A stack with a migrated database and a running sockets process."""
    upgrade(postgres.owner_database_url, postgres.database_url)
    environment = {"DATABASE_URL": postgres.database_url, "REDIS_URL": valkey.url, "SLUICE_HOME": str(folder)}
    settings = Settings.from_environment(environment)
    database = Database(postgres.database_url)
    celery = Celery(broker=valkey.url)
    redis = connect_redis(valkey.url)
    # A port on which nobody listens: rings and hints are lost, as with a Redis that is down.
    (nowhere,) = find_free_ports(1)
    deaf = Redis(port=nowhere, socket_connect_timeout=0.1)
    stack = Stack(
        postgres,
        valkey,
        folder,
        Runtime(settings, database, redis, Doorbells(redis, celery)),
        Runtime(settings, database, deaf, Doorbells(deaf, celery)),
    )
    stack.start()
    try:
        yield stack
    finally:
        stack.close_clients()
        if stack.process is not None and stack.process.poll() is None:
            stack.stop()
        database.engine.dispose()
        redis.close()
        celery.close()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of the module's own, whose servers its tests may stop and start."""
    folder = tmp_path_factory.mktemp("sockets")
    with (
        embedded_postgres(folder / "pg") as postgres,
        embedded_valkey(folder / "vk") as valkey,
        make_stack(postgres, valkey, folder) as made,
    ):
        yield made


@pytest.fixture
def shop(stack: Stack) -> Iterator[Shop]:
    """A tenant of the test's own; its connections are closed afterwards."""
    yield stack.make_shop()
    stack.close_clients()
