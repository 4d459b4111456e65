"""Notifications of one tenant, written, numbered and published when a test says so."""

from __future__ import annotations

import dataclasses
import json
import uuid
from dataclasses import dataclass
from functools import cached_property

from redis import Redis
from sqlalchemy import text

from app.runtime.doorbells import Doorbells
from app.runtime.runtime import Runtime
from app.services.records.notifications import number_tenants
from app.services.tenants import tenants
from models import new_id
from testbed.servers import Databases, new_celery
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack

# A port that nothing listens on.
UNUSED_PORT = 9


@dataclass(frozen=True)
class NotificationFeed:
    """The notifications of `shop` and the client tokens of its users."""

    databases: Databases
    shop: Shop

    @property
    def tenant_id(self) -> uuid.UUID:
        """The tenant."""
        return self.shop.tenant_id

    def token(self, user_id: str = "ann", seconds: float | None = None) -> str:
        """Make a client token and return it; one that ends in `seconds` where given."""
        token = self.shop.token(user_id)
        if seconds is not None:
            self.databases.rows(
                "update client_tokens set expires_at = now() + make_interval(secs => :seconds)"
                " where public_part = :part",
                seconds=seconds,
                part=token.removeprefix("ct_").split(".")[0],
            )
        return token

    def write(self, *user_ids: str, text_bytes: int = 0) -> None:
        """Commit one unnumbered notification for each of the users; `text_bytes` makes it longer."""
        parameters = [
            {
                "id": new_id(),
                "tenant": self.shop.tenant_id,
                "user": user_id,
                "payload": json.dumps({"user_id": user_id, "note": "x" * text_bytes}),
            }
            for user_id in user_ids
        ]
        with self.shop.runtime.database.transaction("worker") as connection:
            connection.execute(
                text(
                    "insert into notifications (id, tenant_id, user_id, payment_id, type, payload)"
                    " values (:id, :tenant, :user, :id, 'payment.completed', :payload)"
                ),
                parameters,
            )
            connection.execute(
                text(
                    "insert into notification_work (notification_id, tenant_id, user_id) values (:id, :tenant, :user)"
                ),
                parameters,
            )

    def number(self, *, published: bool = True) -> None:
        """Assign numbers to new notifications, as the worker does; without `published` the hint is lost."""
        number_tenants(self.shop.runtime if published else self._silent_runtime, [self.tenant_id])

    @cached_property
    def _silent_runtime(self) -> Runtime:
        unreachable = Redis(port=UNUSED_PORT, socket_connect_timeout=0.1)
        doorbells = Doorbells(unreachable, new_celery(self.databases.redis_url))
        return dataclasses.replace(self.shop.runtime, redis=unreachable, doorbells=doorbells)

    def notify(self, *user_ids: str, text_bytes: int = 0) -> None:
        """Write, number and publish one notification for each of the users."""
        self.write(*user_ids, text_bytes=text_bytes)
        self.number()

    def revoke_key(self) -> None:
        """Revoke the key that the tokens were made with."""
        tenants.revoke_key(self.shop.runtime, self.shop.key_id, ACTOR)


def make_feed(stack: Stack) -> NotificationFeed:
    """Make a tenant of its own on `stack`."""
    return NotificationFeed(stack.databases, stack.make_shop())
