"""Cases about which webhooks are believed, and what they say to a receiver."""

from __future__ import annotations

import datetime
import re
import time
from dataclasses import replace
from functools import partial

from app.conformance.case import (
    case,
    expect,
    expect_equal,
    expect_error,
    unless_joins,
    unless_says_mode,
)
from app.conformance.emulator import Arrival, Spoiling
from app.conformance.trial import Trial, TrialPayment
from app.core.errors import Unusable, WebhookRejected
from app.core.facts import FactKind
from app.core.strict_json import loads
from app.providers import Delivered, Ignored, Told

# Longer than any provider sends a webhook again, and than clocks differ.
_RESENT_FOR_SECONDS, _CLOCK_SECONDS = 7 * 86_400, 600
_EPOCH, _MOMENT = re.compile(r"\b\d{10}\b", re.ASCII), re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", re.ASCII)
_POKE = "poke"
# What anybody may send; a payment is named by none, or by two at once.
_NO_POKES = (b"", b"id", b"id=", b"{}", b"[]", b"\xff\x00", b"id=tr_1&id=tr_2", b"id=" + b"x" * 100_000, b"&" * 10_000)


@case()
def honest_webhook_is_believed(trial: Trial) -> None:
    """An honest webhook is believed and says that the payment succeeded; its body alone names it, where it can."""
    deposit = trial.created()
    arrivals = trial.happen(deposit, "pay")
    told = [event for arrival in arrivals for event in trial.read(arrival) if not isinstance(event, Ignored)]
    expect(told, "no webhook reports the success")
    facts = [event.fact for event in told if isinstance(event, Told)]
    expect(all(fact.kind is FactKind.SUCCEEDED for fact in facts), f"a success is reported as {facts!r}")
    for arrival in arrivals:
        named = trial.adapter.name_payment(arrival.path, _parse(arrival))
        expect(named is None or named in {each.name for each in told}, f"the body names {named!r}, its events do not")


@case()
def forged_webhook_is_refused(trial: Trial) -> None:
    """A webhook that was signed with another secret is refused."""
    (arrival,) = _arrive(trial, "forged")
    expect_error(lambda: trial.verify(arrival), WebhookRejected)
    (honest,) = _honest(trial)
    expect_error(lambda: trial.verify(honest, (trial.emulator.new_secret(),)), WebhookRejected)


@case()
def unsigned_webhook_is_refused(trial: Trial) -> None:
    """A webhook without a signature is refused."""
    (arrival,) = _arrive(trial, "unsigned")
    expect_error(lambda: trial.verify(arrival), WebhookRejected)
    (honest,) = _honest(trial)
    for name in trial.adapter.signature_headers(trial.emulator.scheme):
        for value in ("", "0" * 64, "v1,"):
            spoiled = replace(honest, headers={**honest.headers, name: value})
            expect_error(partial(trial.verify, spoiled), WebhookRejected)


@case()
def changed_body_is_refused(trial: Trial) -> None:
    """A webhook whose payment was replaced by another one is refused, or says nothing of that one."""
    deposit, victim = trial.created(), trial.created()
    (arrival,) = trial.happen(deposit, "pay")
    body = arrival.body.decode()
    for old, new in ((str(deposit.id), str(victim.id)), (str(deposit.reference), str(victim.reference))):
        body = body.replace(old, new)
    expect(body.encode() != arrival.body, "the webhook names no payment")
    forged = replace(arrival, body=body.encode())
    expect_error(lambda: trial.verify(forged), WebhookRejected)


@case()
def old_secret_is_valid_in_its_overlap(trial: Trial) -> None:
    """While a secret is being replaced, what either secret has signed is believed."""
    (arrival,) = _honest(trial)
    new = trial.emulator.new_secret()
    ids = {trial.verify(arrival, secrets) for secrets in ((new, trial.emulator.secret), (trial.emulator.secret, new))}
    expect_equal(len(ids), 1, "ids of the delivery")


@case()
def old_signature_is_refused(trial: Trial) -> None:
    """A signature with a time holds for its life and for that time alone; one without holds however late it comes."""
    (arrival,) = _honest(trial)
    now, life = time.time(), trial.emulator.traits.signature_seconds
    if life is None:
        trial.verify(arrival, now_seconds=now + _RESENT_FOR_SECONDS)
        return
    trial.verify(arrival, now_seconds=now + life / 2)
    for moment in (now + life + _CLOCK_SECONDS, now - life - _CLOCK_SECONDS):
        expect_error(partial(trial.verify, arrival, now_seconds=moment), WebhookRejected)
    names = trial.adapter.signature_headers(trial.emulator.scheme)
    moved = {name: _move_times(arrival.headers[name], life) for name in names if name in arrival.headers}
    expect(any(arrival.headers[name] != value for name, value in moved.items()), "no header has the signature's time")
    later = replace(arrival, headers={**arrival.headers, **moved})
    expect_error(partial(trial.verify, later, now_seconds=now + life), WebhookRejected)


