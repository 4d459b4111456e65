"""Cases about secrets: in no error, log line or repr."""

from __future__ import annotations

import json
import logging

import structlog

from app.conformance.case import ConformanceFailure, case, expect
from app.conformance.proxy import Fault
from app.conformance.trial import Trial
from app.core.errors import ProviderCallFailed


@case()
def secrets_are_in_no_repr(trial: Trial) -> None:
    """The repr of an account and of the adapter has no credential, and neither has a request's body."""
    deposit = trial.created()
    trial.fetch(deposit)
    shown = f"{trial.account!r} {trial.adapter!r} {deposit.request!r} {trial.adapter.__dict__!r}"
    _expect_none(trial, shown, "a repr")


@case()
def secrets_are_in_no_error_and_no_log(trial: Trial) -> None:
    """Neither errors nor log lines of failing calls have a credential, also where the provider repeats it."""
    spoken = " ".join(_read_secrets(trial))
    status, body = trial.emulator.traits.mistake(f"no such key: {spoken}")
    faults = [Fault(False, status=each, body=body) for each in (status, 401, 402, 404, 409, 422, 429, 500)]
    faults += [Fault(ending="half"), Fault(False, status=200, body=json.dumps({"status": spoken, "id": 7}).encode())]
    with _Listening() as lines:
        said = [_read_failure(trial, fault) for fault in faults]
    for text in (*said, *lines):
        _expect_none(trial, text, "an error or a log line")


def _read_failure(trial: Trial, fault: Fault) -> str:
    deposit = trial.new_deposit()
    deposit.reference = "nobody"
    said = ""
    for call in (trial.create, trial.fetch):
        trial.proxy.spoil(fault)
        try:
            said += repr(call(deposit))
        except ProviderCallFailed as error:
            said += f"{error} {error!r} {error.context!r}"
        except Exception as error:
            raise ConformanceFailure(f"{type(error).__name__} ({error}) for {fault}") from error
        trial.proxy.heal()
    return said


class _Listening:
    """Keeps the lines that structlog and the standard library's logging get."""

    def __enter__(self) -> list[str]:
        self.lines: list[str] = []
        self._before = structlog.get_config()["processors"]
        structlog.configure(processors=[self._keep])
        self._handler = _LineHandler(self.lines)
        self._level = logging.getLogger().level
        logging.getLogger().addHandler(self._handler)
        logging.getLogger().setLevel(logging.DEBUG)
        return self.lines

    def __exit__(self, *_: object) -> None:
        structlog.configure(processors=self._before)
        logging.getLogger().removeHandler(self._handler)
        logging.getLogger().setLevel(self._level)

    def _keep(self, logger: object, name: str, event: structlog.typing.EventDict) -> str:
        self.lines.append(repr(event))
        raise structlog.DropEvent


class _LineHandler(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())


def _read_secrets(trial: Trial) -> list[str]:
    given = (trial.account.credentials.get(one.name, "") for one in trial.adapter.credentials if one.is_secret)
    return [value for value in given if len(value) > 8]


def _expect_none(trial: Trial, text: str, where: str) -> None:
    for secret in (*_read_secrets(trial), trial.emulator.secret):
        # A part of a secret is as good as all of it to whoever reads it.
        expect(secret[:-4] not in text, f"a credential stands in {where}")
