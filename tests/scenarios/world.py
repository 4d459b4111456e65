"""One tenant's life in one variant: the real services and the real sandbox, and doorbells and deaths as chosen."""

from __future__ import annotations

import contextlib
import dataclasses
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from redis import Redis
from sqlalchemy import Connection, text

from app.core.errors import RequestRejected
from app.core.payment import Payment
from app.services.operators import resolve
from app.services.payments import queries
from app.services.payments.calls.call_dispatcher import Dispatcher
from app.services.records import notifications
from app.services.upkeep import sweep
from app.services.verification import ProofReport, prove
from app.services.webhooks import settle
from models import Database
from testbed.servers import Servers
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.scenarios.crashing import Crashed, CrashingDatabase, When
from tests.scenarios.door import Door, open_door
from tests.scenarios.rows import Rows, read_rows

Bells = Literal["normal", "lost", "doubled", "repeated", "reversed"]
# Two workers at once may each get one of two webhooks, and who is first decides: not where the order is the story.
BELLS: tuple[Bells, ...] = ("normal", "lost", "doubled", "reversed")
ORDERED_BELLS: tuple[Bells, ...] = ("normal", "lost", "repeated", "reversed")
# In the order in which work usually follows from work.
QUEUES = ("provider", "settle", "notify")
# Rings and sweeps until nothing is due; the longest scenario needs a dozen.
ROUNDS_MAX = 60

_T = TypeVar("_T")

_RELEASE = (
    "update payment_work set due_at = now(), claim_id = null where tenant_id = :id and claim_id is not null",
    # The claim stays: it is what makes the webhook suspect, as it does when a lease ends.
    "update webhook_work set due_at = now(), leased_until = null where tenant_id = :id and claim_id is not null",
    "update provider_breakers set probe_until = now() where tenant_id = :id",
)
_WEBHOOKS_DUE = "update webhook_work set due_at = now(), leased_until = null where tenant_id = :id"
_TIME_PASSES = (
    _WEBHOOKS_DUE,
    "update payment_work set due_at = now() where tenant_id = :id",
    "update provider_breakers set paused_until = now(), probe_until = now() where tenant_id = :id",
)
_RETIRE = "update payment_work set due_at = now() + interval '1 year' where tenant_id = :id"
_DUE = text(
    "select exists (select from webhook_work where tenant_id = :id and due_at <= now()"
    " and (leased_until is null or leased_until <= now()))"
    " or exists (select from notification_work where tenant_id = :id)"
    " or exists (select from payment_work w where w.tenant_id = :id and w.due_at <= now() and not exists"
    " (select from provider_breakers b where b.provider_id = w.provider_id and b.paused_until > now()))"
)


@dataclass(frozen=True)
class Harness:
    """The servers for all scenarios: a database, a Redis, the sandbox, and the door of this process."""

    stack: Stack
    database: CrashingDatabase
    superuser: Database
    redis: Redis
    door: Door

    def open_world(self, bells: Bells = "normal", crash: tuple[int, When] | None = None, **tenant: Any) -> World:
        """Make a tenant with an account at the sandbox; from then on its process dies at the chosen commit."""
        self.database.disarm()
        self.door.after_taking = lambda: None
        self.redis.flushdb()
        world = World(self, self.stack.make_shop(**tenant), bells)
        if crash:
            self.database.arm(*crash)
        return world

    def prove(self) -> ProofReport:
        """Seal what is not sealed, and prove the whole of the books."""
        return prove(self.database, "full")


@contextlib.contextmanager
def open_harness(servers: Servers) -> Iterator[Harness]:
    """Databases of its own with the sandbox running and the door open."""
    with servers.open_databases() as databases, Stack.open(databases) as stack, open_door(stack.ports.web) as door:
        database = CrashingDatabase(databases.database_url, 20)
        superuser = Database(databases.superuser_url, 4)
        stack.runtime = dataclasses.replace(stack.runtime, database=database)
        door.runtime = stack.runtime
        stack.start("sandbox")
        try:
            yield Harness(stack, database, superuser, stack.runtime.redis, door)
        finally:
            database.engine.dispose()
            superuser.engine.dispose()


