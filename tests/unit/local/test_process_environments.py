"""What each process type gets of an environment that holds every secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.local.processes import SECRET_NAME, Ports, list_processes
from app.runtime.settings import LOGIN_VARIABLES, Settings, SettingsError

PORTS = Ports("127.0.0.1", 8000, 8002, 8001, 5555)
PROCESSES = {process.name: process for process in list_processes(PORTS, Path("/home"), flower_auth="u:p")}
SHARED = {
    "DATABASE_URL": "postgresql://all@db/sluice",
    "DATABASE_OWNER_URL": "postgresql://owner@db/sluice",
    "REDIS_URL": "redis://cache",
    "BROKER_URL": "redis://broker",
    "SLUICE_ENCRYPTION_KEYS": "keys",
    "SLUICE_METRICS_TOKEN": "token",
    "SLUICE_FLOWER_AUTH": "user:password",
    "ALERT_URL": "https://pager.example/t0ken",
    "ALERT_SECRET": "whsec_x",
    "SANDBOX_CONTROL_KEY": "control",
    "PGPASSWORD": "word",
}
LOGINS = {variable: f"postgresql://{name}@db/sluice" for name, variable in LOGIN_VARIABLES.items()}
# Of others: nobody gets them, whatever they are for.
FOREIGN = {"GITHUB_TOKEN": "x", "AWS_SECRET_ACCESS_KEY": "x", "SLUICE_NEW_SECRET": "x", "DATABASE_CONSOLE_URL": "x"}
PLAIN = {"PATH": "/bin", "SLUICE_BIND": "127.0.0.1", "SLUICE_DEMO_KEY_ID": "id", "LANG": "C", "TRUSTED_PROXIES": "1"}

METERED = {"SLUICE_METRICS_TOKEN"}
ALLOWED = {
    "web": {"DATABASE_WEB_URL", "PGPASSWORD", "REDIS_URL", "BROKER_URL", "SLUICE_ENCRYPTION_KEYS"} | METERED,
    "sockets": {"DATABASE_SOCKETS_URL", "PGPASSWORD", "REDIS_URL"} | METERED,
    "worker-settle": {"DATABASE_SETTLE_URL", "PGPASSWORD", "REDIS_URL", "BROKER_URL"} | METERED,
    "worker-provider": {
        *("DATABASE_PROVIDER_URL", "PGPASSWORD", "REDIS_URL", "BROKER_URL", "SLUICE_ENCRYPTION_KEYS"),
        *("ALERT_URL", "ALERT_SECRET", *METERED),
    },
    "worker-deliver": {
        *("DATABASE_DELIVER_URL", "PGPASSWORD", "REDIS_URL", "BROKER_URL", "SLUICE_ENCRYPTION_KEYS", *METERED),
    },
    "beat": {"DATABASE_BEAT_URL", "PGPASSWORD", "BROKER_URL"} | METERED,
    "flower": {"BROKER_URL", "FLOWER_BASIC_AUTH"},
    "sandbox": {"SANDBOX_CONTROL_KEY"},
}


def secrets_of(name: str, outer: dict[str, str]) -> set[str]:
    """Name of the variables of secrets that a process gets."""
    return {key for key in PROCESSES[name].environment(outer) if SECRET_NAME.fullmatch(key)}


def test_there_is_a_line_for_every_process_type() -> None:
    assert ALLOWED.keys() == PROCESSES.keys()


@pytest.mark.parametrize("name", ALLOWED)
def test_a_process_gets_the_secrets_that_it_needs_and_no_other(name: str) -> None:
    assert all(SECRET_NAME.fullmatch(key) for key in SHARED | LOGINS | FOREIGN)
    outer = SHARED | LOGINS | FOREIGN | PLAIN
    assert secrets_of(name, outer) == ALLOWED[name]
    assert PROCESSES[name].environment(outer).items() >= PLAIN.items()


@pytest.mark.parametrize("name", ALLOWED)
def test_without_logins_of_their_own_processes_share_the_default(name: str) -> None:
    own = {variable for variable in ALLOWED[name] if variable in LOGINS}
    expected = {"DATABASE_URL" if variable in own else variable for variable in ALLOWED[name]}
    assert secrets_of(name, SHARED) == expected


@pytest.mark.parametrize("name", ["flower", "beat", "worker-settle"])
def test_without_a_broker_of_its_own_redis_is_the_broker(name: str) -> None:
    outer = {key: value for key, value in SHARED.items() if key != "BROKER_URL"}
    assert "REDIS_URL" in secrets_of(name, outer)


@pytest.mark.parametrize(("process", "name"), [("web", "web"), ("worker-settle", "settle"), ("operator", "operator")])
def test_settings_take_the_login_of_their_process_type(process: str, name: str) -> None:
    settings = Settings.from_environment(SHARED | LOGINS | {"SLUICE_PROCESS": process})
    assert settings.database_url == LOGINS[LOGIN_VARIABLES[name]]
    assert Settings.from_environment(SHARED | {"SLUICE_PROCESS": process}).database_url == SHARED["DATABASE_URL"]
    with pytest.raises(SettingsError, match=f"^{LOGIN_VARIABLES[name]} or DATABASE_URL is not set$"):
        Settings.from_environment({"SLUICE_PROCESS": process}).required("database_url")


@pytest.mark.parametrize("variable", ["DATABASE_URL", "DATABASE_OWNER_URL", "DATABASE_WEB_URL"])
@pytest.mark.parametrize("url", ["mysql://u:hidden@h/db", "postgresql://u:hidden@h:port/db", "u:hidden@h", "//hidden"])
def test_a_url_that_names_no_database_is_refused_without_being_repeated(variable: str, url: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable} ") as refused:
        Settings.from_environment({variable: url})
    assert "hidden" not in str(refused.value)


def test_workers_of_one_host_have_names_of_their_own() -> None:
    others = {process.name: process for process in list_processes(PORTS, Path("/home"))}
    for name in ("worker-settle", "worker-provider"):
        assert PROCESSES[name].node != others[name].node
        assert f"{others[name].node}@%h" in others[name].argv
