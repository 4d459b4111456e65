"""The API of a stack, called as a tenant's backend does: with a secret key."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import click
import requests

from app.local.run_folder import read_run_file
from app.runtime.settings import Settings

KEY_VARIABLE = "SLUICE_KEY"
CONTROL_KEY_VARIABLE = "SANDBOX_CONTROL_KEY"

ANSWER_SECONDS = 15.0  # The longest request is a long poll of ten seconds.
SHOWN_CHARACTERS_MAX = 500  # Of an answer that is an error.


class NoBackend(click.ClickException):
    """No stack is known, or no secret key for it."""


class BackendRefused(click.ClickException):
    """The API answered with an error."""


@dataclass(frozen=True)
class Backend:
    """The base URLs of a stack and a secret key of one of its tenants; `sandbox` is empty where none is known."""

    web: str
    sockets: str
    sandbox: str
    key: str = field(repr=False)
    control_key: str = field(repr=False)
    session: requests.Session = field(repr=False)

    def call(self, method: str, url: str, **options: Any) -> Any:
        """Return the JSON of an answer of web or the sandbox. Raise BackendRefused for a status of 400 or more."""
        headers = {**self._find_credential(url), **options.pop("headers", {})}
        answer = self.session.request(method, url, headers=headers, timeout=ANSWER_SECONDS, **options)
        if not answer.ok:
            raise BackendRefused(
                f"{method} {url} was answered {answer.status_code}: {answer.text[:SHOWN_CHARACTERS_MAX]}"
            )
        return answer.json()

    def api(self, method: str, path: str, **options: Any) -> Any:
        """Call a route of the API by its path."""
        return self.call(method, f"{self.web}{path}", **options)

    def _find_credential(self, url: str) -> dict[str, str]:
        if url.startswith(f"{self.web}/"):
            return {"Authorization": f"Bearer {self.key}"}
        if self.control_key and url.startswith(f"{self.sandbox}/control/"):
            return {"Authorization": f"Bearer {self.control_key}"}
        return {}


@contextlib.contextmanager
def open_backend(run: Mapping[str, Any] | None = None) -> Iterator[Backend]:
    """Yield the backend in `run`, or else the one that the environment and run.json name, and close its connections.

    Raise NoBackend where there is none.
    """
    with requests.Session() as session:
        session.trust_env = False
        yield _find(session) if run is None else _make(session, run, run["secret_key"])


def _find(session: requests.Session) -> Backend:
    """Return the backend of the environment, which wins, and of the stack that runs in SLUICE_HOME.

    An address in the environment that is not the running stack's means another installation: it gets neither the
    running stack's key nor its other addresses.
    """
    home = Settings.from_environment().home
    run, web = read_run_file(home) or {}, os.environ.get("SLUICE_PUBLIC_URL", "").rstrip("/")
    known = run if web in ("", run.get("web")) else {}
    addresses = {
        "web": web or known.get("web"),
        "sockets": os.environ.get("SLUICE_SOCKETS_PUBLIC_URL") or known.get("sockets"),
        "sandbox": os.environ.get("SLUICE_SANDBOX_PUBLIC_URL") or known.get("sandbox"),
    }
    key = os.environ.get(KEY_VARIABLE) or known.get("secret_key")
    if not addresses["web"] or not key:
        raise NoBackend(
            f"no stack is ready in {home}: start one (make run), set SLUICE_HOME to where it runs,"
            f" or set SLUICE_PUBLIC_URL and {KEY_VARIABLE}, a secret key of the tenant"
        )
    return _make(session, addresses, key)


def _make(session: requests.Session, addresses: Mapping[str, Any], key: str) -> Backend:
    web = str(addresses["web"]).rstrip("/")
    return Backend(
        web=web,
        sockets=str(addresses.get("sockets") or web).rstrip("/"),
        sandbox=str(addresses.get("sandbox") or "").rstrip("/"),
        key=key,
        control_key=os.environ.get(CONTROL_KEY_VARIABLE, ""),
        session=session,
    )
