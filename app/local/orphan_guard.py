"""Kill process groups whose supervisor was killed before it could end them itself.

Run as a plain file by `app.local.guard`, which writes the groups to its standard input: one "+ID" or "-ID" per line.
The kernel signals a parent's death to children but not to grandchildren, so pool workers would outlive a killed stack.
"""

import contextlib
import os
import signal
import sys


def main() -> None:
    """Read group ids from standard input until it closes, then kill the remaining groups."""
    # A signal to the whole session, such as SIGHUP of a closed terminal, must not end the guard first.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    # Ends when every copy of the pipe's write end is closed: the supervisor has ended.
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
