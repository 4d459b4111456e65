"""Makes the kernel end the sandbox's worker process when the web server's main process dies."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_main_process() -> None:
    """Have the kernel kill this process when its parent dies; without a parent process of multiprocessing, do nothing.

    Linux only: elsewhere nothing happens. A main process that is killed has no time to end its workers, which would
    keep the port and the data folder.
    """
    parent = multiprocessing.parent_process()
    if parent is None or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent.pid:
        os._exit(1)
