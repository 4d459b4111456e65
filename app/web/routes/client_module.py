"""The browser module as pages load it: one file, under a URL that changes with its content, with an integrity hash."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "static" / "sluice.js"
# Enough of the SHA-256 to name a content within one version; `integrity` is what protects.
_DIGEST_DIGITS = 12


@dataclass(frozen=True)
class ClientModule:
    """The module's bytes and the names that pin them."""

    content: bytes
    tag: str
    integrity: str

    @property
    def path(self) -> str:
        """The URL path under which these bytes and no others are served."""
        return f"/static/sluice-{self.tag}.js"

    def import_map(self, base: str = "") -> str:
        """Return the import map with which a page's scripts import "sluice", checked against `integrity`."""
        url = base + self.path
        return json.dumps({"imports": {"sluice": url}, "integrity": {url: self.integrity}})


@cache
def client_module() -> ClientModule:
    """Return the module that this installation serves."""
    content = SOURCE.read_bytes()
    integrity = "sha384-" + base64.b64encode(hashlib.sha384(content).digest()).decode()
    tag = f"{version('sluice')}-{hashlib.sha256(content).hexdigest()[:_DIGEST_DIGITS]}"
    return ClientModule(content, tag, integrity)


def script_source(script: str) -> str:
    """Return the source expression with which a Content-Security-Policy allows this inline script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
