"""What an adapter declares, as rows for people and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from app.providers import Adapter, Capabilities
from app.providers.registry import Registry


def list_rows(registry: Registry, *, as_json: bool) -> list[dict[str, Any]]:
    """Return a row for each adapter: all that it declares, or for a table in words."""
    describe = describe_adapter if as_json else _summarize
    rows = [
        {"name": name, "package": registry.packages[name], **describe(adapter), "problem": None}
        for name, adapter in registry.adapters.items()
    ]
    rows += [{"name": one.name, "package": one.package, "problem": one.problem} for one in registry.broken]
    return sorted(rows, key=lambda row: str(row["name"]))


def describe_adapter(adapter: Adapter) -> dict[str, Any]:
    """Return all that an adapter declares."""
    capabilities = asdict(adapter.capabilities)
    del capabilities["amounts"]
    names = ("name", "is_secret", "is_required", "help", "form")
    return {
        "currencies": sorted(adapter.capabilities.amounts.currencies),
        "base_urls": dict(adapter.base_urls),
        **capabilities,
        "credentials": [{name: getattr(one, name) for name in names} for one in adapter.credentials],
    }


def _summarize(adapter: Adapter) -> dict[str, Any]:
    needed = [f"{one.name}{'' if one.is_required else ' (optional)'}: {one.help}" for one in adapter.credentials]
    if adapter.capabilities.required_fields:
        needed.append(f"of a deposit: {', '.join(adapter.capabilities.required_fields)}")
    return {"can": _say_what_it_can(adapter.capabilities), "needs": "; ".join(needed)}


def _say_what_it_can(capabilities: Capabilities) -> str:
    return ", ".join(
        part
        for part in (
            f"{len(capabilities.amounts.currencies)} currencies",
            "close pages" if capabilities.can_cancel else "",
            "refund" if capabilities.can_refund else "",
            "" if capabilities.listing == "none" else "list its payments",
        )
        if part
    )
