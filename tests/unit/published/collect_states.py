"""Collects the states that providers publish in their specifications, which are no part of this repository.

    python -m tests.unit.published.collect_states FOLDER

FOLDER has a folder for each provider with the files that SOURCES names, from github.com/Adyen/adyen-openapi,
github.com/paypal/paypal-rest-api-specifications and github.com/PaystackOSS/openapi. Writes `published_states.json`:
names of states with their source and its version, and nothing else of the specifications.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

PAGE = Path(__file__).with_name("published_states.json")

# By name: the file, and the way to a list of names in it.
SOURCES: dict[str, tuple[str, tuple[str, ...]]] = {
    "adyen link": (
        "adyen/CheckoutService-v71.yaml",
        ("components", "schemas", "PaymentLinkResponse", "properties", "status", "enum"),
    ),
    "adyen event": (
        "adyen/Webhooks-v1.yaml",
        ("components", "schemas", "NotificationRequestItem", "properties", "eventCode", "enum"),
    ),
    "paypal order": ("paypal/checkout_orders_v2.json", ("components", "schemas", "order_status", "enum")),
    **{
        f"paypal {name}": (
            "paypal/checkout_orders_v2.json",
            ("components", "schemas", f"{name}_status", "properties", "status", "enum"),
        )
        for name in ("capture", "refund")
    },
    "paystack transaction": ("paystack/paystack.yaml", ("paths", "/transaction", "get", "parameters", "status")),
    "paystack dispute": ("paystack/paystack.yaml", ("paths", "/dispute", "get", "parameters", "status")),
}


def main() -> None:
    """Write the page from the folder that the command line names."""
    folder, found = Path(sys.argv[1]), {}
    for name, (path, way) in SOURCES.items():
        # JSON is YAML as well.
        document = yaml.safe_load((folder / path).read_text(encoding="utf-8"))
        states = sorted(_find(document, way))
        found[name] = {"source": path, "version": str(document["info"]["version"]), "states": states}
    PAGE.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _find(document: Any, way: tuple[str, ...]) -> list[str]:
    for step in way:
        if isinstance(document, list):
            # A parameter by its name.
            document = next(one["schema"]["enum"] for one in document if one.get("name") == step)
        else:
            document = document[step]
    return [str(one) for one in document]


if __name__ == "__main__":
    main()
