"""A client that resumes from before the oldest notification that is held is told so."""

from __future__ import annotations

import pytest

from tests.integration.sockets import sockets_support
from tests.integration.sockets.sockets_support import Shop, Stack

# pytest looks for fixtures among a module's own names.
stack, shop = sockets_support.stack, sockets_support.shop


@pytest.mark.parametrize(("after", "resumed", "ids"), [(0, False, [5]), (1, False, [5]), (2, True, [3, 4, 5])])
def test_what_was_dropped_cannot_be_resumed_over(
    stack: Stack, shop: Shop, after: int, resumed: bool, ids: list[int]
) -> None:
    shop.notify("ann", "ann", "ann", "ann")
    # As a drop leaves it.
    stack.execute(
        "with gone as (delete from notifications where id in (select notification_id from notification_numbers"
        " where tenant_id = :id and number <= 2))"
        " update notification_counters set held_after = 2 where tenant_id = :id",
        id=shop.tenant_id,
    )
    client = stack.connect(shop.token(), after)
    assert client.read() == {"type": "hello", "resumed": resumed, "last_id": 4}
    shop.notify("ann")
    assert client.ids(len(ids)) == ids
