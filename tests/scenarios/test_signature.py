"""Every scenario ends in the same rows, whatever becomes of its doorbells and wherever its process dies.

Doorbells: as they are rung, never heard, heard twice at once, and heard in the opposite order. Deaths: right after
each commit, and right before it where no other order of arrival follows from that. The main scenarios die at every
commit, the others at every third, each beginning at another one; at every one with SLUICE_TEST_PROFILE=long.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from testbed.servers import Servers
from tests.scenarios.crashing import When
from tests.scenarios.other_stories import OTHERS
from tests.scenarios.rows import Rows, without_count, without_race
from tests.scenarios.stories import MAIN, Story
from tests.scenarios.world import BELLS, ORDERED_BELLS, Harness, World, open_harness

# No scenario writes as often as this; it bounds the search for the last commit.
COMMITS_MAX = 100
SPREAD = 1 if os.environ.get("SLUICE_TEST_PROFILE") == "long" else 3


@pytest.fixture(scope="module")
def harness(servers: Servers) -> Iterator[Harness]:
    with open_harness(servers) as opened:
        yield opened


def live(story: Story, world: World) -> Rows:
    story.run(world)
    rows = world.finish()
    rows = without_race(rows) if story.is_raced else rows
    return without_count(rows) if story.is_counted else rows


def assert_ends(story: Story, world: World) -> None:
    """Check the undisturbed run: the others are compared with it."""
    payment = world.payment
    assert (payment.status, payment.exception) == (story.status, story.exception)
    credited = "select coalesce(sum(balance_minor), 0) from wallets where tenant_id = :id and kind = 'user'"
    assert world.value(credited) == story.credited_minor
    cases = "select coalesce(jsonb_agg(jsonb_build_array(reason, state)), '[]') from dead_letters where tenant_id = :id"
    assert sorted(tuple(case) for case in world.value(cases)) == sorted(story.cases)


def die_everywhere(story: Story, harness: Harness, expected: Rows, when: When, first: int, step: int) -> int:
    """Return at how many commits the process died."""
    for deaths, nth in enumerate(range(first, COMMITS_MAX, step)):
        world = harness.open_world(crash=(nth, when))
        rows = live(story, world)
        if not world.has_died:
            return deaths
        assert rows == expected, f"the process died {when} commit {nth}"
    raise AssertionError("the scenario has no last commit")


@pytest.mark.parametrize(
    ("story", "first", "step"),
    [
        *(pytest.param(story, 1, 1, id=story.name) for story in MAIN),
        *(pytest.param(story, 1 + index % SPREAD, SPREAD, id=story.name) for index, story in enumerate(OTHERS)),
    ],
)
def test_every_life_ends_in_the_same_rows(harness: Harness, story: Story, first: int, step: int) -> None:
    world = harness.open_world()
    expected = live(story, world)
    assert_ends(story, world)
    assert expected["work left"] == []
    for bells in (ORDERED_BELLS if story.is_ordered else BELLS)[1:]:
        assert live(story, harness.open_world(bells)) == expected, f"doorbells {bells}"
    if not story.is_one_set:
        # How many commits a life has depends on what happens to be settled together; both go past the last one.
        assert die_everywhere(story, harness, expected, "after", first, step)
        if not story.is_ordered:
            assert die_everywhere(story, harness, expected, "before", first, step)
    report = harness.prove()
    assert report.is_whole, report.as_json()
