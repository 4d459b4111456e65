"""Reconciliation: compare a period of payments with the provider's own list and open a case for each difference.

A payment that is still open here is settled with the fact of the list, as with a poll's answer; so is money that the
provider gave back, of any payment: a reversal is a fact in whichever channel it is reported. Nothing else moves money:
a difference about a payment that has ended is for an operator, who accepts, rejects or redrives its case. A difference
is confirmed before its case is opened: the provider is asked for the payment once more, and a payment that changed
meanwhile is in flight and left to the next run. The same difference is the same case.
"""

from __future__ import annotations

import datetime
import itertools
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from app.core.decision import Verdict
from app.core.errors import RequestRejected
from app.core.facts import Fact, FactKind
from app.core.payment import Payment
from app.core.reconciliation import Difference, compare, find_money_back, is_news, missing_there, needs_lookup
from app.providers import Account, Adapter, Listed, Subject
from app.runtime.runtime import Runtime
from app.services.operators.comparison import left_to_the_next_run
from app.services.operators.reconciliation_rows import COMPARED, read_compared
from app.services.payments import settlement
from app.services.payments.batch_decisions import Item
from app.services.payments.calls import breaker
from app.services.payments.calls.provider_trouble import read_credentials
from app.services.records import alerts, audit
from app.services.records.alerts import AlertRow
from app.services.records.audit import AuditRow
from models import new_id, tables
from models.sql import columns

_LETTERS, _PAYMENTS, _PROVIDERS = tables.dead_letters, tables.payment_transactions, tables.payment_providers
# Rows of the provider's list per query of the database.
COMPARED_ROWS = 200

_T = TypeVar("_T")


@dataclass(slots=True)
class ReconciliationReport:
    """The result of a run. `settled` counts open payments that facts of the list have changed."""

    provider_id: uuid.UUID
    compared: int = 0
    settled: int = 0
    in_flight: int = 0
    closed: int = 0
    unanswered: int = 0
    differences: list[Difference] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Run:
    runtime: Runtime
    tenant_id: uuid.UUID
    account: Account
    adapter: Adapter
    actor: str

    @property
    def reports_totals(self) -> bool:
        """Whether the provider reports money that goes back as a total."""
        return self.adapter.capabilities.reversals == "totals"


def reconcile(
    runtime: Runtime, provider_id: uuid.UUID, start: datetime.datetime, end: datetime.datetime, actor: str
) -> ReconciliationReport:
    """Compare the payments created from `start` to before `end`.

    Raise RequestRejected (404) for an unknown provider, ProviderCallFailed where its list cannot be read, and
    ProviderUnusable where it cannot be called as it is configured.
    """
    run = _open(runtime, provider_id, actor)
    report = ReconciliationReport(provider_id)
    seen: set[uuid.UUID] = set()
    # A provider's list may lag behind: what changed since may be missing there for now.
    lag = datetime.timedelta(seconds=run.adapter.capabilities.list_lag_seconds)
    listed_until = datetime.datetime.now(datetime.UTC) - lag
    started = time.monotonic()
    for rows in _chunks(run.adapter.list_payments(run.account, start, end), COMPARED_ROWS):
        known = _load(run, [row.payment_id for row in rows if row.payment_id])
        seen |= known.keys()
        for row in rows:
            report.compared += 1
            with left_to_the_next_run(report, row.payment_id):
                _compare(run, report, known.get(row.payment_id) if row.payment_id else None, row)
    breaker.note_listed(runtime, run.tenant_id, provider_id, time.monotonic() - started)
    for payments in _chunks(_sent_between(run, start, end, seen), COMPARED_ROWS):
        for payment in payments:
            report.compared += 1
            if payment.updated_at > listed_until:
                report.in_flight += 1
                continue
            with left_to_the_next_run(report, payment.id):
                _compare(run, report, payment, None)
    _note(run, report, start, end)
    return report


def _open(runtime: Runtime, provider_id: uuid.UUID, actor: str) -> _Run:
    with runtime.database.transaction("operator") as connection:
        row = connection.execute(
            select(*columns(_PROVIDERS, "tenant_id", "adapter", "api_base_url", "credentials_encrypted")).where(
                _PROVIDERS.c.id == provider_id
            )
        ).first()
    if row is None:
        raise RequestRejected(404, f"there is no provider {provider_id}")
    adapter = runtime.find_adapter(row.adapter)
    account = Account(provider_id, row.api_base_url, read_credentials(runtime, row.credentials_encrypted))
    return _Run(runtime, row.tenant_id, account, adapter, actor)