@case()
def poke_only_asks(trial: Trial) -> None:
    """An unsigned notification is never believed: it names its payment and nothing else, and without a call."""
    order = trial.order()
    if trial.adapter.poke_types:
        urls = {**order.callback_urls, "poke": f"{trial.arrivals.url}/{_POKE}"}
        order = replace(order, callback_urls=urls)
    deposit = TrialPayment(order, trial.adapter.build_request(order))
    trial.create(deposit)
    pokes = [arrival for arrival in trial.happen(deposit, "pay") if arrival.path == _POKE]
    expect_equal(bool(pokes), bool(trial.adapter.poke_types), "whether unsigned notifications come")
    calls = len(trial.proxy.sent)
    for poke in pokes:
        expect(poke.headers.get("content-type", "").partition(";")[0] in trial.adapter.poke_types, "their type differs")
        expect(trial.adapter.read_poke(poke.body) in (deposit.id, deposit.reference), "it names another payment")
        expect_error(partial(trial.verify, poke), WebhookRejected)
    for body in (*_NO_POKES, *([] if pokes else [str(deposit.reference).encode(), f"id={deposit.reference}".encode()])):
        expect_equal(trial.adapter.read_poke(body), None, f"what {body[:40]!r} names")
    expect_equal(len(trial.proxy.sent), calls, "calls for notifications that are not believed yet")


@case()
def unfit_secret_is_refused(trial: Trial) -> None:
    """A secret that cannot verify webhooks is refused when it is entered; the right one is not."""
    scheme = trial.emulator.scheme
    trial.adapter.check_secret(scheme, trial.emulator.secret)
    for secret in ("", "short", "ä" * 40):
        expect_error(partial(trial.adapter.check_secret, scheme, secret), ValueError)


@case()
def malformed_webhook_is_unusable(trial: Trial) -> None:
    """A rightly signed webhook that cannot be read is refused or unusable, never a fact, and raises no other error."""
    for arrival in _arrive(trial, "malformed"):
        _expect_nothing(trial, arrival)
    for body in (b"[]", b"{}", b'"text"', b'{"data": [], "type": 7}', b"\xff"):
        _expect_unreadable(trial, body)
        trial.adapter.name_payment("provider", _parse(Arrival("provider", {}, body)))


@case()
def unknown_event_is_ignored(trial: Trial) -> None:
    """An event of a kind that the adapter does not know is ignored, with a reason for operators."""
    for arrival in _arrive(trial, "stray"):
        events = trial.read(arrival)
        expect(all(isinstance(event, Ignored) and event.reason for event in events), f"it is taken for {events!r}")


@case(unless_says_mode)
def event_says_its_mode(trial: Trial) -> None:
    """An event says whether it is about real money: test as it is here, live where it says so."""
    for wanted, arrivals in ((False, _honest(trial)), (True, _arrive(trial, "other_mode"))):
        said = [event.is_live for arrival in arrivals for event in trial.read(arrival) if isinstance(event, Told)]
        expect(said and set(said) == {wanted}, f"is_live: {said}, not {wanted}")


@case()
def replay_is_the_same_delivery(trial: Trial) -> None:
    """The same webhook again has the id that it had, and other webhooks have others."""
    deposit = trial.created()
    arrivals = trial.happen(deposit, "pay", "refund")
    ids = [trial.verify(arrival) for arrival in arrivals]
    expect_equal([trial.verify(arrival) for arrival in arrivals], ids, "the ids of the same webhooks")
    expect_equal(len(set(ids)), len(arrivals), "different ids")
    folded = trial.settle(deposit, arrivals)
    before = folded.payment, folded.credited_minor
    trial.settle(deposit, arrivals, folded)
    expect_equal((folded.payment.reversed_minor, folded.credited_minor), (before[0].reversed_minor, before[1]), "twice")


@case(unless_joins)
def joined_events_are_told_apart(trial: Trial) -> None:
    """Two events in one delivery are both read, each with an id of its own."""
    deposit = trial.created()
    trial.emulator.join(str(deposit.id), 2)
    arrivals = trial.happen(deposit, "pay", "refund")
    expect_equal(len(arrivals), 1, "deliveries")
    events = [event for event in trial.read(arrivals[0]) if not isinstance(event, Ignored)]
    ids = {event.event_id for event in events}
    expect(len(events) >= 2 and len(ids) == len(events) and None not in ids, f"the events: {events!r}")
    folded = trial.settle(deposit, arrivals)
    expect_equal(folded.credited_minor, 0, "what is left of the money")


def _honest(trial: Trial) -> list[Arrival]:
    return trial.happen(trial.created(), "pay")


def _arrive(trial: Trial, way: Spoiling) -> list[Arrival]:
    """Return the webhooks of a success that are sent in another way than honestly."""
    deposit: TrialPayment = trial.created()
    trial.emulator.spoil(str(deposit.id), [way])
    arrivals = trial.happen(deposit, "pay")
    expect(arrivals, "the emulator has sent no webhook")
    return arrivals


def _expect_nothing(trial: Trial, arrival: Arrival) -> None:
    try:
        trial.verify(arrival)
        events = trial.adapter.translate(Delivered(arrival.path, arrival.body, arrival.headers))
    except (WebhookRejected, Unusable):
        return
    expect(all(isinstance(event, Ignored) for event in events), f"half a body is taken for {events!r}")


def _expect_unreadable(trial: Trial, body: bytes) -> None:
    try:
        events = trial.adapter.translate(Delivered("provider", body, {}))
    except Unusable:
        return
    expect(all(isinstance(event, Ignored) for event in events), f"{body!r} is taken for {events!r}")


def _move_times(header: str, seconds: int) -> str:
    """Return a header's value with its times moved: in seconds since 1970, or by RFC 3339."""
    moved = _EPOCH.sub(lambda found: str(int(found[0]) + seconds), header)
    return _MOMENT.sub(
        lambda found: (datetime.datetime.fromisoformat(found[0]) + datetime.timedelta(seconds=seconds)).isoformat(),
        moved,
    )


def _parse(arrival: Arrival) -> object:
    try:
        return loads(arrival.body)
    except ValueError:
        return None
