"""The services after each step of a random life: payments, wallets and cases are as the model says."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from hypothesis.stateful import RuleBasedStateMachine, invariant

from app.runtime.runtime import Runtime
from app.services.records import notifications
from app.services.verification import prove
from app.services.verification.walking import check_payments
from app.services.webhooks import settle as settling
from testbed.servers import Databases
from testbed.shop import Shop, make_shop
from tests.scenarios.model import Model


class ModelComparison(RuleBasedStateMachine):
    """One tenant and its model; each rule of a subclass does a thing to both."""

    runtime: ClassVar[Runtime]
    databases: ClassVar[Databases]

    def __init__(self) -> None:
        super().__init__()
        self.shop: Shop = make_shop(self.runtime)
        self.model = Model()
        self.ids: list[uuid.UUID] = []

    def name(self, number: int, reference: str) -> str:
        """Return the provider's name for a payment."""
        return f"ref_{reference}_{number}"

    def rows(self, query: str, **values: object) -> list[dict[str, Any]]:
        """Rows as the superuser sees them; `:id` is the tenant."""
        return self.databases.rows(query, id=self.shop.tenant_id, **values)

    @invariant()
    def payments_are_as_modelled(self) -> None:
        """Status and money of each payment."""
        query = (
            "select id, status, received_minor, received_currency, reversed_minor from payment_transactions"
            " where tenant_id = :id"
        )
        found = {row.pop("id"): tuple(row.values()) for row in self.rows(query)}
        expected = {
            payment_id: (payment.status, payment.received, payment.received_currency, payment.reversed)
            for payment_id, payment in zip(self.ids, self.model.payments, strict=True)
        }
        assert found == expected

    @invariant()
    def wallets_are_as_modelled(self) -> None:
        """Balances, sums of open payments, and the number of entries: each credit once."""
        wallets = self.rows(
            "select user_id, currency, balance_minor from wallets where tenant_id = :id and kind = 'user'"
        )
        balances = {(row["user_id"], row["currency"]): row["balance_minor"] for row in wallets}
        assert {key: minor for key, minor in balances.items() if minor} == {
            key: minor for key, minor in self.model.wallets.items() if minor
        }
        held = self.rows(
            "select user_id, currency, sum(amount_minor)::bigint as minor from wallet_temp_logs"
            " where tenant_id = :id and state = 'held' group by 1, 2"
        )
        assert {(row["user_id"], row["currency"]): row["minor"] for row in held} == self.model.pending()
        (entries,) = self.rows(
            "select count(*) filter (where e.type = 'deposit') as credits,"
            " count(*) filter (where e.type = 'reversal') as reversals"
            " from wallet_transactions e join wallets w on w.id = e.wallet_id"
            " where e.tenant_id = :id and w.kind = 'user'"
        )
        assert entries == {"credits": self.model.credits, "reversals": self.model.reversals}

    @invariant()
    def waiting_money_is_as_modelled(self) -> None:
        """Open cases about money: what a person could accept, no more and no less."""
        query = (
            "select payment_id, case_reference, amount_minor, currency from dead_letters"
            " where tenant_id = :id and state = 'open' and amount_minor is not null"
        )
        found = sorted(tuple(map(str, row.values())) for row in self.rows(query))
        expected = sorted(
            (str(self.ids[number]), self.name(number, reference), str(extra), currency)
            for number, payment in enumerate(self.model.payments)
            for (reference, currency), (_, extra) in payment.waiting.items()
        )
        assert found == expected

    @invariant()
    def books_hold(self) -> None:
        """Check the invariants of `sluice verify` about payments, their entries and wallets."""
        if self.ids:
            with self.runtime.database.snapshot("operator") as connection:
                assert check_payments(connection, self.ids) == []

    def teardown(self) -> None:
        """In the end everything of this tenant is proved."""
        settling.settle_due(self.runtime)
        notifications.number_due(self.runtime)
        report = prove(self.runtime.database, "full", self.shop.tenant_id)
        assert report.is_whole, report.as_json()
