"""Which roles the login of each process type is a member of: those that its transactions act as, and no other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import get_args

from models.database import Role


@dataclass(frozen=True, slots=True)
class LoginRoles:
    """The roles of a process type; `instead` names the role that one of them acts for in shared code."""

    roles: tuple[Role, ...]
    instead: Mapping[Role, Role] = field(default_factory=dict)


# By process type, as in DATABASE_<TYPE>_URL.
LOGIN_ROLES: Mapping[str, LoginRoles] = {
    "web": LoginRoles(("web", "door", "clerk")),
    # It looks credentials up and reads notifications as `sockets`, which may write nothing.
    "sockets": LoginRoles(("sockets",), {"door": "sockets", "web": "sockets", "worker": "sockets"}),
    "settle": LoginRoles(("worker",)),
    # It also runs what beat rings for, the proof of the books among it.
    "provider": LoginRoles(("worker", "auditor")),
    # It reads its own schedule and nothing else.
    "beat": LoginRoles(()),
    "operator": LoginRoles(("operator", "clerk", "auditor"), {"door": "operator", "web": "operator"}),
}

ALL_ROLES: tuple[Role, ...] = get_args(Role)
