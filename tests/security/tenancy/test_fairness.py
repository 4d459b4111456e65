"""One user, token or tenant cannot take what others need: waiting places, the rate limit, live connections."""

from __future__ import annotations

import itertools
import socket
import threading
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import replace

import pytest
import requests

from app.http.capacity import Bounds, Slots
from app.http.problems import Refused
from app.runtime.token_bucket import TokenBucket
from app.services.access.callers import Caller
from app.services.tenants.tenants import REQUESTS_PER_SECOND_DEFAULT, NewTenant, create_tenant
from app.sockets.hub import PER_TOKEN_MAX, PER_USER_MAX, Hub
from app.sockets.rows import LiveQueries
from app.sockets.turns import Turns
from app.web.long_poll import PAYMENT_BOUNDS
from app.web.rate_limits import HOLDERS_MAX, ClientRates, TenantRates, token_share, user_share
from models import Database
from testbed.shop import Shop
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.support.clients.api import Api, problem_of

pytestmark = pytest.mark.serial

# Nobody works here: a payment changes only when the test cancels it.
WAIT_SECONDS = 10
SOON_SECONDS = 4.0


def wait_for(client: Api, path: str) -> str:
    """Return the status that a waiting request was answered with: pending where it was not allowed to wait."""
    answer = client.get(path, wait=WAIT_SECONDS)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["status"])


def timed_wait(client: Api, path: str) -> tuple[str, float]:
    """Return the status, and how many seconds the answer took."""
    started = time.monotonic()
    return wait_for(client, path), time.monotonic() - started


def still_waits(request: Future[str]) -> None:
    """One that found no place would have been answered by now."""
    with pytest.raises(TimeoutError):
        request.result(timeout=1.5)


def deposit(client: Api, user_id: str = "ann") -> str:
    return f"/api/payments/{client.deposit(user_id=user_id).json()['id']}"


def test_one_client_token_cannot_hold_all_places_to_wait(web_stack: Stack, shop: Shop) -> None:
    tokens = [Api(web_stack.web, shop.token("ann")) for _ in range(3)]
    bob = Api(web_stack.web, shop.token("bob"))
    path, others = deposit(tokens[0]), deposit(bob, "bob")
    beyond = 5
    # The first token leaves places to the user's second one; together they leave none to the third.
    held = (PAYMENT_BOUNDS.token, PAYMENT_BOUNDS.user - PAYMENT_BOUNDS.token, 0)
    greedy: list[Future[str]] = []
    with ThreadPoolExecutor(PAYMENT_BOUNDS.user + 3 * beyond + 1) as pool:
        for client, places in zip(tokens, held, strict=True):
            asked = [pool.submit(wait_for, client, path) for _ in range(places + beyond)]
            greedy += asked
            for one in itertools.islice(as_completed(asked), beyond):
                assert one.result() == "pending"
        patient = pool.submit(wait_for, bob, others)
        still_waits(patient)
        started = time.monotonic()
        refused = tokens[0].deposit(headers={"Prefer": "wait=10"})
        assert (refused.status_code, refused.json()["status"]) == (202, "pending")
        assert time.monotonic() - started < SOON_SECONDS
        for client, waited_for in ((tokens[0], path), (bob, others)):
            assert client.post(waited_for + "/cancel").status_code == 200
        answers = [one.result() for one in greedy]
        assert (answers.count("pending"), answers.count("cancelled")) == (3 * beyond, PAYMENT_BOUNDS.user)
        assert patient.result() == "cancelled"


def test_one_key_leaves_places_to_its_tenant_and_one_tenant_to_the_others(web_stack: Stack, shop: Shop) -> None:
    backends = [Api(web_stack.web, secret) for secret in (shop.secret_key, shop.key("shop"))]
    others = Api(web_stack.web, web_stack.make_shop().secret_key)
    path, other_path = deposit(backends[0]), deposit(others)
    beyond = 10
    assert PAYMENT_BOUNDS.total > PAYMENT_BOUNDS.tenant
    held = (PAYMENT_BOUNDS.key, PAYMENT_BOUNDS.tenant - PAYMENT_BOUNDS.key)
    with ThreadPoolExecutor(PAYMENT_BOUNDS.tenant + 2 * beyond + 1) as pool:
        for backend, places in zip(backends, held, strict=True):
            greedy = [pool.submit(timed_wait, backend, path) for _ in range(places + beyond)]
            # The first request to be answered was not allowed to wait. On a busy machine it is sent later.
            status, seconds = next(as_completed(greedy)).result()
            assert (status, seconds < WAIT_SECONDS - 2) == ("pending", True)
        patient = pool.submit(wait_for, others, other_path)
        still_waits(patient)
        for client, waited_for in ((backends[0], path), (others, other_path)):
            assert client.post(waited_for + "/cancel").status_code == 200
        assert patient.result() == "cancelled"


