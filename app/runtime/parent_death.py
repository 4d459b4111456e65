"""Makes the kernel end a process when its parent dies (prctl PR_SET_PDEATHSIG).

Children started through `app.local.spawn` have this set before their program starts. It is not inherited by fork, so
every forked process sets it again.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that forked it ends; leave at once if `parent` has gone.

    Linux only: elsewhere it has no effect.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
