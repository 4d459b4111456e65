"""The protocols that this sandbox speaks, by name."""

from __future__ import annotations

from sandbox.protocols.native import NativeProtocol
from sandbox.protocols.protocol import ProviderProtocol

NATIVE = NativeProtocol()
PROTOCOLS: dict[str, ProviderProtocol] = {protocol.name: protocol for protocol in (NATIVE,)}
