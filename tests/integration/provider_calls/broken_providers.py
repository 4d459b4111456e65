"""A shop whose provider is away, and short ways to move its breaker through time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.core.payment import Payment
from testbed.shop import NOWHERE, Shop
from tests.support.engine import Engine


@dataclass(frozen=True)
class BrokenProvider:
    """The provider of `shop`, which nobody can reach until it is `pointed` somewhere."""

    engine: Engine
    shop: Shop

    def point_to(self, url: str) -> None:
        """Let the provider be at `url` from now on."""
        self._run("update payment_providers set api_base_url = :url where id = :id", url=url)

    def break_down(self, deposits: int = 8) -> list[Payment]:
        """Let deposits meet a provider that is not there, until it is paused."""
        self.point_to(NOWHERE)
        payments = [self.shop.deposit() for _ in range(deposits)]
        self.engine.call()
        return payments

    def state(self) -> dict[str, Any] | None:
        """Return the breaker, None where there is none."""
        rows = self._run(
            "select failures, opens, paused_until > now() as is_paused,"
            " extract(epoch from paused_until - now())::float as seconds from provider_breakers where provider_id = :id"
        )
        return rows[0] if rows else None

    def end_pause(self) -> None:
        """End the pause, and make due what was postponed until then."""
        self._run("update provider_breakers set paused_until = now() - interval '1 second' where provider_id = :id")
        self._run("update payment_work set due_at = now() - interval '1 second' where provider_id = :id")

    def age_pause(self, seconds: float) -> None:
        """Let the pause have begun so much earlier."""
        self._run(
            "update provider_breakers set changed_at = changed_at - make_interval(secs => :seconds)"
            " where provider_id = :id",
            seconds=seconds,
        )

    def work(self) -> list[dict[str, Any]]:
        """Return (payment, attempts, seconds until it is due) of the provider's calls, the next one first."""
        return self._run(
            "select payment_id, attempts, extract(epoch from due_at - now())::float as seconds from payment_work"
            " where provider_id = :id order by due_at"
        )

    def clean_up(self) -> None:
        """Leave no work for the tests that follow."""
        for table in ("payment_work", "provider_breakers"):
            self._run(f"delete from {table} where provider_id = :id")

    def _run(self, query: str, **values: Any) -> list[dict[str, Any]]:
        return self.engine.databases.rows(query, id=self.shop.provider_id, **values)
