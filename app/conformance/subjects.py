"""The adapters that the kit can examine, each with how to open accounts at its emulator.

Ours are emulated by the sandbox. A package that brings an adapter may bring its emulator: an entry point of the group
`sluice.emulators` with the adapter's name, whose call is a context manager that gives an OpenEmulator.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points

from app.conformance.emulator import OpenEmulator
from app.conformance.kit import BuildAdapter
from app.conformance.own_sandbox import start_sandbox
from app.conformance.personalities import PERSONALITIES
from app.conformance.sandbox_emulator import SandboxEmulator, check_sandbox
from app.providers.registry import load_builder

GROUP = "sluice.emulators"
CONTROL_KEY_VARIABLE = "SANDBOX_CONTROL_KEY"

SUBJECTS: dict[str, BuildAdapter] = {name: load_builder(name) for name in PERSONALITIES}


def list_subjects() -> list[str]:
    """Return the names of the adapters that have an emulator."""
    return sorted({*SUBJECTS, *(entry.name for entry in entry_points(group=GROUP))})


def find_subject(name: str) -> BuildAdapter:
    """Return what builds the adapter. Raise KeyError where none of this name is installed."""
    return SUBJECTS[name] if name in SUBJECTS else load_builder(name)


@contextlib.contextmanager
def open_emulators(name: str, sandbox_url: str | None) -> Iterator[OpenEmulator]:
    """Give what opens accounts for the adapter `name`: at the sandbox of that URL, at one of its own, or elsewhere.

    Raise SandboxRefused where no sandbox answers at the URL.
    """
    if name not in PERSONALITIES:
        (entry,) = entry_points(group=GROUP, name=name)
        with entry.load()() as opened:
            yield opened
        return
    if sandbox_url is not None:
        check_sandbox(sandbox_url.rstrip("/"), os.environ.get(CONTROL_KEY_VARIABLE))
    with start_sandbox() if sandbox_url is None else contextlib.nullcontext(sandbox_url.rstrip("/")) as url:
        yield open_at(name, url)


def open_at(name: str, sandbox_url: str) -> OpenEmulator:
    """Return what opens accounts for the adapter `name` at the sandbox of that URL."""
    personality = PERSONALITIES[name]
    open_account: Callable[[str], SandboxEmulator] = functools.partial(
        SandboxEmulator, personality, sandbox_url, control_key=os.environ.get(CONTROL_KEY_VARIABLE)
    )
    return open_account
