"""The protocols that this sandbox speaks, by name."""

from __future__ import annotations

from sandbox.protocols.emulated import EmulatedProtocol
from sandbox.protocols.native import NativeProtocol
from sandbox.protocols.protocol import ProviderProtocol

NATIVE = NativeProtocol()
EMULATED: dict[str, EmulatedProtocol] = {}
PROTOCOLS: dict[str, ProviderProtocol] = {NATIVE.name: NATIVE, **EMULATED}
