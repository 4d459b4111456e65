"""Have the kernel end this process with its parent, hide its user if requested, and exec another program.

Run as a plain file by `app.local.spawn`, never imported: the steps must happen in the child after the fork, and Python
code between fork and exec of a threaded parent can deadlock. Steps for Linux only are skipped elsewhere.
Arguments: the parent's process id, the signal on its death, `uid:gid` to appear as (or `-`), then the program's argv.
"""

import ctypes
import os
import signal
import sys

CLONE_NEWUSER = 0x10000000  # linux/sched.h
PR_SET_PDEATHSIG = 1  # linux/prctl.h
NAMESPACE_REFUSED = 77  # EX_NOPERM of sysexits.h; none of the started servers ends with it.


def enter_user_namespace(identity: str) -> None:
    """Enter a user namespace in which this process has another uid and gid; its files stay the caller's."""
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


def signal_parent_death(parent: int, signal_number: int) -> None:
    """Request a signal from the kernel for the parent's death; exit at once if it is dead already."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def main(arguments: list[str]) -> None:
    """Prepare this process and exec the program that `arguments` name."""
    parent, signal_number, identity, *argv = arguments
    if sys.platform == "linux":
        if identity != "-":
            try:
                enter_user_namespace(identity)
            except OSError as error:
                print(f"user namespace refused: {error}", file=sys.stderr)
                raise SystemExit(NAMESPACE_REFUSED) from None
        # Last, because a change of credentials clears it.
        signal_parent_death(int(parent), int(signal_number))
    # The interpreter ignores SIGPIPE, and an ignored signal would stay ignored in the program.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvp(argv[0], argv)  # noqa: S606  # nosec B606
    except OSError as error:
        print(f"cannot run {argv[0]}: {error.strerror}", file=sys.stderr)
        raise SystemExit(127) from None


main(sys.argv[1:])
