"""The first request of a web process finds it loaded: importing would hold up every request under way."""

from __future__ import annotations

import os
import subprocess
import sys

from testbed.servers import Databases
from testbed.shop import Shop

# As gunicorn starts a worker, then one request of a backend; prints its status and what was imported for it.
_SCRIPT = """
import sys, types
from app.web import gunicorn_settings
from web import app

gunicorn_settings.post_worker_init(types.SimpleNamespace(wsgi=app))
loaded, client = set(sys.modules), app.test_client()
answer = client.get("/api/payments", headers={"Authorization": f"Bearer {sys.argv[1]}"})
print(answer.status_code, sorted(set(sys.modules) - loaded))
"""


def test_the_first_request_imports_nothing(databases: Databases, tenant: Shop) -> None:
    """All that a request needs is imported before the worker listens."""
    environment = {**os.environ, **databases.environment, "SLUICE_PROCESS": "web"}
    command = [sys.executable, "-c", _SCRIPT, tenant.secret_key]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "200 []\n"), done.stderr