def test_places_are_counted_by_token_user_key_and_tenant_and_given_back() -> None:
    slots, tenant, other = Slots(Bounds(total=7, tenant=6, user=3, token=2, key=2)), uuid.uuid4(), uuid.uuid4()
    ann, anns_phone, bob, eve = (holder(tenant, user_id) for user_id in ("ann", "ann", "bob", "eve"))
    key, other_key, stranger = holder(tenant), holder(tenant), holder(other, "ann")
    assert [slots.acquire(ann) for _ in range(3)] == [None, None, "token"]
    assert [slots.acquire(anns_phone) for _ in range(2)] == [None, "user"]
    assert [slots.acquire(key) for _ in range(3)] == [None, None, "key"]
    assert [slots.acquire(bob), slots.acquire(eve), slots.acquire(other_key)] == [None, "tenant", "tenant"]
    # Another user of the same name, at another tenant.
    assert [slots.acquire(stranger), slots.acquire(stranger)] == [None, "total"]
    slots.release(ann)
    assert [slots.acquire(anns_phone), slots.acquire(ann)] == [None, "user"]
    for one in (ann, anns_phone, anns_phone, bob, key, key, stranger):
        slots.release(one)
    # Nothing is left that would grow with every token that was ever seen.
    assert slots._used == {}


def holder(tenant_id: uuid.UUID, user_id: str | None = None) -> Caller:
    """Return a tenant's backend with a key of its own, or a user's browser with a token of its own."""
    token_id = uuid.uuid4() if user_id else None
    return Caller(tenant_id, uuid.uuid4(), "client" if user_id else "shop", (), user_id=user_id, token_id=token_id)


def test_one_user_cannot_use_up_its_tenants_rate_limit(web_stack: Stack) -> None:
    shop = web_stack.make_shop(requests_per_second=20)
    tokens = [Api(web_stack.web, shop.token("ann")) for _ in range(3)]
    backend, bob = Api(web_stack.web, shop.secret_key), Api(web_stack.web, shop.token("bob"))
    answers: list[requests.Response] = []
    good: list[int] = []
    until = time.monotonic() + 3.0
    with ThreadPoolExecutor(6) as pool:

        def hammer(index: int) -> None:
            while time.monotonic() < until:
                answers.append(tokens[index % 3].get("/api/payments"))

        hammering = [pool.submit(hammer, index) for index in range(6)]
        while time.monotonic() < until:
            good += [caller.get("/api/payments").status_code for caller in (backend, bob)]
            time.sleep(0.4)
        for one in hammering:
            one.result()
    refused = [answer for answer in answers if answer.status_code != 200]
    # A share a second and what had been saved up.
    assert len(answers) - len(refused) <= user_share(20) * 5
    assert set(good) == {200}
    assert {problem_of(answer, 429)["detail"] for answer in refused} == {
        f"Too many requests for this {exceeded}; slow down." for exceeded in ("token", "user")
    }
    assert {answer.headers["Retry-After"] for answer in refused} == {"1"}


def test_a_users_share_leaves_something_to_the_others() -> None:
    assert [user_share(limit) for limit in (1, 2, 3, 4, 10, 20, 100, 500)] == [1, 1, 1, 2, 5, 5, 10, 50]
    assert [token_share(limit) for limit in (1, 2, 3, 4, 10, 20, 100, 500)] == [1, 1, 1, 1, 3, 3, 5, 25]


def client(user_id: str, limit: int | None, token: int = 3) -> Caller:
    return Caller(uuid.UUID(int=1), uuid.UUID(int=2), "client", (), limit, user_id, uuid.UUID(int=token))


