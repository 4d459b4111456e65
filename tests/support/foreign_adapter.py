"""A package of somebody else's that brings an adapter, installed into a folder."""

from __future__ import annotations

from pathlib import Path

GOOD = """
from app.providers.adapters.sandbox import SandboxAdapter


class ForeignAdapter(SandboxAdapter):
    pass
"""


def install_adapter(folder: Path, name: str, source: str = GOOD, package: str = "foreign-pay") -> None:
    """Install `package`, whose adapter `name` is the class ForeignAdapter of `source`, into `folder`."""
    module = package.replace("-", "_")
    (folder / f"{module}.py").write_text(source, encoding="utf-8")
    metadata = folder / f"{module}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
    entry = f"[sluice.adapters]\n{name} = {module}:ForeignAdapter\n"
    (metadata / "entry_points.txt").write_text(entry, encoding="utf-8")
