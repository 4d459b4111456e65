"""The database roles that the login of each process type is a member of: those that its transactions act as."""

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
    # Credentials and notifications are read as `sockets`, which may write nothing.
    "sockets": LoginRoles(("sockets",), {"door": "sockets", "web": "sockets", "worker": "sockets"}),
    "settle": LoginRoles(("worker",)),
    # This worker also runs periodic duties, verification of the books among them.
    "provider": LoginRoles(("worker", "auditor")),
    # It sends to tenants' endpoints and sees no ledger: what workers share acts as `deliver` there.
    "deliver": LoginRoles(("deliver",), {"worker": "deliver"}),
    # It reads its own schedule and nothing else.
    "beat": LoginRoles(()),
    "operator": LoginRoles(("operator", "clerk", "auditor"), {"door": "operator", "web": "operator"}),
}

ALL_ROLES: tuple[Role, ...] = get_args(Role)
