"""What the environment of a cluster may hold without changing Sluice's settings."""

from __future__ import annotations

import pytest

from app.local.processes import Ports, list_processes
from app.runtime.settings import Settings, SettingsError
from sandbox.settings import SandboxSettings

NUMBERS = (
    *("SLUICE_PORT", "SLUICE_SANDBOX_PORT", "SLUICE_FLOWER_PORT", "SLUICE_SOCKETS_PORT", "SLUICE_METRICS_PORT"),
    *("SLUICE_WEB_WORKERS", "SLUICE_PROVIDER_CALLS", "SLUICE_PREPARED_STATEMENTS", "SLUICE_DRAIN_SECONDS"),
    "TRUSTED_PROXIES",
)
ADDRESSES = ("tcp://10.0.0.1:8000", "udp://10.0.0.1:53", "tcp://[fd00::1]:8000")


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("name", NUMBERS)
def test_an_address_made_from_a_service_counts_as_not_set(name: str, address: str) -> None:
    assert Settings.from_environment({name: address}) == Settings.from_environment({})


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_sandbox_ignores_them_too(address: str) -> None:
    found = SandboxSettings.from_environment({"SLUICE_SANDBOX_PORT": address})
    assert found == SandboxSettings.from_environment({})


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["tcp://", "http://10.0.0.1:8000", "8000 tcp", "-1", "1e3", "٨"])
def test_any_other_text_is_refused_with_the_variables_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_environment({name: value})


def test_no_process_gets_them_in_its_environment(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Also the variables of programs that Sluice starts: Flower would not start with such a FLOWER_PORT."""
    outer = {"FLOWER_PORT": "tcp://10.0.0.1:5555", "SLUICE_PORT": "tcp://10.0.0.1:8000", "KEPT": "tcp://"}
    for process in list_processes(Ports("127.0.0.1", 1, 2, 3, 4), tmp_path_factory.mktemp("home")):
        environment = process.environment(outer)
        assert environment["KEPT"] == "tcp://"
        assert "FLOWER_PORT" not in environment
        assert environment.get("SLUICE_PORT", "1") == "1"
