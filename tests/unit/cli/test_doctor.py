"""What the doctor says of packages, settings and files, without any server."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from pathlib import Path

import pytest

from app.core.signatures import encode_secret
from app.doctor import Finding, Level
from app.doctor.finding import is_loopback
from app.doctor.packages import LOCK, examine_packages
from app.doctor.secrets import examine_exposure
from app.runtime.settings import Settings

SECRET = encode_secret(bytes(range(32)))
CLICK = importlib.metadata.version("click")


def levels(findings: Iterable[Finding]) -> dict[str, Level]:
    """Return the worst level of each check."""
    order = list(Level)
    worst: dict[str, Level] = {}
    for finding in findings:
        worst[finding.check] = max(finding.level, worst.get(finding.check, Level.OK), key=order.index)
    return worst


def detail(findings: Iterable[Finding], check: str) -> str:
    return next(finding.detail for finding in findings if finding.check == check)


def write_lock(folder: Path, *lines: str) -> Path:
    lock = folder / "runtime.txt"
    lock.write_text("".join(f"{line} \\\n    --hash=sha256:00\n" for line in lines))
    return lock


def test_this_installation_is_as_its_lock() -> None:
    assert levels(examine_packages(LOCK)) == {"Python": Level.OK, "Packages": Level.OK}


def test_a_missing_package_fails(tmp_path: Path) -> None:
    lock = write_lock(tmp_path, f"click=={CLICK}", "surely-not-installed==1.0")
    assert levels(examine_packages(lock))["Packages"] is Level.FAIL
    assert "surely-not-installed" in detail(examine_packages(lock), "Packages")


def test_another_version_warns(tmp_path: Path) -> None:
    lock = write_lock(tmp_path, "click==0.0.1")
    assert levels(examine_packages(lock))["Packages"] is Level.WARN
    assert f"click {CLICK} (locked: ==0.0.1)" in detail(examine_packages(lock), "Packages")


def test_what_the_lock_has_for_other_machines_is_left_out(tmp_path: Path) -> None:
    lock = write_lock(tmp_path, f"click=={CLICK}", "surely-not-installed==1.0 ; sys_platform == 'another'")
    assert detail(examine_packages(lock), "Packages") == "1 packages, all as in the lock"


def test_no_lock_is_said(tmp_path: Path) -> None:
    assert levels(examine_packages(tmp_path / "runtime.txt"))["Packages"] is Level.WARN


def expose(home: Path, **environment: str) -> list[Finding]:
    return list(examine_exposure(Settings.from_environment({"SLUICE_HOME": str(home), **environment})))


def test_a_stack_on_loopback_is_fine_but_calls_nobody(tmp_path: Path) -> None:
    assert levels(expose(tmp_path)) == {
        "Public URL": Level.OK,
        "Listening": Level.OK,
        "ALERT_URL": Level.WARN,
        "Files": Level.OK,
    }


@pytest.mark.parametrize(
    ("environment", "check", "level"),
    [
        ({"SLUICE_PUBLIC_URL": "http://pay.example"}, "Public URL", Level.WARN),
        ({"SLUICE_PUBLIC_URL": "https://pay.example"}, "Public URL", Level.OK),
        ({"SLUICE_PUBLIC_URL": "https://pay.example"}, "Proxies", Level.WARN),
        ({"SLUICE_BIND": "0.0.0.0"}, "Metrics", Level.WARN),
        ({"SLUICE_BIND": "0.0.0.0"}, "Flower", Level.WARN),
        ({"SLUICE_BIND": "0.0.0.0", "SLUICE_METRICS_TOKEN": "word"}, "Metrics", Level.OK),
        ({"SLUICE_BIND": "0.0.0.0", "SLUICE_FLOWER_AUTH": "eve:a-long-word"}, "Flower", Level.OK),
        ({"ALERT_URL": "http://pager.example"}, "ALERT_URL", Level.WARN),
        ({"ALERT_URL": "https://pager.example"}, "ALERT_URL", Level.WARN),
        ({"ALERT_URL": "https://pager.example", "ALERT_SECRET": SECRET}, "ALERT_URL", Level.OK),
        ({"ALERT_URL": "https://pager.example", "ALERT_SECRET": "whsec_short"}, "ALERT_URL", Level.FAIL),
    ],
)
def test_what_is_open_is_said(environment: dict[str, str], check: str, level: Level, tmp_path: Path) -> None:
    assert levels(expose(tmp_path, **environment))[check] is level


def test_behind_a_counted_proxy_nothing_is_said_of_it(tmp_path: Path) -> None:
    assert "Proxies" not in levels(expose(tmp_path, SLUICE_PUBLIC_URL="https://pay.example", TRUSTED_PROXIES="1"))


def test_files_that_others_can_read_fail(tmp_path: Path) -> None:
    for name in ("run.json", "demo.json"):
        (tmp_path / name).touch(0o600)
    assert levels(expose(tmp_path))["Files"] is Level.OK
    (tmp_path / "demo.json").chmod(0o640)
    assert levels(expose(tmp_path))["Files"] is Level.FAIL


@pytest.mark.parametrize("secret", ["whsec_short", SECRET])
def test_no_secret_is_printed(secret: str, tmp_path: Path) -> None:
    found = expose(
        tmp_path,
        ALERT_URL="https://pager.example",
        ALERT_SECRET=secret,
        SLUICE_METRICS_TOKEN="hidden-word",
        SLUICE_FLOWER_AUTH="eve:hidden-word",
        SLUICE_BIND="0.0.0.0",
    )
    shown = " ".join(finding.detail for finding in found)
    assert secret.removeprefix("whsec_") not in shown
    assert "hidden-word" not in shown


@pytest.mark.parametrize("host", [None, "", "localhost", "127.0.0.1", "127.9.9.9", "::1", "/run/postgresql"])
def test_loopback(host: str | None) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "db.example", "localhost.example"])
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)
