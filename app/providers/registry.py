"""The adapters that are installed, ours and those of other packages: entry points of the group `sluice.adapters`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points

from app.providers.adapter import Adapter
from app.providers.capabilities import Capabilities
from app.providers.credentials import Credential

GROUP = "sluice.adapters"
OWN_PACKAGE = "sluice"
PROBLEM_LENGTH_MAX = 300

_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}", re.ASCII)
_MEMBERS = sorted({*Adapter.__annotations__, *(name for name in vars(Adapter) if not name.startswith("_"))})


@dataclass(frozen=True, slots=True)
class BrokenAdapter:
    """An adapter that is installed and cannot be used; `problem` is for operators."""

    name: str
    package: str
    problem: str

    def __str__(self) -> str:
        return f"the adapter {self.name!r} of the package {self.package} cannot be used: {self.problem}"


@dataclass(frozen=True, slots=True)
class Registry:
    """One adapter of each kind, by name, with the package that each comes from, and those that cannot be used."""

    adapters: dict[str, Adapter] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    broken: list[BrokenAdapter] = field(default_factory=list)

    @property
    def capabilities(self) -> dict[str, Capabilities]:
        """What each adapter can, by name."""
        return {name: adapter.capabilities for name, adapter in self.adapters.items()}

    def find_problem(self, name: str) -> str | None:
        """Return why the adapter `name` cannot be used, None where none of this name is installed."""
        return next((str(one) for one in self.broken if one.name == name), None)


def load_registry(private_hosts: frozenset[str]) -> Registry:
    """Load every adapter that is installed; `private_hosts` may be called although they are not public.

    One that fails is reported in the registry and takes no other along. A name that two packages have belongs to
    neither, except that no package takes one of ours.
    """
    registry = Registry()
    for name, entries in sorted(_find_entries().items()):
        chosen = _choose(entries)
        if chosen is not None:
            _load(registry, chosen, private_hosts)
        packages = ", ".join(sorted(map(_package_of, entries)))
        registry.broken.extend(
            BrokenAdapter(name, _package_of(entry), f"several packages have one of this name: {packages}")
            for entry in entries
            if entry is not chosen
        )
    return registry


def load_builder(name: str) -> Callable[[frozenset[str]], Adapter]:
    """Return what builds the adapter `name`. Raise KeyError where there is none, and what its import raises."""
    chosen = _choose(_find_entries()[name])
    if chosen is None:
        raise KeyError(name)
    builder: Callable[[frozenset[str]], Adapter] = chosen.load()
    return builder


def list_names() -> list[str]:
    """Return the names of the installed adapters without loading them."""
    return sorted(_find_entries())


def _find_entries() -> dict[str, list[EntryPoint]]:
    by_name: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        by_name.setdefault(entry.name, []).append(entry)
    return by_name


def _choose(entries: list[EntryPoint]) -> EntryPoint | None:
    """Return ours, or else the only one of a name; None where several packages have one."""
    own = [entry for entry in entries if _package_of(entry) == OWN_PACKAGE]
    chosen = own or entries
    return chosen[0] if len(chosen) == 1 else None


def _load(registry: Registry, entry: EntryPoint, private_hosts: frozenset[str]) -> None:
    package = _package_of(entry)
    try:
        adapter = entry.load()(private_hosts)
        _check(entry.name, adapter)
    # Code of others: whatever it raises, at its import too, concerns its own providers only.
    except (Exception, SystemExit) as error:
        problem = f"{type(error).__name__}: {error}"[:PROBLEM_LENGTH_MAX]
        registry.broken.append(BrokenAdapter(entry.name, package, problem))
        return
    registry.adapters[entry.name] = adapter
    registry.packages[entry.name] = package


def _check(name: str, adapter: Adapter) -> None:
    """Raise ValueError or TypeError for what does not have the form of an adapter."""
    if not _NAME.fullmatch(name):
        raise ValueError("an adapter's name has up to 40 lower-case letters, digits and hyphens")
    if missing := [member for member in _MEMBERS if not hasattr(adapter, member)]:
        raise TypeError(f"it has no {', '.join(missing)}")
    if not isinstance(adapter.capabilities, Capabilities):
        raise TypeError("its capabilities are none")
    if not all(isinstance(one, Credential) for one in adapter.credentials):
        raise TypeError("its credentials are none")


def _package_of(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "?"
