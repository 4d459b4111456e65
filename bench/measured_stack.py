"""A stack of the product that is measured: one tenant on it, and the servers that it costs time on."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field

from testbed.servers import Servers
from testbed.shop import NOWHERE, Shop, make_shop
from testbed.stack import Stack
from testbed.waiting import wait_until

# Limit for the trailing work of a round (numbering). Work that does not end means that a part of the product
# is broken; figures without that part would be too good.
QUIET_SECONDS = 120.0


@dataclass
class MeasuredStack(Stack):
    """A stack with one tenant without limits."""

    servers: Servers = field(init=False)
    shop: Shop = field(init=False)

    def close(self) -> None:
        """End everything that runs, at once: its databases are dropped with it."""
        self.stop(*self.running, sign=signal.SIGKILL)

    def settle_down(self) -> None:
        """Wait until what trails a round (numbering) is done, so that it is not charged to the next one."""
        left = " or ".join(f"exists (select from {queue})" for queue in ("webhook_work", "notification_work"))
        wait_until(lambda: not self.databases.value(f"select {left}"), "all is numbered", QUIET_SECONDS)


@contextlib.contextmanager
def open_measured_stack(servers: Servers, provider_url: str = NOWHERE) -> Iterator[MeasuredStack]:
    """Give a stack on databases of its own, in which nothing runs yet; what was started is ended with the block."""
    with servers.open_databases() as databases, MeasuredStack.open(databases, TMPDIR=str(databases.folder)) as stack:
        stack.servers = servers
        stack.shop = make_shop(stack.runtime, provider_url, requests_per_second=None)
        yield stack
