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

from app.core.allowance import Allowance
from app.places import Bounds, Places
from app.routes.payments import WAITING_MAX, WAITING_PER_TENANT_MAX, WAITING_PER_USER_MAX
from app.routes.rates import USERS_MAX, TenantRates, UserRates, user_share
from app.services.access import Caller
from app.services.tenants import REQUESTS_PER_SECOND_DEFAULT
from app.sockets.hub import PER_USER_MAX, Hub
from app.sockets.problems import Refused
from app.sockets.rows import Rows
from app.sockets.turns import Turns
from models import Database
from tests.support.api import Api, problem_of
from tests.support.shop import Shop
from tests.support.stack import Stack
from tests.support.waiting import wait_until

# Nobody works here: a payment changes only when the test cancels it.
WAIT_SECONDS = 10
SOON_SECONDS = 4.0


def wait_for(client: Api, path: str) -> str:
    """The status that a waiting request was answered with: pending where it found no place."""
    answer = client.get(path, wait=WAIT_SECONDS)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["status"])


def timed_wait(client: Api, path: str) -> tuple[str, float]:
    """The status, and how many seconds the answer took."""
    started = time.monotonic()
    return wait_for(client, path), time.monotonic() - started


def still_waits(request: Future[str]) -> None:
    """One that found no place would have been answered by now."""
    with pytest.raises(TimeoutError):
        request.result(timeout=1.5)


def deposit(client: Api, user_id: str = "ann") -> str:
    return f"/api/payments/{client.deposit(user_id=user_id).json()['id']}"


def test_one_client_token_cannot_hold_all_places_to_wait(house: Stack, shop: Shop) -> None:
    tokens = [Api(house.web, shop.token("ann")) for _ in range(2)]
    bob = Api(house.web, shop.token("bob"))
    path, others = deposit(tokens[0]), deposit(bob, "bob")
    beyond = 15
    with ThreadPoolExecutor(WAITING_PER_USER_MAX + beyond + 1) as pool:
        # Two tokens of one user: they share one bound.
        greedy = [pool.submit(wait_for, tokens[index % 2], path) for index in range(WAITING_PER_USER_MAX + beyond)]
        for one in itertools.islice(as_completed(greedy), beyond):
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
        assert (answers.count("pending"), answers.count("cancelled")) == (beyond, WAITING_PER_USER_MAX)
        assert patient.result() == "cancelled"


def test_one_tenant_leaves_places_to_the_others(house: Stack, shop: Shop) -> None:
    backend, others = Api(house.web, shop.secret_key), Api(house.web, house.make_shop().secret_key)
    path, other_path = deposit(backend), deposit(others)
    beyond = 10
    assert WAITING_MAX > WAITING_PER_TENANT_MAX
    with ThreadPoolExecutor(WAITING_PER_TENANT_MAX + beyond + 1) as pool:
        greedy = [pool.submit(timed_wait, backend, path) for _ in range(WAITING_PER_TENANT_MAX + beyond)]
        # Whoever is answered first was not let wait; the busier the machine, the later it is asked.
        first = next(as_completed(greedy))
        status, seconds = first.result()
        assert (status, seconds < WAIT_SECONDS - 2) == ("pending", True)
        patient = pool.submit(wait_for, others, other_path)
        still_waits(patient)
        for client, waited_for in ((backend, path), (others, other_path)):
            assert client.post(waited_for + "/cancel").status_code == 200
        assert patient.result() == "cancelled"


def test_places_are_counted_by_user_and_tenant_and_given_back() -> None:
    places, tenant, other = Places(Bounds(5, 4, 2)), uuid.uuid4(), uuid.uuid4()
    assert [places.take(tenant, "ann") for _ in range(3)] == [None, None, "user"]
    assert [places.take(tenant, "bob") for _ in range(3)] == [None, None, "user"]
    assert places.take(tenant, None) == places.take(tenant, "eve") == "tenant"
    assert [places.take(other, "ann") for _ in range(2)] == [None, "total"]
    places.give_back(tenant, "ann")
    assert places.take(tenant, None) is None
    for holder in ("ann", "bob", "bob", None):
        places.give_back(tenant, holder)
    places.give_back(other, "ann")
    # Nothing is left that would grow with every user that was ever seen.
    assert (places._taken, places._by_tenant, places._by_user) == (0, {}, {})


