"""Ends a process when its parent dies, by the kernel: what a killed process had started does not outlive it.

A child started through `app.local.spawn` has this from its first moment on. The kernel does not hand it on to what that
child forks, so every process of ours that is forked asks for it again.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that forked it ends; leave at once if `parent` has gone.

    Linux only: elsewhere nothing happens.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
