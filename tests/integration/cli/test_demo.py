"""`sluice demo`: the real command, on a stack that runs and on one of its own."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import requests

from testbed.stack import Stack
from tests.support.commands import Commands
from tests.support.repository import ROOT


def processes_of(home: Path) -> list[int]:
    """Return the ids of the processes that belong to the stack in `home`."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("SLUICE_HOME") == str(home) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


@pytest.mark.slow
def test_it_starts_a_stack_of_its_own_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        # Where the operator's own stack would listen, somebody else does already.
        port = str(taken.getsockname()[1])
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
        done = subprocess.run(
            [sys.executable, "-m", "app.cli", "demo", "--amount", "1.234", "--currency", "KWD", "--json"],
            cwd=ROOT,
            env=kept | {"SLUICE_HOME": str(tmp_path), "SLUICE_PORT": port, "SLUICE_SANDBOX_PORT": port},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=110,
        )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["ok"] is True
    assert report["payment"]["status"] == "completed"
    assert report["balance_after_minor"] - report["balance_before_minor"] == 1234
    assert report["wallet"]["balance"] == "1.234"
    kinds = {event["kind"] for event in report["timeline"]}
    assert kinds == {"payment_created", "provider_call", "webhook", "decision", "entry", "notification"}
    assert not (tmp_path / "run.json").exists()
    assert processes_of(tmp_path) == []


@pytest.fixture(scope="module")
def running(stack: Stack) -> Stack:
    """Provide a stack that runs, found through its run.json as `sluice up` writes it."""
    stack.start("web", "sandbox", "worker-settle", "worker-provider", "beat")
    shop = stack.make_shop()
    run = {"web": stack.web, "sandbox": stack.sandbox.url, "secret_key": shop.secret_key}
    (stack.databases.folder / "run.json").write_text(json.dumps(run))
    return stack


def test_it_uses_the_stack_that_runs(running: Stack) -> None:
    done = Commands(running.databases).run("demo")
    assert done.exit_code == 0, done.output
    assert "Using the stack that runs in" in done.stderr
    assert "The payment goes from processing to completed: the money arrived" in done.stdout
    assert "holds 25.00 USD." in done.stdout
    report = Commands(running.databases).json("demo")
    entries = requests.get(
        f"{running.web}/api/wallets/{report['payment']['user_id']}/transactions",
        headers={
            "Authorization": f"Bearer {json.loads((running.databases.folder / 'run.json').read_text())['secret_key']}"
        },
        timeout=10,
    ).json()["data"]
    assert [(entry["amount"], entry["reference_id"]) for entry in entries] == [("25.00", report["payment"]["id"])]


def test_money_that_does_not_arrive_is_exit_1(running: Stack) -> None:
    running.stop("worker-settle")
    try:
        said = Commands(running.databases).error("demo", "--timeout", "2s")
        assert "is still processing after 2 s" in said
    finally:
        running.start("worker-settle")


def test_a_key_that_is_not_good_is_exit_1(running: Stack) -> None:
    path = running.databases.folder / "run.json"
    before = path.read_text()
    path.write_text(json.dumps(json.loads(before) | {"secret_key": "sk_wrong"}))
    try:
        assert "was answered 401" in Commands(running.databases).error("demo", "--json")
    finally:
        path.write_text(before)
