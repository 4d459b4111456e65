"""`sluice trigger`: every story, played against a real sandbox, ends as it says."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from app.cli.backend import Backend, BackendRefused, open_backend
from app.cli.stories.catalogue import STORIES
from app.cli.stories.stage import NoSandbox, Stage
from app.services.tenants import tenants
from app.services.tenants.policies import change_policy
from app.services.tenants.providers import NewProvider, create_provider
from app.services.tenants.tenants import NewTenant
from testbed.shop import ACTOR, NOWHERE, Shop
from testbed.stack import Stack
from tests.support.commands import Commands


@pytest.fixture(scope="module")
def shop(stack: Stack) -> Shop:
    """Provide a tenant at the sandbox of a running stack."""
    stack.start("web", "sandbox", "worker-settle", "worker-provider", "beat")
    return stack.make_shop()


@pytest.fixture(scope="module")
def run(stack: Stack, shop: Shop) -> dict[str, str]:
    """Provide what run.json has of the stack."""
    run = {"web": stack.web, "sandbox": stack.sandbox.url, "secret_key": shop.secret_key}
    (stack.databases.folder / "run.json").write_text(json.dumps(run))
    return run


@pytest.fixture
def backend(run: dict[str, str]) -> Iterator[Backend]:
    """Provide the shop's backend."""
    with open_backend(run) as opened:
        yield opened


def play(stack: Stack, run: dict[str, str], name: str) -> tuple[tuple[object, ...], list[str]]:
    """Play a story; return what it ended with and what was reported."""
    reported: list[str] = []

    def note(_after: datetime.timedelta, actor: str, sentence: str) -> None:
        reported.append(f"{actor}: {sentence}")
        if sentence.startswith("waits for a webhook"):
            # A minute has passed: the payment's first poll is due.
            stack.databases.rows(
                "update payment_work set due_at = now() where payment_id = :id", id=stage.payment["id"]
            )

    with open_backend(run) as backend:
        stage = Stage(backend, note)
        STORIES[name].play(stage)
        stage.finish()
        return (stage.payment["status"], stage.payment["exception"], stage.balance()), reported


def test_every_story_ends_as_it_says(stack: Stack, run: dict[str, str]) -> None:
    with ThreadPoolExecutor(len(STORIES)) as pool:
        played = {name: pool.submit(play, stack, run, name) for name in STORIES}
        ended = {name: one.result() for name, one in played.items()}
    assert {name: state for name, (state, _) in ended.items()} == {
        name: (story.status, story.exception, story.balance) for name, story in STORIES.items()
    }
    expected = {
        "late-success": "the money arrived after the payment had ended",
        "double-webhook": "the sandbox: The webhook was sent 3 times; each was answered 200",
        "lost-webhook": "Sluice: The provider is asked how the payment stands: paid",
        "forged-webhook": "Sluice: A webhook that names this payment is refused: its signature does not hold",
        "lost-answer": "attempt 2",
        "underpaid": "Kept as a dead letter for a person: underpaid",
        "chargeback": "the payer: disputes the payment at the bank",
        "refund": "25.00 USD of the user's wallet went back to the payer (refund)",
    }
    for name, words in expected.items():
        assert words in "\n".join(ended[name][1]), name
    credits = [line for line in ended["double-webhook"][1] if "user's wallet gets" in line]
    assert len(credits) == 1
    for name, (_, reported) in ended.items():
        # A provider may say the same in two ways, which changes nothing twice, and its clearing wallet may get the
        # same amount again (a credit, and money that came again); all else is reported once.
        changes = [line for line in reported if "The payment stays" not in line and "clearing wallet" not in line]
        assert [line for line in changes if changes.count(line) > 1] == [], name


def test_the_command_reports_a_story_and_what_became_of_it(stack: Stack, run: dict[str, str]) -> None:
    said = Commands(stack.databases).text("trigger", "underpaid")
    assert said.startswith("The payer pays too little.\n")
    assert "the payer      pays 10.00 of the 25.00" in said
    assert "The payment is processing, marked underpaid.\n" in said
    assert " holds 0.00 USD.\n" in said
    assert "`sluice dead-letters accept ID` credits the 10.00" in said
    report = Commands(stack.databases).json("trigger", "declined")
    assert (report["story"], report["ok"], report["payment"]["status"]) == ("declined", True, "failed")
    assert report["timeline"][0]["kind"] == "payment_created"


def test_an_end_that_is_not_the_storys_is_an_error(
    stack: Stack, run: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STORIES, "paid", dataclasses.replace(STORIES["paid"], balance="26.00"))
    done = Commands(stack.databases).run("trigger", "paid")
    assert done.exit_code == 1
    assert "it is completed, and the wallet holds 26.00 USD." in done.stderr


def test_a_story_ends_under_other_policies_too(stack: Stack, run: dict[str, str]) -> None:
    other = stack.make_shop()
    change_policy(
        stack.runtime,
        other.tenant_id,
        {"late_policy": "hold", "over_policy": "credit", "tolerance_percent": Decimal(90)},
        ACTOR,
    )
    for name, ended in (
        ("late-success", "it is completed, marked late, and the wallet holds 25.00"),
        ("overpaid", "it is processing, marked overpaid, and the wallet holds 0.00"),
        ("underpaid", "it is processing, marked underpaid, and the wallet holds 0.00"),
    ):
        done = Commands(stack.databases).run("trigger", name, SLUICE_KEY=other.secret_key)
        assert done.exit_code == 1
        assert f"With the default policies {ended} USD." in done.stderr


def test_without_a_name_the_stories_are_listed(stack: Stack, run: dict[str, str]) -> None:
    commands = Commands(stack.databases)
    said = commands.text("trigger")
    assert all(name in said and story.title in said for name, story in STORIES.items())
    assert [row["name"] for row in commands.json("trigger")["data"]] == list(STORIES)
    assert "'unheard-of' is not one of" in commands.error("trigger", "unheard-of", code=2)


def test_only_the_sandbox_is_played_with(stack: Stack, run: dict[str, str]) -> None:
    live = tenants.create_tenant(stack.runtime, NewTenant("live-shop", mode="live"), ACTOR)
    live_key = tenants.create_key(stack.runtime, live, "admin", "test", ACTOR)[1]
    # It could take the deposit: what keeps a story from it is its adapter alone.
    own = NewProvider(live, "own", "custom", NOWHERE, {"api_key": "key"}, currencies=("USD",), is_default=True)
    create_provider(stack.runtime, own, ACTOR)
    with open_backend({**run, "secret_key": live_key}) as opened, pytest.raises(NoSandbox, match="a live tenant never"):
        Stage(opened, lambda *_: None)
    commands = Commands(stack.databases)
    elsewhere = {"SLUICE_PUBLIC_URL": "http://localhost:9", "SLUICE_KEY": ""}
    assert "no stack is ready" in commands.error("trigger", "paid", **elsewhere)
    assert "no sandbox provider" in commands.run("trigger", "paid", SLUICE_KEY=live_key).output
    payments = "select count(*) from payment_transactions where tenant_id = :id"
    assert stack.databases.value(payments, id=live) == 0


def test_a_role_that_may_not_make_deposits_is_refused(shop: Shop, run: dict[str, str]) -> None:
    with open_backend({**run, "secret_key": shop.key("read")}) as opened:
        stage = Stage(opened, lambda *_: None)
        with pytest.raises(BackendRefused, match="403"):
            STORIES["paid"].play(stage)
