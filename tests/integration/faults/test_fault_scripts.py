"""The scripts that repeat faults in real time do so against a running stack; here for a few seconds."""

from __future__ import annotations

import json
import subprocess
import sys

from testbed.stack import Stack
from tests.support.repository import ROOT

SCRIPTS = ROOT / "tests" / "faults"


def test_a_row_lock_is_repeated_against_a_running_stack(stack: Stack) -> None:
    stack.start("web", "worker-provider", "worker-settle", "beat")
    shop = stack.make_shop()
    said = {
        "web": stack.web,
        "secret_key": shop.secret_key,
        "provider_id": str(shop.provider_id),
        "webhook_secret": shop.webhook_secret,
        "owner_database_url": stack.databases.owner_database_url,
    }
    (stack.databases.folder / "run.json").write_text(json.dumps(said))
    argv = [sys.executable, str(SCRIPTS / "row_lock.py"), "--home", str(stack.databases.folder), "--seconds", "8"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "PASSED"), done.stdout + done.stderr
    assert stack.databases.value("select count(*) from alerts where kind = 'database_trouble'") == 1
