"""The files that describe the project to others agree with it and with each other."""

from __future__ import annotations

import configparser
import re
from importlib.metadata import version

import yaml

from app.web.openapi.document import document
from tests.support.repository import ROOT

DECISIONS = ROOT / "docs" / "decisions"
RELEASE = re.compile(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}$", re.MULTILINE)


def test_the_version_is_declared_once_and_has_its_entry_in_the_changelog() -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    declared = settings["metadata"]["version"]
    assert version("sluice") == declared, "the installation is older than setup.cfg: run `make dev`"
    assert document()["info"]["version"] == declared
    releases = RELEASE.findall((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    assert releases[0] == declared
    assert releases == sorted(releases, key=lambda release: tuple(map(int, release.split("."))), reverse=True)


def test_hooks_run_the_tools_of_the_project_and_download_none() -> None:
    configuration = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repository["repo"] for repository in configuration["repos"]] == ["local"]
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    hooks = configuration["repos"][0]["hooks"]
    assert len(hooks) >= 4
    for hook in hooks:
        program, *words = hook["entry"].split()
        assert hook["language"] == "system", hook["id"]
        assert program.startswith(".venv/bin/") or (program == "make" and set(words) <= set(targets)), hook["id"]


def test_the_workflow_runs_the_script_that_the_project_is_checked_with() -> None:
    for path in (ROOT / ".github").rglob("*.yml"):
        assert yaml.safe_load(path.read_text(encoding="utf-8")), path
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    assert "bash .ci/run" in [step.get("run") for step in workflow["jobs"]["check"]["steps"]]


def test_decision_records_have_their_form_and_their_place_in_the_index() -> None:
    index = re.findall(
        r"^\| \[(\d{4})\]\((.+?)\) ", (DECISIONS / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    records = sorted(path.name for path in DECISIONS.glob("[0-9]*.md"))
    assert index == [(name[:4], name) for name in records]
    for number, name in enumerate(records, 1):
        text = (DECISIONS / name).read_text(encoding="utf-8")
        assert int(name[:4]) == number, "numbers have no gap"
        assert text.startswith(f"# {number}. "), name
        assert re.findall("^## (.+)$", text, re.MULTILINE) == ["Status", "Context", "Decision", "Consequences"], name
        assert len(text.splitlines()) <= 60, name
