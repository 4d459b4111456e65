"""What the kit needs of an emulator: an account at a program that behaves as the provider does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from app.core.facts import FactKind
from app.core.signatures import Scheme
from app.providers import Account

# What payers, banks and the clock do to a payment. `pay` pays what was asked for, `attempt` is a try that is declined,
# `commit` chooses a method that settles days later, `decline` is its failure. `refund` takes an amount.
Action = Literal[
    "pay",
    "attempt",
    "commit",
    "decline",
    "expire",
    "refund",
    "fail_refund",
    "dispute",
    "win_dispute",
    "lose_dispute",
]

# How the next webhook about a payment is sent in place of honestly: signed with a secret of nobody, without its
# signature, rightly signed but half a body, about the other mode, and of a kind that no adapter asks for.
Spoiling = Literal["forged", "unsigned", "malformed", "other_mode", "stray"]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A webhook as it arrived: the last part of its path, the headers by lower-case names, and the raw bytes."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Truth:
    """What the emulator has of one of our payment ids: how many payments, and their money in minor units.

    `received_minor` is what came in all, `gone_minor` what is given back or withdrawn now.
    """

    payments: int
    received_minor: int
    received_currency: str | None
    gone_minor: int


@dataclass(frozen=True, slots=True)
class Traits:
    """What is particular to a provider and is the same for all of its accounts.

    `currency`: one that it takes, in which 2,500 minor units can be asked for. `states`: each state that the provider
    publishes, as fields of a lookup's answer about a paid payment (a path with dots, and its value) that say so, and
    the kind of fact that it is; `unknown_state` is none of them. `mistake`: status and body of its refusal of a field
    that the adapter made, whose message contains the given text. `unusable_page`: fields of the create call's answer
    that send the payer to an address which no browser may follow. `side_paths`: beginnings of paths whose calls are
    about no payment, such as those for a token. `signature_seconds`: how long the signature of a webhook holds, None
    where it has no time.
    """

    currency: str
    states: Sequence[tuple[Mapping[str, object], FactKind]]
    unknown_state: Mapping[str, object]
    mistake: Callable[[str], tuple[int, bytes]]
    unusable_page: Mapping[str, object]
    side_paths: tuple[str, ...] = ()
    signature_seconds: int | None = None


class Emulator(Protocol):
    """One account at the emulated provider, whose webhooks go to the URL that it was opened with.

    A call to an address of a payment's own (`callback_urls` of the order) goes to a path below that URL.
    """

    traits: Traits
    # With good credentials, and with some that have their form and that the provider does not know.
    account: Account
    stranger: Account
    # The webhook secret, and the scheme for an adapter that leaves it to the configuration.
    secret: str
    scheme: Scheme

    def new_secret(self) -> str:
        """Return another webhook secret of the right form, with which nothing is signed."""

    def happen(self, payment_id: str, action: Action, amount_minor: int | None = None) -> None:
        """Let an action happen to the payment with this id of ours, in part where an amount is given."""

    def await_webhooks(self, payment_id: str) -> None:
        """Return once everything has arrived that is to be sent about the payment so far."""

    def spoil(self, payment_id: str, ways: Sequence[Spoiling]) -> None:
        """Send the next webhook about the payment in each of these ways, in place of honestly."""

    def join(self, payment_id: str, count: int) -> None:
        """Send the payment's next `count` events in one webhook. Called only where the adapter says that it can be."""

    def read_truth(self, payment_id: str) -> Truth:
        """Return what the provider has of one of our payment ids."""


# Opens an account whose webhooks go to a URL and to paths below it.
OpenEmulator = Callable[[str], Emulator]