def test_one_user_cannot_use_up_its_tenants_rate_limit(house: Stack) -> None:
    shop = house.make_shop(requests_per_second=20)
    tokens = [Api(house.web, shop.token("ann")) for _ in range(2)]
    backend, bob = Api(house.web, shop.secret_key), Api(house.web, shop.token("bob"))
    statuses: list[int] = []
    good: list[int] = []
    until = time.monotonic() + 3.0
    with ThreadPoolExecutor(6) as pool:

        def hammer(index: int) -> None:
            while time.monotonic() < until:
                statuses.append(tokens[index % 2].get("/api/payments").status_code)

        hammering = [pool.submit(hammer, index) for index in range(6)]
        while time.monotonic() < until:
            good += [caller.get("/api/payments").status_code for caller in (backend, bob)]
            time.sleep(0.4)
        for one in hammering:
            one.result()
    assert set(statuses) == {200, 429}
    # A share a second and what had been saved up.
    assert statuses.count(200) <= user_share(20) * 5
    assert set(good) == {200}
    refused = next(answer for answer in iter(lambda: tokens[0].get("/api/payments"), None) if answer.status_code == 429)
    assert "user" in problem_of(refused, 429)["detail"]
    assert refused.headers["Retry-After"] == "1"


def test_a_users_share_leaves_something_to_the_others() -> None:
    assert [user_share(limit) for limit in (1, 2, 3, 4, 10, 20, 100, 500)] == [1, 1, 1, 2, 5, 5, 10, 50]


def client(user_id: str, limit: int | None) -> Caller:
    return Caller(uuid.UUID(int=1), uuid.UUID(int=2), "client", (), limit, user_id, uuid.UUID(int=3))


def test_a_tenant_without_a_limit_has_users_without_one_and_the_count_of_users_is_bounded() -> None:
    rates = UserRates()
    assert all(rates.may_pass(client("ann", None)) for _ in range(1000))
    assert [rates.may_pass(client("ann", 4)) for _ in range(3)] == [True, True, False]
    for number in range(USERS_MAX + 10):
        assert rates.may_pass(client(f"user-{number}", 4))
    assert len(rates._allowances) == USERS_MAX


def test_an_allowance_fills_again() -> None:
    allowance = Allowance(50.0)
    assert all(allowance.take() for _ in range(50))
    assert not allowance.take()
    wait_until(allowance.take, "it fills", 1)


def test_a_new_tenant_has_a_limit_that_is_exact_over_many_requests(house: Stack, shop: Shop) -> None:
    query = "select requests_per_second from tenants where id = :id"
    assert house.place.value(query, id=shop.tenant_id) == REQUESTS_PER_SECOND_DEFAULT
    limited = Api(house.web, house.make_shop(requests_per_second=40).secret_key)
    with ThreadPoolExecutor(8) as pool:
        started = time.monotonic()
        statuses = list(pool.map(lambda _: limited.get("/api/payments").status_code, range(200)))
        seconds = time.monotonic() - started
    assert set(statuses) <= {200, 429}
    assert statuses.count(200) <= 40 * (seconds + 2)
    assert statuses.count(200) >= 38


def test_requests_that_come_together_share_what_one_of_them_takes(house: Stack) -> None:
    """A burst of a fifth of the limit is no excess, though each request finds nothing taken when it comes."""
    rates, limit = TenantRates(house.runtime), 500
    backend = Caller(uuid.uuid4(), uuid.uuid4(), "shop", (), limit)
    start = threading.Barrier(100)

    def ask(_: int) -> bool:
        start.wait()
        return rates.may_pass(backend)

    with ThreadPoolExecutor(100) as pool:
        assert list(pool.map(ask, range(100))) == [True] * 100
    # All of it, and not much more within the second and the one before it.
    passed = sum(rates.may_pass(backend) for _ in range(3 * limit))
    assert limit - 100 - limit // 20 <= passed <= 2 * limit


def test_a_redis_that_is_away_costs_few_requests_their_time(house: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """It listens and never answers: without the pause each request would wait for it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = replace(house.runtime.settings, redis_url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        rates = TenantRates(replace(house.runtime, settings=settings))
        backend = Caller(uuid.uuid4(), uuid.uuid4(), "shop", (), 4)
        started = time.monotonic()
        passed = [rates.may_pass(backend) for _ in range(200)]
        assert time.monotonic() - started < 3.0
    # Meanwhile the process counts for itself.
    assert 4 <= passed.count(True) < 40


@pytest.mark.parametrize(("connections_max", "tenants_share"), [(800, 700), (11_500, 10_063)])
def test_one_tenant_leaves_live_connections_to_the_others(connections_max: int, tenants_share: int) -> None:
    hub = Hub(Rows(Database("postgresql://nobody@127.0.0.1:9/nothing"), Turns(1, 0.0)), connections_max)
    tenant, other = uuid.uuid4(), uuid.uuid4()
    for number in range(tenants_share):
        hub.reserve(Caller(tenant, tenant, "client", (), user_id=f"user-{number // PER_USER_MAX}"))
    with pytest.raises(Refused) as refused:
        hub.reserve(Caller(tenant, tenant, "client", (), user_id="last"))
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (429, "5")
    hub.reserve(Caller(other, other, "client", (), user_id="ann"))
