"""Makes a tenant with a key and the sandbox as its provider, and opens its account at the sandbox; prints all of it.

Run it once: `docker compose run --rm setup`. A second run says that the tenant is there and changes nothing.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys

import requests

TENANT = "demo"
SANDBOX_SECONDS = 10.0


def sluice(*arguments: str, **environment: str) -> dict[str, str]:
    """Run a command of Sluice; return what it prints as JSON. End this program where the command fails."""
    done = subprocess.run(
        ["sluice", *arguments, "--json"], stdout=subprocess.PIPE, env={**os.environ, **environment}, check=False
    )
    if done.returncode:
        sys.exit(done.returncode)
    printed: dict[str, str] = json.loads(done.stdout)
    return printed


def main() -> None:
    """Make tenant, key, provider and account, in this order."""
    sandbox = os.environ["SANDBOX_URL"]
    api_key = "sbk_" + secrets.token_urlsafe(24)
    tenant = sluice("tenants", "create", TENANT)
    key = sluice("keys", "create", "--tenant", tenant["id"], "--label", "demo")
    provider = sluice(
        *("providers", "create", "--tenant", tenant["id"], "sandbox", "--adapter", "sandbox", "--url", sandbox),
        SLUICE_PROVIDER_API_KEY=api_key,
    )
    account = {"api_key": api_key, "provider_id": provider["id"], "webhook_secret": provider["webhook_secret"]}
    answer = requests.put(
        f"{sandbox}/control/merchants/{TENANT}",
        json=account,
        headers={"Authorization": f"Bearer {os.environ['SANDBOX_CONTROL_KEY']}"},
        timeout=SANDBOX_SECONDS,
    )
    if answer.status_code != 200:
        sys.exit(f"the sandbox refused the account with {answer.status_code}: {answer.text[:200]}")
    print(json.dumps({"tenant_id": tenant["id"], "provider_id": provider["id"], "secret_key": key["secret_key"]}))


if __name__ == "__main__":
    main()
