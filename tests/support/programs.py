"""Programs of the operating system that some tests need, and the Debian packages that bring them."""

from __future__ import annotations

import os
import shutil

import pytest

# Debian keeps servers here; the path of an ordinary user does not have it.
_SERVERS = "/usr/local/sbin:/usr/sbin:/sbin"


def find_program(package: str, *names: str) -> str:
    """Return the path of the first of `names` that is installed.

    Without one the test fails and names `package`, the Debian package that brings it.
    """
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), _SERVERS])
    for name in names:
        found = shutil.which(name, path=path)
        if found:
            return found
    pytest.fail(f"needs {' or '.join(names)}: install the Debian package {package}")
