"""Any process may die in mid-flow: it is restarted, the deposit still ends, and it is credited once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import requests
from redis import Redis

from testbed.waiting import wait_until
from tests.e2e.frontend import Frontend, PayPage, assert_credited_once
from tests.support.supervised_stack import RECOVERY_SECONDS, SupervisedStack


@pytest.fixture(autouse=True)
def nothing_is_left_over(full_stack: SupervisedStack) -> Iterator[None]:
    """Each test leaves a stack that works, with no dead letter and nothing due."""
    yield
    wait_until(lambda: health(full_stack, "ready") == (200, "ok"), "web can store a row and ring", RECOVERY_SECONDS)
    wait_until(
        lambda: full_stack.rows("select count(*) as n from webhook_work")[0]["n"] == 0,
        "all is settled",
        RECOVERY_SECONDS,
    )
    assert full_stack.rows("select reason, detail from dead_letters") == []


def health(full_stack: SupervisedStack, name: str) -> tuple[int, str]:
    """Return a health check's status code and word; (0, "") where nobody answers in time."""
    try:
        answer = full_stack.http.get(f"{full_stack.run['web']}/health/{name}", timeout=5)
    except requests.RequestException:
        return 0, ""
    return answer.status_code, answer.json()["status"]


def wait_until_delivered(full_stack: SupervisedStack, payment_id: str) -> None:
    """Wait until the external app's webhook was answered with 200."""
    wait_until(lambda: 200 in full_stack.sandbox.attempts(payment_id), "the webhook is stored", RECOVERY_SECONDS)


def assert_ends_well(full_stack: SupervisedStack, frontend: Frontend, payment: dict[str, Any]) -> None:
    """Wait for the payment's good end and fails unless the money is in the wallet once."""
    wait_until(lambda: health(full_stack, "ready")[0] == 200, "web answers", RECOVERY_SECONDS)
    frontend.wait_until_status(payment["id"], "completed", RECOVERY_SECONDS)
    assert_credited_once(full_stack, payment["id"], payment["amount_minor"])
    assert frontend.wallet()["balance"] == payment["amount"]


@contextlib.contextmanager
def down(full_stack: SupervisedStack, name: str) -> Iterator[None]:
    """Kill a process, and keep the supervisor from replacing it before the block is over."""
    supervisor = psutil.Process(int(full_stack.run["pids"]["supervisor"]))
    supervisor.suspend()
    try:
        pid = full_stack.kill(name)
        yield
    finally:
        supervisor.resume()
    full_stack.wait_for_restart(name, pid)


def test_the_provider_worker_dies_before_the_call(full_stack: SupervisedStack, frontend: Frontend) -> None:
    with down(full_stack, "worker-provider"):
        answer = frontend.ask()
        assert answer.status_code == 202
        payment = answer.json()
    processing = frontend.wait_until_status(payment["id"], "processing", RECOVERY_SECONDS)
    PayPage(processing["redirect_url"]).press("Pay")
    assert_ends_well(full_stack, frontend, payment)


def test_the_provider_worker_dies_during_the_call(full_stack: SupervisedStack, frontend: Frontend) -> None:
    """Whether the external app has the order nobody knows: the same key is sent again, and it is made once."""
    full_stack.sandbox.script(match={"metadata": {"case": frontend.user_id}}, create={"delay": 3, "times": 1})
    payment = frontend.ask(metadata={"case": frontend.user_id}).json()
    wait_until(lambda: full_stack.sandbox.truth(payment["id"])["create_calls"], "the external app has been asked")
    full_stack.wait_for_restart("worker-provider", full_stack.kill("worker-provider"))
    # The dead worker's lease, gone by.
    full_stack.rows("update payment_work set due_at = now() where payment_id = :id", id=payment["id"])
    processing = frontend.wait_until_status(payment["id"], "processing", RECOVERY_SECONDS)
    PayPage(processing["redirect_url"]).press("Pay")
    assert_ends_well(full_stack, frontend, payment)
    known = full_stack.sandbox.truth(payment["id"])
    (calls,) = known["create_calls"]
    assert (calls["calls"], calls["idempotency_keys"], calls["bodies"], len(known["payments"])) == (2, 1, 1, 1)


def test_the_settling_worker_is_dead_while_the_user_pays(full_stack: SupervisedStack, frontend: Frontend) -> None:
    payment = frontend.deposit()
    with down(full_stack, "worker-settle"):
        PayPage(payment["redirect_url"]).press("Pay")
        wait_until_delivered(full_stack, payment["id"])
        assert frontend.payment(payment["id"])["status"] == "processing"
    assert_ends_well(full_stack, frontend, payment)


def test_beat_is_dead(full_stack: SupervisedStack, frontend: Frontend) -> None:
    """Beat only mends what doorbells lose: without it everything still goes its way."""
    with down(full_stack, "beat"):
        payment = frontend.deposit()
        PayPage(payment["redirect_url"]).press("Pay")
        assert_ends_well(full_stack, frontend, payment)


