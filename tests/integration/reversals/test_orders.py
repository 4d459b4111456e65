"""Every order and every channel in which the facts of a payment arrive leaves the same money in the books."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.shop import Shop
from testbed.stack import Stack
from tests.integration.reversals.single_reversals import SingleScene, open_scene

MOVEMENTS: dict[str, tuple[Any, ...]] = {
    "a": ("reversed", "re_a", 1500),
    "b": ("reversed", "re_b", 2000),
    "again": ("reinstated", "re_a", 1500),
}
FACTS = (
    *("success", "attempt_declined", "declined", "cancelled", "opened", "won", "lost"),
    *MOVEMENTS,
    # A lookup and the list report all that is true at the provider; the first call's answer comes once more.
    *("poll", "list", "answer"),
)
FACTS_MAX = 6


def tell(scene: SingleScene, fact: str) -> None:
    if fact in ("poll", "list", "answer"):
        getattr(scene, fact)()
    elif fact == "success":
        scene.success()
    elif fact in MOVEMENTS:
        scene.moved(*MOVEMENTS[fact])
    elif fact in ("opened", "won", "lost"):
        scene.webhook("dispute", dispute_id="dp_1", dispute_state=fact)
    else:
        scene.webhook(fact, message="no cover")


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(facts=st.lists(st.sampled_from(FACTS), min_size=1, max_size=FACTS_MAX))
def test_any_order_through_any_channel_ends_with_the_same_money(front: Stack, shop: Shop, facts: list[str]) -> None:
    scene = open_scene(front, shop)
    scene.pay()
    for movement in MOVEMENTS.values():
        scene.show(*movement)
    for fact in facts:
        tell(scene, fact)
    # What no message has reported is found in the end.
    scene.poll()
    assert scene.posted == [("deposit", 2500), ("reinstatement", 1500), ("reversal", 1500), ("reversal", 2000)]
    after = scene.shown_payment
    assert (after.status, after.reversed_minor, scene.balance) == ("completed", 2000, 500)
    assert ("disputed" in after.exceptions) is ("opened" in facts and not {"won", "lost"} & set(facts))
    assert [one for one in scene.engine.dead_letters(scene.payment.id) if one == ("reversal", "open")] == []
    scene.prove()
