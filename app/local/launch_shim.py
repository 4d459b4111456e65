"""Ties a process to the life of its parent, hides its user where asked, and becomes another program.

Run as a plain file by `app.local.spawn`, never imported: the steps must happen after the fork, in the child, and doing
them in Python between fork and exec of a threaded parent can deadlock. Linux only steps are skipped elsewhere.
Arguments: parent's process id, signal to get when it dies, `uid:gid` to appear as (or `-`), then the program's argv.
"""

import ctypes
import os
import signal
import sys

CLONE_NEWUSER = 0x10000000  # linux/sched.h
PR_SET_PDEATHSIG = 1  # linux/prctl.h
NAMESPACE_REFUSED = 77  # EX_NOPERM of sysexits.h; none of the started servers ends with it.


def enter_user_namespace(identity: str) -> None:
    """Make this process appear as another user while its files stay the caller's own."""
    uid, gid = identity.split(":")
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWUSER)")
    # The kernel accepts a group map of an unprivileged process only after setgroups is given up.
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {outer_uid} 1"),
        ("gid_map", f"{gid} {outer_gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as target:
            target.write(text)


def tie_to_parent(parent: int, signal_number: int) -> None:
    """Ask the kernel for a signal when the parent dies; leave at once if it is dead already."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def main(arguments: list[str]) -> None:
    """Tie this process to its parent and become the program that `arguments` name."""
    parent, signal_number, identity, *argv = arguments
    if sys.platform == "linux":
        if identity != "-":
            try:
                enter_user_namespace(identity)
            except OSError as error:
                print(f"user namespace refused: {error}", file=sys.stderr)
                raise SystemExit(NAMESPACE_REFUSED) from None
        # Last, because a change of credentials clears it.
        tie_to_parent(int(parent), int(signal_number))
    # The interpreter ignores SIGPIPE, and an ignored signal would stay ignored in the program.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvp(argv[0], argv)  # noqa: S606  # nosec B606
    except OSError as error:
        print(f"cannot run {argv[0]}: {error.strerror}", file=sys.stderr)
        raise SystemExit(127) from None


main(sys.argv[1:])
