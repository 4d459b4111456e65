"""A client that resumes from before the oldest kept notification is informed of the gap."""

from __future__ import annotations

import pytest

from testbed.stack import Stack
from tests.support.clients.live_clients import LiveClients
from tests.support.clients.notification_feed import NotificationFeed


@pytest.mark.parametrize(("after", "resumed", "ids"), [(0, False, [5]), (1, False, [5]), (2, True, [3, 4, 5])])
def test_what_was_dropped_cannot_be_resumed_over(
    live_stack: Stack, live: LiveClients, feed: NotificationFeed, after: int, resumed: bool, ids: list[int]
) -> None:
    feed.notify("ann", "ann", "ann", "ann")
    # As a drop leaves it.
    live_stack.databases.rows(
        "with gone as (delete from notifications where id in (select notification_id from notification_numbers"
        " where tenant_id = :id and number <= 2))"
        " update notification_counters set held_after = 2 where tenant_id = :id",
        id=feed.tenant_id,
    )
    client = live.connect(feed.token(), after)
    assert client.read() == {"type": "hello", "resumed": resumed, "last_id": 4}
    feed.notify("ann")
    assert client.ids(len(ids)) == ids