def test_one_token_leaves_calls_to_the_users_others() -> None:
    rates = ClientRates()
    assert [rates.find_exceeded(client("ann", 20)) for _ in range(9)] == [None] * 3 + ["token"] * 6
    # What the first token's share refused was not counted against the user.
    assert [rates.find_exceeded(client("ann", 20, token=4)) for _ in range(3)] == [None, None, "user"]
    assert rates.find_exceeded(client("bob", 20, token=5)) is None


def test_a_tenant_without_a_limit_has_users_without_one_and_the_count_of_users_is_bounded() -> None:
    rates = ClientRates()
    assert not any(rates.find_exceeded(client("ann", None)) for _ in range(1000))
    assert [rates.find_exceeded(client("ann", 4, token)) for token in range(3)] == [None, None, "user"]
    for number in range(HOLDERS_MAX // 2 + 10):
        assert rates.find_exceeded(client(f"user-{number}", 4, token=number + 3)) is None
    assert len(rates._buckets) == HOLDERS_MAX


def test_a_bucket_fills_again() -> None:
    bucket = TokenBucket(50.0)
    assert all(bucket.take() for _ in range(50))
    assert not bucket.take()
    wait_until(bucket.take, "it fills")


def test_a_new_tenant_has_a_limit_that_is_exact_over_many_requests(web_stack: Stack) -> None:
    new = create_tenant(web_stack.runtime, NewTenant("new"), "operator:test")
    query = "select requests_per_second from tenants where id = :id"
    assert web_stack.databases.value(query, id=new) == REQUESTS_PER_SECOND_DEFAULT
    limited = Api(web_stack.web, web_stack.make_shop(requests_per_second=40).secret_key)
    with ThreadPoolExecutor(8) as pool:
        started = time.monotonic()
        statuses = list(pool.map(lambda _: limited.get("/api/payments").status_code, range(200)))
        seconds = time.monotonic() - started
    assert set(statuses) <= {200, 429}
    assert statuses.count(200) <= 40 * (seconds + 2)
    assert statuses.count(200) >= 38


def test_requests_that_come_together_share_what_one_of_them_takes(web_stack: Stack) -> None:
    """A burst of a fifth of the limit is no excess, though each request finds nothing taken when it comes."""
    rates, limit = TenantRates(web_stack.runtime), 500
    backend = Caller(uuid.uuid4(), uuid.uuid4(), "shop", (), limit)
    start = threading.Barrier(100)

    def ask(_: int) -> bool:
        start.wait()
        return rates.may_pass(backend)

    with ThreadPoolExecutor(100) as pool:
        assert list(pool.map(ask, range(100))) == [True] * 100
    # All of it, and not much more within the second and the one before it, and those that a busy machine takes.
    started = time.monotonic()
    passed = sum(rates.may_pass(backend) for _ in range(3 * limit))
    assert limit - 100 - limit // 20 <= passed <= limit * (2 + time.monotonic() - started)


def test_a_redis_that_is_away_costs_few_requests_their_time(web_stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """It listens and never answers: without the pause each request would wait for it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = replace(web_stack.runtime.settings, redis_url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        rates = TenantRates(replace(web_stack.runtime, settings=settings))
        backend = Caller(uuid.uuid4(), uuid.uuid4(), "shop", (), 4)
        started = time.monotonic()
        passed = [rates.may_pass(backend) for _ in range(200)]
        assert time.monotonic() - started < 3.0
    # Meanwhile the process counts for itself.
    assert 4 <= passed.count(True) < 40


@pytest.mark.parametrize(("connections_max", "tenants_share"), [(800, 700), (11_500, 10_063)])
def test_one_tenant_leaves_live_connections_to_the_others(connections_max: int, tenants_share: int) -> None:
    hub = Hub(LiveQueries(Database("postgresql://nobody@127.0.0.1:9/nothing"), Turns(1, 0.0)), connections_max)
    tenant, other = uuid.uuid4(), uuid.uuid4()
    for number in range(tenants_share):
        token_id = uuid.UUID(int=number // PER_TOKEN_MAX)
        hub.reserve(Caller(tenant, tenant, "client", (), user_id=f"user-{number // PER_USER_MAX}", token_id=token_id))
    with pytest.raises(Refused) as refused:
        hub.reserve(Caller(tenant, tenant, "client", (), user_id="last"))
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (429, "5")
    hub.reserve(Caller(other, other, "client", (), user_id="ann"))
