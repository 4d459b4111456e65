"""Scenarios of a deposit; the end of each is the same whatever happens to doorbells and processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.scenarios.world import World


@dataclass(frozen=True)
class Story:
    """A scenario and its end: the payment's status and mark, what the user's wallet holds, and its dead letters.

    `is_raced`: the provider's answer and its webhook are under way at once, so either may be saved first.
    `is_ordered`: it is about an order of arrival, which a death before a commit or two workers at once may change.
    `is_one_set`: it is about webhooks of one set; after a death each is settled in isolation, in any order.
    `is_counted`: it ends when all attempts are used up, and a death uses up one of them.
    """

    run: Callable[[World], None]
    status: str
    exception: str | None = None
    credited_minor: int = 0
    cases: tuple[tuple[str, str], ...] = ()
    is_raced: bool = False
    is_ordered: bool = False
    is_counted: bool = False
    is_one_set: bool = False

    @property
    def name(self) -> str:
        """The scenario's name."""
        return self.run.__name__


def begin(world: World) -> None:
    """Make a deposit that the provider has."""
    world.deposit(metadata=world.marked)
    world.work()


def try_until_known(world: World) -> None:
    """Let time pass until the provider has the deposit: a death may have used up one of its bad answers."""
    while world.payment.provider_reference is None:
        world.pass_time()


def paid(world: World) -> None:
    """Pay in the ordinary way."""
    begin(world)
    world.act("pay")
    world.work()


def declined(world: World) -> None:
    """Decline at the provider."""
    begin(world)
    world.act("decline", message="No cover.")
    world.work()


def cancelled_then_paid(world: World) -> None:
    """Cancel here, and pay at the provider all the same."""
    begin(world)
    world.cancel()
    world.work()
    world.act("pay", even_if_ended=True)
    world.work()


def webhook_never_sent(world: World) -> None:
    """No webhook comes; the provider is asked."""
    world.script(webhook={"send": []})
    begin(world)
    world.act("pay", webhooks=0)
    world.work()
    world.pass_time()


def timed_out_but_captured(world: World) -> None:
    """Let the provider have the order and the money, but lose its answer."""
    world.script(auto={"action": "pay"}, create={"answer": "timeout", "hold": 0.1, "times": 1})
    begin(world)
    world.rest(1)
    world.work()
    world.pass_time()


def overpaid_and_accepted(world: World) -> None:
    """Too much comes, and a person accepts it."""
    begin(world)
    world.act("pay", amount="30.00")
    world.work()
    world.decide("accept")
    world.work()


# Every kind of end is among these; their deaths are tried at every single commit.
MAIN = (
    Story(paid, "completed", None, 2500),
    Story(declined, "failed"),
    Story(cancelled_then_paid, "completed", "late", 2500),
    Story(webhook_never_sent, "completed", None, 2500),
    Story(timed_out_but_captured, "completed", None, 2500, is_raced=True),
    Story(overpaid_and_accepted, "completed", "overpaid", 3000, (("overpaid", "accepted"),)),
)
