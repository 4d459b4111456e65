"""Prepare the database and the sandbox of a starting stack; repeat what fails while a server restarts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import requests
from sqlalchemy.exc import InterfaceError, OperationalError

from app.local.bootstrap import DemoTenant, prepare
from app.local.supervisor import StartFailed, Supervisor
from app.runtime.settings import Settings

# A server that restarts or fails over is back within some seconds; one that is not there at all should be reported
# while the operator still reads the terminal.
DATABASE_SECONDS = 20.0
DATABASE_POLL_SECONDS = 1.0
MERCHANT_SECONDS = 5.0  # A few small writes of the sandbox, whose readiness check has just succeeded.


def prepare_database(settings: Settings, supervisor: Supervisor) -> DemoTenant:
    """Migrate and return the demo tenant; retry for DATABASE_SECONDS while the database does not answer.

    An embedded server that crashed is started again, and the time of its recovery does not count. The last error is
    raised.
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


def register_merchants(settings: Settings, demo: DemoTenant) -> None:
    """Open the demo tenant's accounts at the sandbox and its emulators.

    Raise StartFailed where it refuses one, or does not answer in time.
    """
    control = f"{settings.local_url(settings.sandbox_port)}/control/merchants"
    deadline = time.monotonic() + MERCHANT_SECONDS
    with requests.Session() as session:
        session.trust_env = False
        for name, account in _list_merchants(settings, demo):
            _register(session, f"{control}/{name}", account, deadline)


def _list_merchants(settings: Settings, demo: DemoTenant) -> Iterator[tuple[str, dict[str, str]]]:
    secret = demo.webhook_secret
    yield "demo", {"api_key": demo.provider_api_key, "provider_id": demo.provider_id, "webhook_secret": secret}
    for adapter, account in demo.accounts.items():
        yield (
            f"demo-{adapter}",
            {
                "protocol": adapter,
                "api_key": account.api_key,
                "provider_id": account.provider_id,
                "webhook_secret": account.webhook_secret,
                "webhook_url": f"{settings.public_url}/webhooks/{account.provider_id}",
            },
        )


def _register(session: requests.Session, url: str, account: dict[str, str], deadline: float) -> None:
    while time.monotonic() < deadline:
        with contextlib.suppress(requests.RequestException):
            answer = session.put(url, json=account, timeout=MERCHANT_SECONDS)
            break
        time.sleep(0.1)
    else:
        raise StartFailed(f"no answer from {url}")
    if answer.status_code != 200:
        raise StartFailed(
            f"the sandbox refused the demo tenant's account with {answer.status_code}: {answer.text[:200]}"
        )
