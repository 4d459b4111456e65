"""Steps of the start of a stack that wait for a database or a process that goes away meanwhile."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import requests
from sqlalchemy.exc import InterfaceError, OperationalError

from app.local.supervisor import StartFailed, Supervisor
from app.runtime.settings import Settings

# A server that restarts or fails over is back within some seconds; one that is not there at all should be reported
# while the operator still reads the terminal.
DATABASE_SECONDS = 20.0
DATABASE_POLL_SECONDS = 1.0
MERCHANT_SECONDS = 5.0  # One small write of the sandbox, which has just said that it is ready.


class Prepared(Protocol):
    """What the first steps on a database leave: the demo tenant, and variables for every process."""

    @property
    def secret_key(self) -> str: ...
    @property
    def tenant_id(self) -> object: ...
    @property
    def provider_id(self) -> object: ...
    @property
    def webhook_secret(self) -> str: ...
    @property
    def provider_api_key(self) -> str: ...
    @property
    def environment(self) -> Mapping[str, str]: ...


def prepare_patiently(settings: Settings, prepare: Callable[[Settings], Prepared], supervisor: Supervisor) -> Prepared:
    """Return what `prepare` returns; repeat it where the database goes away meanwhile, until it has been long enough.

    An embedded server that crashed is started again, and as long as it recovers the time does not count. The last error
    is raised.
    """
    deadline = time.monotonic() + DATABASE_SECONDS
    while True:
        try:
            return prepare(settings)
        except (OperationalError, InterfaceError) as error:
            if time.monotonic() > deadline:
                raise
            supervisor.report(f"The database does not answer yet ({str(error.orig).strip().splitlines()[0]})")
        while not supervisor.watch_servers():
            deadline = time.monotonic() + DATABASE_SECONDS
            time.sleep(DATABASE_POLL_SECONDS)
        time.sleep(DATABASE_POLL_SECONDS)


def register_merchant(sandbox_url: str, prepared: Prepared) -> None:
    """Open the demo tenant's account at the sandbox, as a person would at a provider's console."""
    account = {
        "api_key": prepared.provider_api_key,
        "provider_id": str(prepared.provider_id),
        "webhook_secret": prepared.webhook_secret,
    }
    answer = put_patiently(f"{sandbox_url}/control/merchants/demo", account)
    if answer.status_code != 200:
        raise StartFailed(
            f"the sandbox refused the demo tenant's account with {answer.status_code}: {answer.text[:200]}"
        )


def put_patiently(url: str, content: Mapping[str, str]) -> requests.Response:
    """Return the answer to a PUT, tried again for a while where nobody answers. Raise StartFailed after that."""
    deadline = time.monotonic() + MERCHANT_SECONDS
    with requests.Session() as session:
        session.trust_env = False
        while time.monotonic() < deadline:
            with contextlib.suppress(requests.RequestException):
                return session.put(url, json=content, timeout=MERCHANT_SECONDS)
            time.sleep(0.1)
    raise StartFailed(f"nobody answers at {url}")
