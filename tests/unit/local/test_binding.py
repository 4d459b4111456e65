"""Where a stack listens and how it calls itself, whatever form its address has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from app.local.processes import Ports, list_processes
from app.local.up import allow_local_providers, complete_sockets
from app.runtime.settings import Settings
from app.sockets.admission import list_own_origins


@pytest.mark.parametrize(
    ("bind", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "[::1]"),
        ("[::1]", "[::1]"),
        ("0.0.0.0", "127.0.0.1"),
        ("2001:db8::7", "[2001:db8::7]"),
    ],
)
def test_every_url_of_a_stack_has_its_host_as_urls_write_it(bind: str, host: str, tmp_path: Path) -> None:
    settings = Settings.from_environment({"SLUICE_BIND": bind, "SLUICE_SOCKETS_PORT": "8002"})
    assert settings.public_url == f"http://{host}:8000"
    assert settings.sandbox_public_url == settings.local_url(8001) == f"http://{host}:8001"
    assert complete_sockets(settings).sockets_public_url == f"http://{host}:8002"
    assert f"http://{host}:8000" in list_own_origins(settings)
    ports = Ports(settings.bind, 8000, 8002, 8001, 5555)
    assert {ports.url(port) for port in (8000, 8002)} == {
        f"http://{'[::1]' if bind == '::' else host}:{port}" for port in (8000, 8002)
    }
    argv = {process.name: process.argv for process in list_processes(ports, tmp_path)}
    bound = settings.bind if ":" not in settings.bind else f"[{settings.bind}]"
    assert f"{bound}:8002" in argv["sockets"]


@pytest.mark.parametrize("bind", ["::1", "[::1]", "127.0.0.1"])
def test_gunicorn_listens_where_its_settings_say(bind: str) -> None:
    program = "from app.sockets import gunicorn_settings as sockets; from app.web import gunicorn_settings as web;"
    program += " print(web.bind, sockets.bind)"
    environment = {"SLUICE_BIND": bind, "SLUICE_PORT": "8000", "SLUICE_SOCKETS_PORT": "8002", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment, timeout=60
    )
    host = bind if "." in bind else "[::1]"
    assert done.stdout.split() == [f"{host}:8000", f"{host}:8002"]


@pytest.mark.parametrize(
    ("bind", "allowed"),
    [
        ("127.0.0.1", {"127.0.0.1", "::1", "localhost"}),
        ("::1", {"127.0.0.1", "::1", "localhost"}),
        # Others reach the stack: of this machine only its own sandbox may be called.
        ("0.0.0.0", {"127.0.0.1:8001"}),
        ("192.0.2.1", {"192.0.2.1:8001"}),
    ],
)
def test_providers_on_this_machine_are_for_development(bind: str, allowed: set[str]) -> None:
    assert Settings.from_environment({"SLUICE_BIND": bind}).private_providers == ()
    settings = Settings.from_environment({"SLUICE_BIND": bind, "SLUICE_PRIVATE_PROVIDERS": "emulator"})
    assert set(allow_local_providers(settings).private_providers) == allowed | {"emulator"}
