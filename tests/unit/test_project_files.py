"""The files that describe the project to others agree with it and with each other."""

from __future__ import annotations

import configparser
import re
from importlib.metadata import version
from pathlib import Path

from app.openapi import document

ROOT = Path(__file__).resolve().parents[2]
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