def _chunks(rows: Iterable[_T], size: int) -> Iterator[list[_T]]:
    iterator = iter(rows)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def _load(run: _Run, ids: list[uuid.UUID]) -> dict[uuid.UUID, Payment]:
    with run.runtime.database.transaction("clerk", run.tenant_id) as connection:
        rows = connection.execute(COMPARED.where(*_of_provider(run), _PAYMENTS.c.id.in_(ids))).mappings()
        return {row["id"]: read_compared(row) for row in rows}


def _of_provider(run: _Run) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return _PAYMENTS.c.tenant_id == run.tenant_id, _PAYMENTS.c.provider_id == run.account.provider_id


def _sent_between(
    run: _Run, start: datetime.datetime, end: datetime.datetime, seen: set[uuid.UUID]
) -> Iterator[Payment]:
    """Yield our payments of the period that the provider has given a reference and did not list."""
    cursor = start - datetime.timedelta(seconds=1), uuid.UUID(int=0)
    created_at, payment_id = _PAYMENTS.c.created_at, _PAYMENTS.c.id
    sent = COMPARED.where(*_of_provider(run), created_at >= start, created_at < end)
    sent = sent.where(_PAYMENTS.c.provider_reference.is_not(None)).order_by(created_at, payment_id).limit(COMPARED_ROWS)
    while True:
        with run.runtime.database.transaction("clerk", run.tenant_id) as connection:
            page = sent.where(tuple_(created_at, payment_id) > cursor)
            payments = [read_compared(row) for row in connection.execute(page).mappings()]
        if not payments:
            return
        yield from (payment for payment in payments if payment.id not in seen)
        cursor = payments[-1].created_at, payments[-1].id


def _compare(run: _Run, report: ReconciliationReport, payment: Payment | None, row: Listed | None) -> None:
    if row is not None and payment is not None:
        if is_news(payment, row.fact, row.reference):
            _settle(run, report, payment, row.fact)
            return
        if _settle_money_back(run, report, payment, row):
            payment = _load(run, [payment.id])[payment.id]
    difference = _differ(run, payment, row)
    if difference is None:
        report.closed += _close_others(run, payment, None)
        return
    if payment is not None and not _is_confirmed(run, payment, row, difference):
        report.in_flight += 1
        return
    report.closed += _close_others(run, payment, difference)
    if _keep(run, difference):
        report.differences.append(difference)


def _differ(run: _Run, payment: Payment | None, row: Listed | None) -> Difference | None:
    if row is None:
        return None if payment is None else missing_there(payment)
    return compare(
        payment,
        row.fact,
        reference=row.reference,
        asked=(row.asked_minor, row.currency),
        refunded_minor=row.refunded_minor if run.reports_totals else None,
        payment_id=row.payment_id,
        can_close=run.adapter.capabilities.can_cancel,
    )


def _settle_money_back(run: _Run, report: ReconciliationReport, payment: Payment, row: Listed) -> bool:
    """Settle what the row reports of money that went back or came again; return whether there was anything.

    A total that is or was smaller than is booked is settled by a lookup that began after the payment was read.
    """
    # Where single movements are reported, their sum is no total: it would be booked as well.
    total_minor = row.refunded_minor if run.reports_totals else 0
    facts = find_money_back(payment, row.fact, row.reference, total_minor)
    if run.reports_totals and needs_lookup(payment, row.fact, row.reference, row.refunded_minor):
        answer = run.adapter.fetch(run.account, Subject(payment.id, row.reference))
        if answer.kind is FactKind.SUCCEEDED and answer.refunded_minor is not None:
            total = replace(answer, kind=FactKind.REFUNDED, amount_minor=answer.refunded_minor, refunded_minor=None)
            facts = [replace(total, asked_version=payment.version)]
    if facts:
        _settle(run, report, payment, *facts)
    return bool(facts)


