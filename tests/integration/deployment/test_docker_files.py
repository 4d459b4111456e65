"""The files of `docker/` and what docs/OPERATIONS.md says of them, held against the code that they describe."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.fernet import Fernet
from prometheus_client import REGISTRY

import app.runtime.metrics  # noqa: F401  # registers the counters
from app.local.processes import SECRET_NAME, Ports, list_processes
from app.runtime.settings import LOGIN_VARIABLES
from tests.support.programs import find_program
from tests.support.repository import ROOT

DOCKER = ROOT / "docker"
PORTS = Ports("127.0.0.1", 8000, 8002, 8001, 5555)
# What an empty value of .env.example stands for; the alarm's receiver is optional and stays empty.
OPTIONAL = {"ALERT_URL", "ALERT_SECRET", "SLUICE_PRIVATE_ENDPOINTS"}


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(read("docker/compose.yaml"))
    return found


@pytest.fixture(scope="module")
def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(read("docker/alerts.yml"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture(scope="module")
def promtool() -> str:
    return find_program("prometheus", "promtool")


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """Provide the settings that new_env.sh makes."""
    made = subprocess.run(["sh", str(DOCKER / "new_env.sh")], capture_output=True, text=True, check=True).stdout
    lines = [line for line in made.splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_the_alarm_rules_pass_their_own_tests(promtool: str) -> None:
    done = subprocess.run([promtool, "test", "rules", "alerts_test.yml"], cwd=DOCKER, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_that_never_fire_fail_their_tests(promtool: str, rules: list[dict[str, Any]], tmp_path: Path) -> None:
    shutil.copy(DOCKER / "alerts_test.yml", tmp_path)
    silent = [{**rule, "expr": "vector(0) > 1"} for rule in rules]
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": silent}]}))
    done = subprocess.run([promtool, "test", "rules", "alerts_test.yml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    missed = set(re.findall(r"alertname: (\w+)", done.stdout + done.stderr))
    assert missed == {rule["alert"] for rule in rules}, "each alarm has a test in which it fires"


def test_every_alarm_says_what_to_do(rules: list[dict[str, Any]]) -> None:
    guide = read("docs/OPERATIONS.md")
    for rule in rules:
        assert f"| {rule['alert']} |" in guide, rule["alert"]
        assert rule["labels"]["severity"] in ("warning", "critical"), rule["alert"]
        assert rule["annotations"]["summary"], rule["alert"]
    written = set(re.findall(r"^\| (Sluice\w+) \|", guide, re.MULTILINE))
    assert written == {rule["alert"] for rule in rules}


def test_every_number_is_explained() -> None:
    guide = read("docs/OPERATIONS.md")
    counters = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in REGISTRY.collect()
        if family.name.startswith("sluice_")
    }
    from_rows = set(re.findall(r'"(sluice_\w+)"', read("app/web/routes/health.py")))
    assert counters
    assert from_rows
    missing = {name for name in counters | from_rows if f"`{name}`" not in guide}
    assert not missing


def test_every_setting_is_explained() -> None:
    pattern = re.compile(r"\"((?:SLUICE|DATABASE|REDIS|BROKER|TRUSTED|ALERT|PROMETHEUS|SANDBOX|FLOWER)_[A-Z_]+)\"")
    sources = [ROOT / "celeryconfig.py", *(ROOT / "app").rglob("*.py"), *(ROOT / "sandbox").rglob("*.py")]
    named = {name for source in sources for name in pattern.findall(source.read_text(encoding="utf-8"))}
    guide = read("docs/OPERATIONS.md")
    assert "DATABASE_URL" in named
    assert not {name for name in named if f"`{name}`" not in guide}


def test_there_is_a_container_for_every_process_type(compose: dict[str, Any], tmp_path: Path) -> None:
    commands = [service.get("command") for service in compose["services"].values()]
    started = {command[2] for command in commands if isinstance(command, list) and command[:2] == ["sluice", "process"]}
    assert started == {process.name for process in list_processes(PORTS, tmp_path)}


def test_containers_publish_nothing_beyond_this_machine(compose: dict[str, Any]) -> None:
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert published
    assert all(str(port).startswith("127.0.0.1:") for port in published), published


def test_our_containers_may_do_little(compose: dict[str, Any]) -> None:
    ours = [service for service in compose["services"].values() if "build" in service]
    assert len(ours) >= 7
    for service in ours:
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
    assert re.search(r"^USER 10001:10001$", read("docker/Dockerfile"), re.MULTILINE)


def test_only_the_migration_has_the_owners_login(compose: dict[str, Any]) -> None:
    holders = {
        name for name, service in compose["services"].items() if "sluice_owner" in str(service.get("environment", {}))
    }
    assert holders == {"migrate"}


def test_containers_have_the_secrets_of_their_process_type_only(compose: dict[str, Any], tmp_path: Path) -> None:
    processes = {process.name: process for process in list_processes(PORTS, tmp_path)}
    for name, service in compose["services"].items():
        secrets = {key for key in service.get("environment", {}) if SECRET_NAME.fullmatch(key)}
        if name in processes:
            wanted = {variable for group in processes[name].needs for variable in group}
            login = {LOGIN_VARIABLES[processes[name].login]} if processes[name].login else set()
            # Flower's own variable is made of ours.
            assert secrets - wanted - {"SLUICE_FLOWER_AUTH"} == login, name
    migrated = compose["services"]["migrate"]["environment"]
    assert {key for key in migrated if key.startswith("DATABASE_")} == {*LOGIN_VARIABLES.values(), "DATABASE_OWNER_URL"}
    logins = [str(migrated[variable]).split(":")[1] for variable in LOGIN_VARIABLES.values()]
    assert len(set(logins)) == len(logins)


def test_a_new_environment_has_a_fresh_secret_for_everything(
    environment: dict[str, str], compose: dict[str, Any]
) -> None:
    empty = {name for name, value in environment.items() if not value}
    assert empty == OPTIONAL
    assert Fernet(environment["SLUICE_ENCRYPTION_KEYS"].encode())
    example = dict(
        line.split("=", 1) for line in read("docker/.env.example").splitlines() if re.match(r"[A-Z_]+=", line)
    )
    secrets = [environment[name] for name, value in example.items() if not value and name not in OPTIONAL]
    assert len(set(secrets)) == len(secrets) == 14
    assert all(len(secret) >= 32 for secret in secrets)
    used = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", read("docker/compose.yaml")))
    assert used - set(environment) <= {"SLUICE_IMAGE"}


def test_compose_reads_its_file(tmp_path: Path) -> None:
    program = find_program("docker-compose", "docker-compose")
    settings = subprocess.run(["sh", str(DOCKER / "new_env.sh")], capture_output=True, check=True).stdout
    (tmp_path / "env").write_bytes(settings)
    command = [program, "--env-file", str(tmp_path / "env"), "-f", str(DOCKER / "compose.yaml"), "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_build_sees_what_it_copies_and_nothing_else() -> None:
    let_through = [line[1:] for line in read(".dockerignore").splitlines() if line.startswith("!")]
    assert read(".dockerignore").splitlines()[1] == "*"
    assert all((ROOT / name).exists() for name in let_through)
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", read("docker/Dockerfile"), re.MULTILINE)
    sources = {source for line in copied for source in line.split() if source != "."}
    assert sources
    assert all(any(source == name or source.startswith(f"{name}/") for name in let_through) for source in sources)


def test_the_installed_package_holds_every_file_of_the_source(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    packages = ("app", "models", "sandbox", "tasks")
    for name in packages:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "web.py", "worker.py", "celeryconfig.py"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "requirements", source / "requirements")
    build = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", build, str(tmp_path)], cwd=source, check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    wanted = {
        str(path.relative_to(source))
        for name in packages
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
        for path in [source / path.relative_to(ROOT)]
    } | {"web.py", "worker.py", "celeryconfig.py"}
    assert not wanted - held
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in held)
