"""Adapters are found by their entry points; one that is broken is named and takes no other along."""

from __future__ import annotations

import configparser
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.doctor import Level
from app.doctor.packages import examine_adapters
from app.providers.adapters.sandbox import SandboxAdapter
from app.providers.registry import GROUP, list_names, load_registry
from tests.support.foreign_adapter import GOOD, install_adapter
from tests.support.repository import ROOT


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Provide a folder whose packages are installed."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in sys.modules.keys() - before:
        del sys.modules[name]


def declared() -> set[str]:
    """Return the names that setup.cfg declares."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return {line.split(" = ")[0] for line in parser["options.entry_points"][GROUP].splitlines() if line}


def test_ours_are_declared_and_whole() -> None:
    registry = load_registry(frozenset())
    assert set(registry.adapters) == declared() == set(list_names())
    assert set(registry.packages.values()) == {"sluice"}
    assert registry.broken == []


def test_another_package_brings_one(folder: Path) -> None:
    install_adapter(folder, "foreign")
    registry = load_registry(frozenset())
    assert registry.packages["foreign"] == "foreign-pay"
    assert isinstance(registry.adapters["foreign"], SandboxAdapter)
    assert set(registry.adapters) == declared() | {"foreign"}


BROKEN = {
    "no module": ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
    "no Python": ("class ForeignAdapter(", "SyntaxError"),
    "no class": ("", "AttributeError"),
    "ends the process": ("raise SystemExit(3)", "SystemExit: 3"),
    "cannot be made": (
        "class ForeignAdapter:\n    def __init__(self, hosts):\n        raise OSError('no')",
        "OSError: no",
    ),
    "is no adapter": (
        "def ForeignAdapter(hosts):\n    return object()",
        "TypeError: it has no advance, base_urls",
    ),
    "lacks a method": (f"{GOOD}    verify = property()\n", "TypeError: it has no verify"),
    "has no capabilities": (f"{GOOD}    capabilities = {{}}\n", "its capabilities are none"),
    "has no credentials": (f"{GOOD}    credentials = ('api_key',)\n", "its credentials are none"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_one_is_named_with_its_package_and_takes_no_other_along(folder: Path, what: str) -> None:
    source, problem = BROKEN[what]
    install_adapter(folder, "foreign", source.replace("    pass\n", ""))
    registry = load_registry(frozenset())
    assert set(registry.adapters) == declared()
    (broken,) = registry.broken
    assert (broken.name, broken.package) == ("foreign", "foreign-pay")
    assert problem in broken.problem
    said = registry.find_problem("foreign")
    assert said is not None
    assert said.startswith("the adapter 'foreign' of the package foreign-pay cannot be used: ")
    failed, fine = examine_adapters(registry)
    assert (failed.level, fine.level) == (Level.FAIL, Level.OK)
    assert "foreign-pay" in failed.detail


def test_nobody_takes_the_name_of_one_of_ours(folder: Path) -> None:
    install_adapter(folder, "sandbox")
    registry = load_registry(frozenset())
    assert type(registry.adapters["sandbox"]) is SandboxAdapter
    assert [str(one) for one in registry.broken] == [
        "the adapter 'sandbox' of the package foreign-pay cannot be used: several packages have one of this name:"
        " foreign-pay, sluice"
    ]


def test_two_of_a_name_are_neither(folder: Path) -> None:
    install_adapter(folder, "foreign")
    install_adapter(folder, "foreign", package="other-pay")
    registry = load_registry(frozenset())
    assert "foreign" not in registry.adapters
    assert {one.package for one in registry.broken} == {"foreign-pay", "other-pay"}


@pytest.mark.parametrize("name", ["Foreign", "a" * 41, "foreign.pay"])
def test_a_name_is_one_that_fits_into_a_command(folder: Path, name: str) -> None:
    install_adapter(folder, name)
    (broken,) = load_registry(frozenset()).broken
    assert "an adapter's name has" in broken.problem
