"""Find the stack that a command addresses: in the environment, then in run.json of `sluice up`."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from celery import Celery

from app.local.run_folder import read_run_file
from app.runtime.broker.urls import configure_broker
from app.runtime.doorbells import Doorbells
from app.runtime.runtime import Runtime, connect_redis, open_database
from app.runtime.settings import LOGIN_VARIABLES, Settings

# A command needs one connection; the second is for a query during an open transaction.
POOL_SIZE = 2
BROKER_SECONDS = 1.0  # A command does not wait for an unreachable broker: the sweep rings instead.

# The variables that each source fills: run.json, its `login_urls`, and demo.json.
_RUN = {
    "DATABASE_URL": "database_url",
    "DATABASE_OWNER_URL": "owner_database_url",
    "SLUICE_PUBLIC_URL": "web",
    "SLUICE_SOCKETS_PUBLIC_URL": "sockets",
    "SLUICE_SANDBOX_PUBLIC_URL": "sandbox",
    "SLUICE_PRIVATE_PROVIDERS": "private_providers",
    "SLUICE_STACK_PORTS": "stack_ports",
}
_REDIS = {"REDIS_URL": "redis_url", "BROKER_URL": "broker_url"}
_LOGINS = {variable: name for name, variable in LOGIN_VARIABLES.items()}
_DEMO = {
    "SLUICE_ENCRYPTION_KEYS": "encryption_key",
    "SLUICE_DEMO_TENANT_ID": "tenant_id",
    "SLUICE_DEMO_KEY_ID": "key_id",
}


class NoStack(click.ClickException):
    """No stack runs in SLUICE_HOME, and the environment configures none."""


def find_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of the stack that the command addresses.

    Raise NoStack where there is none, SettingsError where a variable cannot be used.
    """
    env = dict(os.environ if environment is None else environment)
    home = Settings.from_environment(env).home
    run = read_run_file(home)
    # Commands are the process type `operator`, whatever process they are called from.
    env["SLUICE_PROCESS"] = "operator"
    if run is None and not env.get("DATABASE_URL") and not env.get(LOGIN_VARIABLES["operator"]):
        raise NoStack(
            f"no stack is ready in {home}: start one (make run), set SLUICE_HOME to where it runs,"
            " or set DATABASE_OPERATOR_URL (or DATABASE_URL) and REDIS_URL"
        )
    return Settings.from_environment(_complete(env, home, run or {}))


def _complete(env: dict[str, str], home: Path, run: Mapping[str, Any]) -> dict[str, str]:
    """Add the running stack's values for variables that are not set.

    An address in the environment that differs from the running stack's means another installation: then none of that
    stack's values for its database or its Redis are used, in particular not its encryption key.
    """
    logins = run.get("login_urls", {})
    own = {"DATABASE_URL": run.get("database_url")} | {key: logins.get(name) for key, name in _LOGINS.items()}
    same_database = all(env.get(variable) in (None, "", url) for variable, url in own.items())
    same_redis = env.get("REDIS_URL") in (None, "", run.get("redis_url"))
    if same_database:
        _fill(env, _RUN, run)
        _fill(env, _LOGINS, logins)
        with contextlib.suppress(FileNotFoundError):
            _fill(env, _DEMO, json.loads((home / "demo.json").read_text(encoding="utf-8")))
    if same_redis and same_database:
        _fill(env, _REDIS, run)
    return env


def _fill(env: dict[str, str], names: Mapping[str, str], values: Mapping[str, Any]) -> None:
    for variable, key in names.items():
        if not env.get(variable) and values.get(key):
            env[variable] = str(values[key])


@contextlib.contextmanager
def open_runtime(settings: Settings | None = None) -> Iterator[Runtime]:
    """Yield a runtime of the stack and close its connections afterwards."""
    found = settings or find_settings()
    redis, celery = connect_redis(found.required("redis_url")), _celery(found)
    runtime = Runtime(found, open_database(found, POOL_SIZE), redis, Doorbells(redis, celery))
    try:
        yield runtime
    finally:
        runtime.database.engine.dispose()
        redis.close()
        celery.close()


def _celery(settings: Settings) -> Celery:
    """Return a Celery application for the stack's broker; the process's own one reads only the environment."""
    celery = Celery("sluice", set_as_current=False)
    celery.config_from_object("celeryconfig")
    configure_broker(celery, settings.required("broker_url"), seconds=BROKER_SECONDS)
    return celery