def _settle(run: _Run, report: ReconciliationReport, payment: Payment, *facts: Fact) -> None:
    actor = f"provider:{payment.provider_id}"
    items = [Item(payment.tenant_id, payment.id, fact, actor, payment.provider_id) for fact in facts]
    with settlement.open(run.runtime, "clerk", run.tenant_id) as batch:
        outcomes = batch.settle(items)
    nothing_new = (Verdict.DUPLICATE, Verdict.IGNORED)
    report.settled += any(one.decision and one.decision.verdict not in nothing_new for one in outcomes)


def _is_confirmed(run: _Run, payment: Payment, row: Listed | None, difference: Difference) -> bool:
    """Ask for the payment once more, then read ours again: one that changed meanwhile is no difference yet."""
    reference = payment.provider_reference if row is None else row.reference
    fact = run.adapter.fetch(run.account, Subject(payment.id, reference))
    if row is None:
        is_same = fact.kind is FactKind.NOT_FOUND
    else:
        first, again = (
            (one.kind, one.amount_minor, one.currency, frozenset(one.movements)) for one in (row.fact, fact)
        )
        is_same = first == again
    now = _load(run, [payment.id]).get(payment.id)
    return is_same and now is not None and now.version == payment.version


def _keep(run: _Run, difference: Difference) -> bool:
    """Open the difference's case; return False where an operator has closed it and so knows of it."""
    about = _case_of(run) | {"case_key": difference.key}
    case = [_LETTERS.c[name] == value for name, value in about.items()]
    with run.runtime.database.transaction("clerk", run.tenant_id) as connection:
        query = select(*columns(_LETTERS, "id", "state")).where(*case).with_for_update()
        known = connection.execute(query).first()
        if known is not None and known.state in ("accepted", "rejected"):
            return False
        now: dict[str, Any] = {
            "amount_minor": difference.correction_minor,
            "state": "open",
            "closed_at": None,
            "closed_by": None,
        }
        if known is not None:
            connection.execute(update(_LETTERS).where(_LETTERS.c.id == known.id).values(now))
            if known.state == "open":
                return True
        else:
            # The provider may name an id that is no payment of ours.
            payment_id = difference.payment_id if difference.is_ours else None
            now |= {"currency": difference.currency, "payment_id": payment_id, "case_reference": difference.reference}
            now |= {"id": new_id(), "reason": difference.reason, "detail": difference.detail}
            connection.execute(insert(_LETTERS).values(about | now).on_conflict_do_nothing())
        _alarm(connection, run, difference)
    return True


def _alarm(connection: Connection, run: _Run, difference: Difference) -> None:
    provider_id = run.account.provider_id
    detail = {"provider_id": provider_id, "payment_id": difference.payment_id, "reference": difference.reference}
    detail |= {"reason": difference.reason, "why": difference.detail}
    alarm = AlertRow("reconciliation_difference", run.tenant_id, detail, f"{provider_id} {difference.key}")
    alerts.write(connection, [alarm])


def _close_others(run: _Run, payment: Payment | None, difference: Difference | None) -> int:
    """Close cases of earlier runs whose difference is gone; return how many."""
    if payment is None or not payment.has_open_case:
        return 0
    about = _case_of(run) | {"payment_id": payment.id, "state": "open"}
    others = [_LETTERS.c[name] == value for name, value in about.items()]
    others.append(_LETTERS.c.case_key.is_distinct_from(difference.key if difference else None))
    closed = {"state": "superseded", "closed_at": func.now(), "closed_by": "system"}
    with run.runtime.database.transaction("clerk", run.tenant_id) as connection:
        return connection.execute(update(_LETTERS).where(*others).values(closed)).rowcount


def _case_of(run: _Run) -> dict[str, Any]:
    return {"tenant_id": run.tenant_id, "provider_id": run.account.provider_id, "kind": "reconciliation"}


def _note(run: _Run, report: ReconciliationReport, start: datetime.datetime, end: datetime.datetime) -> None:
    detail = {
        "provider_id": str(report.provider_id),
        "from": start.isoformat(),
        "to": end.isoformat(),
        "compared": report.compared,
        "settled": report.settled,
        "differences": len(report.differences),
    }
    with run.runtime.database.transaction("clerk", run.tenant_id) as connection:
        audit.write(connection, [AuditRow(run.tenant_id, run.actor, "reconciled", detail)])
