"""Programs that a bench starts in addition to the product; they are killed with all their children."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence

from app.local.processes import ROOT
from app.local.spawn import launch
from testbed.process_tree import kill_all, list_tree
from testbed.servers import Servers


@contextlib.contextmanager
def run_program(
    servers: Servers, name: str, argv: Sequence[str], **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the block ends, with its log in the folder of the servers' databases."""
    process = launch(
        argv,
        log_path=servers.folder / f"{name}.log",
        env={**os.environ, "TMPDIR": str(servers.folder), **environment},
        cwd=ROOT,
        death_signal=signal.SIGTERM,
    )
    try:
        yield process
    finally:
        kill_all(list_tree(process.pid))
        process.wait()
