"""`sluice adapters test` examines an adapter, says what came of each case, and fails where one does."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from app.cli import main
from app.conformance import subjects
from app.conformance.kit import CASES
from app.core.facts import Fact, FactKind
from app.providers import Account, Subject
from app.providers.adapters.sandbox import SandboxAdapter
from tests.integration.sandbox.sandbox_process import SandboxProcess
from tests.support.webhook_receiver import WebhookReceiver


class Optimist(SandboxAdapter):
    """Takes every open payment for a paid one."""

    def fetch(self, account: Account, subject: Subject) -> Fact:
        found = super().fetch(account, subject)
        if found.kind is FactKind.PENDING:
            return Fact(FactKind.SUCCEEDED, found.reference, amount_minor=2500, currency="USD")
        return found


def test_each_case_has_a_line(sandbox: SandboxProcess) -> None:
    result = CliRunner().invoke(main, ["adapters", "test", "sandbox", "--url", sandbox.url])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    for case in CASES:
        (line,) = [line for line in lines if f" {case.name} " in line]
        assert line.startswith(("pass", "not applicable"))
    excused = [case for case in CASES if case.excuse(SandboxAdapter.capabilities)]
    passed = len(CASES) - len(excused)
    assert lines[-1] == f"{passed} pass, 0 FAIL, {len(excused)} not applicable"


def test_a_failure_is_named_and_ends_with_1(sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(subjects.SUBJECTS, "sandbox", Optimist)
    result = CliRunner().invoke(main, ["adapters", "test", "sandbox", "--url", sandbox.url, "--json"])
    assert result.exit_code == 1, result.output
    report = json.loads(result.stdout)
    states = {row["case"]: row["state"] for row in report["data"]}
    assert (report["ok"], states["open_payment_is_found"], states["created_once"]) == (False, "FAIL", "pass")
    assert all(row["detail"] for row in report["data"] if row["state"] != "pass")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nobody"], 2, "'nobody' is not installed; there are adyen, custom,"),
        (["sandbox", "--url", "sandbox"], 2, "is no URL"),
        (["sandbox", "--url", "http://127.0.0.1:1"], 1, "nothing that can be examined answers at http://127.0.0.1:1"),
    ],
)
def test_what_cannot_be_examined_is_said_once(arguments: list[str], code: int, said: str) -> None:
    result = CliRunner().invoke(main, ["adapters", "test", *arguments])
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in " ".join(result.stderr.split())


def test_what_answers_must_be_a_sandbox(receiver: WebhookReceiver) -> None:
    result = CliRunner().invoke(main, ["adapters", "test", "sandbox", "--url", receiver.url])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "is no sandbox" in result.stderr


def test_without_a_url_a_sandbox_is_started_and_ended() -> None:
    result = CliRunner().invoke(main, ["adapters", "test", "stripe"])
    assert result.exit_code == 0, result.output