def test_web_is_dead_while_the_user_pays(full_stack: SupervisedStack, frontend: Frontend) -> None:
    """The external app finds nobody and tries again; a client that lost its answer asks again with its key."""
    payment = frontend.deposit(key=f"again-{frontend.user_id}")
    with down(full_stack, "web"):
        PayPage(payment["redirect_url"]).press("Pay")
        wait_until(lambda: None in full_stack.sandbox.attempts(payment["id"]), "the external app found nobody")
        with pytest.raises(requests.ConnectionError):
            frontend.ask(key=f"again-{frontend.user_id}")
    wait_until(lambda: health(full_stack, "ready")[0] == 200, "web is back", RECOVERY_SECONDS)
    replayed = frontend.ask(key=f"again-{frontend.user_id}")
    assert replayed.headers["Idempotent-Replayed"] == "true"
    assert replayed.json()["id"] == payment["id"]
    assert_ends_well(full_stack, frontend, payment)


def test_the_socket_process_dies_before_the_end(full_stack: SupervisedStack, frontend: Frontend) -> None:
    """A client that resumes after the last message it saw misses nothing."""
    listener = frontend.listen()
    payment = frontend.deposit()
    seen = listener.wait_for("payment.redirect_ready", payment["id"])
    with down(full_stack, "sockets"):
        PayPage(payment["redirect_url"]).press("Pay")
        assert_ends_well(full_stack, frontend, payment)
    listener.close()
    wait_until(lambda: socket_answers(full_stack), "the socket process is back", RECOVERY_SECONDS)
    resumed = frontend.listen(after=seen["id"])
    assert resumed.hello["resumed"] is True
    assert resumed.wait_for("payment.completed", payment["id"])["id"] > seen["id"]
    assert resumed.types(payment["id"]) == ["payment.completed"]
    resumed.close()


def socket_answers(full_stack: SupervisedStack) -> bool:
    """Return whether the socket process accepts connections."""
    try:
        return full_stack.http.get(f"{full_stack.run['sockets']}/health/live", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


@contextlib.contextmanager
def doorbells_lost(full_stack: SupervisedStack, queue: str) -> Iterator[None]:
    """Hold the workers still for the block, see its doorbell lie in Redis, and empties Redis under them."""
    with (
        Redis.from_url(full_stack.run["redis_url"]) as redis,
        full_stack.paused("worker-provider"),
        full_stack.paused("worker-settle"),
        full_stack.paused("worker-deliver"),
    ):
        # What is sent while a worker still waits at the list goes past the list.
        wait_until(lambda: redis.info("clients")["blocked_clients"] == 0, "nobody waits for doorbells")
        yield
        wait_until(lambda: redis.llen(queue), "the doorbell was sent")
        redis.flushall()


def test_redis_is_emptied_in_mid_flow(full_stack: SupervisedStack, frontend: Frontend) -> None:
    """Every doorbell, hint and binding is lost: the sweep rings again."""
    listener = frontend.listen()
    with doorbells_lost(full_stack, "ring.provider"):
        payment = frontend.ask().json()
    processing = frontend.wait_until_status(payment["id"], "processing", RECOVERY_SECONDS)
    with doorbells_lost(full_stack, "ring.settle"):
        PayPage(processing["redirect_url"]).press("Pay")
        wait_until_delivered(full_stack, payment["id"])
    assert_ends_well(full_stack, frontend, payment)
    listener.wait_for("payment.completed", payment["id"])
    assert listener.types(payment["id"]) == ["payment.redirect_ready", "payment.completed"]
    listener.close()


def test_redis_is_down(full_stack: SupervisedStack, frontend: Frontend) -> None:
    """Deposit and webhooks are taken all the same, and settled once it is back."""
    listener = frontend.listen()
    waiting = frontend.deposit("10.00")
    with down(full_stack, "valkey"):
        assert health(full_stack, "ready") == (200, "degraded")
        answer = frontend.ask("15.00")
        assert answer.status_code == 202
        PayPage(waiting["redirect_url"]).press("Pay")
        wait_until_delivered(full_stack, waiting["id"])
    frontend.wait_until_status(waiting["id"], "completed", RECOVERY_SECONDS)
    payment = frontend.wait_until_status(answer.json()["id"], "processing", RECOVERY_SECONDS)
    PayPage(payment["redirect_url"]).press("Pay")
    frontend.wait_until_status(payment["id"], "completed", RECOVERY_SECONDS)
    assert frontend.wallet()["balance"] == "25.00"
    assert_credited_once(full_stack, waiting["id"], 1000)
    assert_credited_once(full_stack, payment["id"], 1500)
    listener.wait_for("payment.completed", payment["id"])
    assert listener.types(waiting["id"]) == ["payment.redirect_ready", "payment.completed"]
    assert listener.types(payment["id"]) == ["payment.redirect_ready", "payment.completed"]
    listener.close()


def test_postgresql_crashes_in_mid_flow(full_stack: SupervisedStack, frontend: Frontend) -> None:
    """While PostgreSQL is down, requests are refused with 503; what was accepted before is kept."""
    payment = frontend.deposit()
    with down(full_stack, "postgres"):
        refused = frontend.ask()
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) > 0
        assert health(full_stack, "ready") == (503, "failing")
        PayPage(payment["redirect_url"]).press("Pay")
        wait_until(lambda: 503 in full_stack.sandbox.attempts(payment["id"]), "the external app was asked to retry")
    assert_ends_well(full_stack, frontend, payment)


def test_everything_but_the_database_dies_at_once(full_stack: SupervisedStack, frontend: Frontend) -> None:
    payment = frontend.deposit()
    with contextlib.ExitStack() as held:
        for name in ("worker-settle", "worker-provider", "beat", "web", "sockets", "valkey"):
            held.enter_context(down(full_stack, name))
        PayPage(payment["redirect_url"]).press("Pay")
    assert_ends_well(full_stack, frontend, payment)
