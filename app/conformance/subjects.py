"""The adapters that the kit knows, each with how to open an account at its emulator."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable

from app.conformance.emulator import OpenEmulator
from app.conformance.kit import BuildAdapter
from app.conformance.personalities import PERSONALITIES
from app.conformance.sandbox_emulator import SandboxEmulator
from app.providers.registry import load_builder

CONTROL_KEY_VARIABLE = "SANDBOX_CONTROL_KEY"

SUBJECTS: dict[str, BuildAdapter] = {name: load_builder(name) for name in PERSONALITIES}


def open_at(name: str, sandbox_url: str) -> OpenEmulator:
    """Return what opens accounts for the adapter `name` at the sandbox of that URL."""
    personality = PERSONALITIES[name]
    open_account: Callable[[str], SandboxEmulator] = functools.partial(
        SandboxEmulator, personality, sandbox_url, control_key=os.environ.get(CONTROL_KEY_VARIABLE)
    )
    return open_account