@dataclass
class World:
    """The actions of people, provider and workers in a scenario; an action whose process dies is repeated."""

    harness: Harness
    shop: Shop
    bells: Bells
    made: list[uuid.UUID] = field(default_factory=list)
    is_resumed: bool = False
    has_died: bool = False

    # People

    def deposit(self, **deposit: Any) -> Payment:
        """Make a deposit; a caller who gets no answer asks again with the same key."""
        number = len(self.made) + 1
        payment = self._insist(lambda: self.shop.deposit(key=f"key-{number}", **deposit))
        self.made.append(payment.id)
        return payment

    def cancel(self) -> None:
        """Cancel the payment; who gets no answer asks again and may hear that it has ended."""
        self._insist_once(lambda: queries.cancel_payment(self.shop.runtime, self.shop.caller, self.made[-1]))

    def decide(self, kind: Literal["accept", "reject"]) -> None:
        """Accept or reject the one open case about money."""
        case = self.value("select id from dead_letters where tenant_id = :id and state = 'open'")
        act = resolve.accept if kind == "accept" else resolve.reject
        self._insist_once(lambda: act(self.shop.runtime, self.shop.tenant_id, case, ACTOR))

    # The provider

    def script(self, **script: Any) -> None:
        """Has the sandbox misbehave for the tenant's next payments (docs/SANDBOX.md)."""
        self.harness.stack.sandbox.script(match={"metadata": {"world": str(self.shop.tenant_id)}}, **script)

    @property
    def marked(self) -> dict[str, str]:
        """The metadata by which a script finds the payment."""
        return {"world": str(self.shop.tenant_id)}

    @property
    def payment(self) -> Payment:
        """The payment made last, as it is now."""
        with self.harness.database.spared():
            return self.shop.payment(self.made[-1])

    def act(self, action: str, webhooks: int = 1, **body: Any) -> None:
        """Do at the sandbox what the paying person does, and waits until so many webhooks more came to rest."""
        before = len(self._deliveries())
        reference = self.value("select provider_reference from payment_transactions where tenant_id = :id")
        self.harness.stack.sandbox.act(reference, action, **body)
        self.rest(before + webhooks)

    def rest(self, webhooks: int = 0) -> None:
        """Wait until at least so many webhooks were sent, and none is under way."""

        def is_at_rest() -> bool:
            sent = self._deliveries()
            return len(sent) >= webhooks and all(one["state"] != "pending" for one in sent)

        wait_until(is_at_rest, f"{webhooks} webhooks came to rest")

    def _deliveries(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for payment_id in self.made:
            found += self.harness.stack.sandbox.deliveries(payment_id)
        return found

    # The workers

    def work(self) -> None:
        """Ring, and where nobody rings any more sweeps, until nothing is due."""
        for _ in range(ROUNDS_MAX):
            self.rest()
            self._resume()
            rings = [] if self.bells == "lost" else self._take_rings()
            if not rings:
                if not self._is_due():
                    return
                self._take_rings()
                self._try(lambda: sweep.sweep(self.shop.runtime))
                rings = self._take_rings()
            for ring in reversed(rings) if self.bells == "reversed" else rings:
                self._answer(ring)
        raise AssertionError("there is always something due")

    def pass_time(self, what: Literal["everything", "webhooks"] = "everything") -> None:
        """Let what waits be due, and works."""
        self._execute(*(_TIME_PASSES if what == "everything" else (_WEBHOOKS_DUE,)))
        self.work()

    def expire(self) -> None:
        """Let the payment's time be up, and works."""
        self._execute(
            "update payment_transactions set expires_at = now() - interval '1 second' where tenant_id = :id",
            *_TIME_PASSES,
        )
        self.work()

    def _take_rings(self) -> list[str]:
        """Take the doorbells out of Redis as a worker does, and says which queues they ring."""
        rings = []
        for queue in QUEUES:
            while self.harness.redis.rpop(f"ring.{queue}") is not None:
                rings.append(queue)
        return rings

    def _answer(self, ring: str) -> None:
        runtime = self.shop.runtime
        task = {
            # One of its own, as each process has: what a process that died had under way is gone with it.
            "provider": lambda: Dispatcher(16).run(runtime),
            "settle": lambda: settle.settle_due(runtime),
            "notify": lambda: notifications.number_due(runtime),
        }[ring]
        if self.bells != "doubled":
            for _ in range(2 if self.bells == "repeated" else 1):
                self._try(task)
            return
        # Both copies at once, as two workers get them.
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(task), pool.submit(task)]:
                done.result()

    def _try(self, act: Callable[[], object]) -> None:
        with contextlib.suppress(Crashed):
            act()

    def _insist(self, act: Callable[[], _T]) -> _T:
        try:
            return act()
        except Crashed:
            return act()

    def _insist_once(self, act: Callable[[], object]) -> None:
        """Act, and again after a death; the second call answers 409 where the first has taken effect."""
        try:
            act()
        except Crashed:
            try:
                act()
            except RequestRejected as rejection:
                if rejection.status != 409:
                    raise

    def _resume(self) -> None:
        """After a death: the leases of the dead are over."""
        if self.harness.database.has_crashed and not self.is_resumed:
            self.is_resumed = True
            self._execute(*_RELEASE)

    # The rows

    @contextlib.contextmanager
    def _superuser(self) -> Iterator[Connection]:
        with self.harness.superuser.engine.begin() as connection:
            yield connection

    def _execute(self, *statements: str) -> None:
        with self._superuser() as connection:
            for statement in statements:
                connection.execute(text(statement), {"id": self.shop.tenant_id})

    def value(self, query: str) -> Any:
        """Return the only value that the superuser's query about the tenant (`:id`) gives."""
        with self._superuser() as connection:
            return connection.execute(text(query), {"id": self.shop.tenant_id}).scalar_one()

    def _is_due(self) -> bool:
        with self._superuser() as connection:
            return bool(connection.execute(_DUE, {"id": self.shop.tenant_id}).scalar())

    def finish(self) -> Rows:
        """End the life and return what is left of it, with what really happened at the provider."""
        self.work()
        with self._superuser() as connection:
            rows = read_rows(connection, self.shop.tenant_id)
        rows["provider"] = []
        for payment_id in self.made:
            truth = self.harness.stack.sandbox.truth(payment_id)
            there = [(one["status"], one["captures"], one["refunds"]) for one in truth["payments"]]
            sent = [(one["idempotency_keys"], one["bodies"]) for one in truth["create_calls"]]
            rows["provider"].append(str((there, sent)))
        # What is asked for later must not come due in the middle of another life.
        self._execute(_RETIRE)
        self.has_died = self.harness.database.has_crashed
        self.harness.database.disarm()
        return rows
