"""A case of the kit: a sentence that holds for every adapter, the code that examines it, and when it does not apply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.providers import Capabilities

if TYPE_CHECKING:
    from app.conformance.trial import Trial

# Says why a case does not apply to an adapter with these capabilities, None where it does.
Excuse = Callable[[Capabilities], str | None]


class ConformanceFailure(AssertionError):
    """The adapter does not do what the case asks for."""


@dataclass(frozen=True, slots=True)
class ConformanceCase:
    """One case; its name is the function's, its sentence the function's docstring."""

    name: str
    sentence: str
    examine: Callable[[Trial], None]
    excuse: Excuse

    def __str__(self) -> str:
        return self.name


def _never(capabilities: Capabilities) -> str | None:
    return None


def case(excuse: Excuse = _never) -> Callable[[Callable[[Trial], None]], ConformanceCase]:
    """Make a case of a function, which raises ConformanceFailure."""

    def wrap(function: Callable[[Trial], None]) -> ConformanceCase:
        return ConformanceCase(function.__name__, str(function.__doc__).strip(), function, excuse)

    return wrap


def expect(holds: object, otherwise: str) -> None:
    """Raise ConformanceFailure, which says `otherwise`, unless `holds`."""
    if not holds:
        raise ConformanceFailure(otherwise)


def expect_equal(found: object, wanted: object, what: str) -> None:
    """Raise ConformanceFailure unless `what`, which was `found`, is as `wanted`."""
    expect(found == wanted, f"{what}: {found!r}, not {wanted!r}")


def expect_error(call: Callable[[], object], *kinds: type[Exception]) -> Exception:
    """Return the error that `call` raises. Raise ConformanceFailure unless it is one of `kinds`."""
    names = " or ".join(kind.__name__ for kind in kinds)
    try:
        result = call()
    except kinds as error:
        return error
    except Exception as error:
        raise ConformanceFailure(f"{type(error).__name__} ({error}), not {names}") from error
    raise ConformanceFailure(f"{result!r}, not {names}")


def unless_cancels(capabilities: Capabilities) -> str | None:
    """Return why cases about closing a payment do not apply."""
    return None if capabilities.can_cancel else "it cannot cancel"


def unless_replays(capabilities: Capabilities) -> str | None:
    """Return why cases about repeated create calls do not apply."""
    return None if capabilities.replays_create else "its provider answers a repeated create call in another way"


def unless_refunds(capabilities: Capabilities) -> str | None:
    """Return why cases about refunds of ours do not apply."""
    return None if capabilities.can_refund else "it makes no refunds"


def unless_keys_refunds(capabilities: Capabilities) -> str | None:
    """Return why cases about repeated refund calls do not apply."""
    return unless_refunds(capabilities) or (None if capabilities.refund_key_seconds else "its refunds have no key")


def unless_finds_refunds(capabilities: Capabilities) -> str | None:
    """Return why cases about lookups of refunds by our id do not apply."""
    found = None if capabilities.finds_refunds else "its refunds cannot be asked for by our id"
    return unless_refunds(capabilities) or found


def unless_expires(capabilities: Capabilities) -> str | None:
    """Return why cases about the provider's clock do not apply."""
    return None if capabilities.can_expire else "its provider ends no payment by itself"


def unless_reads_money(capabilities: Capabilities) -> str | None:
    """Return why cases about the money of a lookup do not apply."""
    return None if capabilities.reads_money else "only its webhooks say how much came"


def unless_finds(capabilities: Capabilities) -> str | None:
    """Return why cases about lookups by our id do not apply."""
    return None if capabilities.can_find else "its provider cannot be asked by our id"


def unless_lists(capabilities: Capabilities) -> str | None:
    """Return why cases about lists of payments do not apply."""
    return "it has no list" if capabilities.listing == "none" else None


def unless_lists_all(capabilities: Capabilities) -> str | None:
    """Return why cases about lists of all payments do not apply."""
    return unless_lists(capabilities) or (None if capabilities.lists_unpaid else "its list has only what was paid")


def unless_ids(capabilities: Capabilities) -> str | None:
    """Return why cases about money that comes again do not apply."""
    return None if capabilities.reversals == "ids" else "it reports what went back as a total"


def unless_joins(capabilities: Capabilities) -> str | None:
    """Return why cases about deliveries of many events do not apply."""
    return None if capabilities.joins_events else "each of its deliveries has one event"


def unless_says_mode(capabilities: Capabilities) -> str | None:
    """Return why cases about events of the other mode do not apply."""
    return None if capabilities.says_mode else "its events do not say their mode"
