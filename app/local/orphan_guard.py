"""Ends process groups whose supervisor was killed before it could end them itself.

Run as a plain file by `app.local.supervisor`, which writes the groups to its standard input: one "+ID" or "-ID" a line.
The kernel signals a parent's death to children but not to grandchildren, so pool workers would outlive a killed stack.
"""

import contextlib
import os
import signal
import sys


def main() -> None:
    """Read ids from standard input until it closes, then end what is left."""
    # Signals for the whole session (a closing terminal) must not end it before its work.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    # Ends when every copy of the pipe's other end is closed: the supervisor is gone.
    for line in sys.stdin:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


main()
