"""One adapter at one account of its emulator, with what every case does."""

from __future__ import annotations

import contextlib
import datetime
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from app.conformance.arrivals import Arrivals
from app.conformance.case import ConformanceFailure, expect
from app.conformance.emulator import Action, Arrival, Emulator, OpenEmulator
from app.conformance.ledger_fold import FoldedPayment
from app.conformance.proxy import FaultyProxy
from app.core.errors import WebhookRejected
from app.core.facts import Fact, FactKind
from app.core.strict_json import JsonError, loads
from app.providers import Adapter, Delivered, Event, Ignored, Listed, Order, Received, Subject, Told
from models import new_id

MINOR = 2_500
HOUR = datetime.timedelta(hours=1)
# Some providers need an e-mail address.
_PAYER = {"email": "payer@example.com", "name": "Ada Payer"}
_PATHS = {"success": "payment-success", "failed": "payment-failed", "callback": "payment-callback"}


class TrialPayment:
    """A payment of a case: its order, the request's bytes, and the reference once it is known."""

    def __init__(self, order: Order, request: bytes) -> None:
        self.order, self.request = order, request
        self.id = order.payment_id
        self.reference: str | None = None

    @property
    def subject(self) -> Subject:
        """What a lookup names."""
        return Subject(self.id, self.reference)


class Trial:
    """An adapter, its account behind a proxy that spoils answers, and the webhooks that arrive."""

    def __init__(self, adapter: Adapter, emulator: Emulator, proxy: FaultyProxy, arrivals: Arrivals) -> None:
        self.adapter, self.emulator, self.proxy, self.arrivals = adapter, emulator, proxy, arrivals
        self.account = replace(emulator.account, api_base_url=proxy.url)
        self.stranger = replace(emulator.stranger, api_base_url=proxy.url)

    def order(self, minor: int = MINOR, currency: str | None = None, **changes: object) -> Order:
        """Return an order of a payment of its own."""
        now = datetime.datetime.now(datetime.UTC)
        urls = {name: f"{self.arrivals.url}/{path}" for name, path in {**_PATHS, "provider": "provider"}.items()}
        back = ("https://shop.example/ok?payment_id=1", "https://shop.example/no")
        made = Order(
            new_id(), minor, currency or self.emulator.traits.currency, urls, *back, now, now + HOUR, {"order": "7"}
        )
        return replace(made, customer=_PAYER, **changes)  # type: ignore[arg-type]

    def new_deposit(self, minor: int = MINOR, currency: str | None = None) -> TrialPayment:
        """Return a payment that is not created yet."""
        order = self.order(minor, currency)
        return TrialPayment(order, self.adapter.build_request(order))

    def create(self, deposit: TrialPayment) -> Fact:
        """Call create with the payment's bytes and return its fact."""
        fact = self.adapter.create(self.account, deposit.id, deposit.request)
        deposit.reference = fact.reference or deposit.reference
        return fact

    def created(self, minor: int = MINOR, currency: str | None = None) -> TrialPayment:
        """Return a payment that the provider has accepted."""
        deposit = self.new_deposit(minor, currency)
        fact = self.create(deposit)
        expect(fact.kind is FactKind.ACCEPTED, f"create: {fact!r}, not accepted")
        return deposit

    def fetch(self, deposit: TrialPayment) -> Fact:
        """Query the payment by its reference."""
        return self.adapter.fetch(self.account, deposit.subject)

    def find(self, deposit: TrialPayment) -> Fact:
        """Query the payment by our id alone."""
        return self.adapter.fetch(self.account, Subject(deposit.id, None))

    def cancel(self, deposit: TrialPayment) -> Fact:
        """Close the payment."""
        return self.adapter.cancel(self.account, deposit.subject)

    def list_payments(self, after: datetime.datetime, before: datetime.datetime) -> list[Listed]:
        """Return the provider's list of a period."""
        return list(self.adapter.list_payments(self.account, after, before))

    def happen(self, deposit: TrialPayment, *actions: Action, amount_minor: int | None = None) -> list[Arrival]:
        """Let actions happen, one after the other; return the webhooks that arrive."""
        for action in actions:
            self.emulator.happen(str(deposit.id), action, amount_minor)
        self.emulator.await_webhooks(str(deposit.id))
        return self.arrivals.take()

    def count(self, deposit: TrialPayment) -> int:
        """Return how many payments the provider has for our id."""
        return self.emulator.read_truth(str(deposit.id)).payments

    def verify(self, arrival: Arrival, secrets: Sequence[str] | None = None, now_seconds: float | None = None) -> str:
        """Return the id of a webhook whose signature holds, now or at a given time. Raise WebhookRejected."""
        scheme = self.emulator.scheme
        keys = [self.adapter.read_key(scheme, secret) for secret in secrets or (self.emulator.secret,)]
        try:
            parsed = loads(arrival.body)
        except JsonError:
            parsed = None
        received = Received(arrival.headers, arrival.body, parsed)
        return self.adapter.verify(scheme, keys, received, time.time() if now_seconds is None else now_seconds)

    def read(self, arrival: Arrival) -> Sequence[Event]:
        """Return what a webhook says once its signature holds."""
        try:
            self.verify(arrival)
        except WebhookRejected as refused:
            raise ConformanceFailure(f"an honest webhook is refused: {refused.reason}") from refused
        return self.adapter.translate(Delivered(arrival.path, arrival.body, arrival.headers))

    def settle(
        self, deposit: TrialPayment, arrivals: Sequence[Arrival], folded: FoldedPayment | None = None
    ) -> FoldedPayment:
        """Settle what webhooks say of the payment: each event once, and a hint by a lookup."""
        folded = folded or self.fold(deposit)
        seen: set[str] = set()
        waiting = [event for arrival in arrivals for event in self.read(arrival) if not isinstance(event, Ignored)]
        while waiting:
            # One whose payment is not known yet is tried again after the others, as settlement does.
            known = {deposit.id, deposit.reference, *folded.aliases}
            event = next((each for each in waiting if each.name in known), None)
            if event is None:
                raise ConformanceFailure(
                    f"events name {[each.name for each in waiting]}, ids of the payment are {known}"
                )
            waiting.remove(event)
            if event.event_id is None or event.event_id not in seen:
                folded.settle(event.fact if isinstance(event, Told) else self.fetch(deposit))
            seen |= {event.event_id} if event.event_id else set()
        return folded

    def fold(self, deposit: TrialPayment) -> FoldedPayment:
        """Return the payment as it is once the provider has accepted it."""
        folded = FoldedPayment.of(deposit.order)
        folded.settle(Fact(FactKind.ACCEPTED, deposit.reference))
        return folded


@contextlib.contextmanager
def open_trial(build: Callable[[frozenset[str]], Adapter], open_emulator: OpenEmulator) -> Iterator[Trial]:
    """Open an account of the emulator for one case, and an adapter that may call it."""
    arrivals = Arrivals()
    with contextlib.closing(arrivals):
        emulator = open_emulator(arrivals.url)
        proxy = FaultyProxy(emulator.account.api_base_url, emulator.traits.side_paths)
        with contextlib.closing(proxy):
            # Webhooks may lead to the emulator itself, such as to a certificate.
            own_host = urllib.parse.urlsplit(emulator.account.api_base_url).netloc
            yield Trial(build(frozenset({proxy.host, own_host})), emulator, proxy, arrivals)
