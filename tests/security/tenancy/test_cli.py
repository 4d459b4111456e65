"""Every command that takes `--tenant`, bound to one tenant, shows and changes nothing of another.

The cases are checked against the command line itself: a command without one fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import click
import pytest

from app.cli import main
from testbed.shop import Shop
from testbed.stack import Stack
from tests.security.tenancy.victims import Victim, make_victim
from tests.support.commands import Commands

Case = Callable[[Victim], list[tuple[str, ...]]]


def narrowed(*options: tuple[str, Callable[[Victim], object]]) -> Case:
    """Without an option, and with each option that names something of the victim's."""
    return lambda victim: [(), *((name, str(value(victim))) for name, value in options)]


def redrive(victim: Victim) -> list[tuple[str, ...]]:
    named = (str(victim.letter_id),)
    filters = (f"payment={victim.paid.id}", f"provider={victim.shop.provider_id}", "older-than=0s", "kind=webhook")
    return [named, (*named, "--dry-run"), *(("--yes", "--filter", words) for words in filters)]


# What makes something new makes it for the tenant that is named; it has nothing to show of another.
CASES: dict[str, Case] = {
    "alerts list": narrowed(),
    "dead-letters list": lambda victim: [
        (),
        ("--filter", f"payment={victim.paid.id}"),
        ("--filter", f"provider={victim.shop.provider_id}"),
    ],
    "dead-letters redrive": redrive,
    "debits create": lambda victim: [
        (victim.user_id, "--amount", "1.00", "--currency", "USD", "--reference", "stolen", "--yes")
    ],
    "debits list": narrowed(("--user", lambda victim: victim.user_id), ("--reference", lambda victim: victim.canary)),
    "endpoints create": lambda _: [("--url", "https://thief.example/")],
    "endpoints list": narrowed(),
    "keys create": narrowed(),
    "keys list": narrowed(),
    "payments list": narrowed(("--user", lambda victim: victim.user_id), ("--status", lambda _: "completed")),
    "providers connect": lambda victim: [("--adapter", "sandbox"), (str(victim.shop.provider_id),)],
    "providers create": lambda _: [("new", "--adapter", "sandbox", "--url", "http://127.0.0.1:9")],
    "providers list": narrowed(),
    "routes clear": lambda _: [("USD",)],
    "routes list": narrowed(),
    "routes set": lambda victim: [("USD", str(victim.shop.provider_id))],
    "verify": lambda _: [(), ("--full",)],
    "webhooks list": lambda victim: [
        (),
        ("--payment", str(victim.paid.id)),
        ("--provider", str(victim.shop.provider_id)),
        ("--refused",),
        ("--refused", "--provider", str(victim.shop.provider_id)),
    ],
}


def find_commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Yield every command under `command` with its words."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from find_commands(found, (*path, name))
    else:
        yield " ".join(path), command


def test_every_command_that_takes_a_tenant_has_a_case() -> None:
    bound = {path for path, command in find_commands(main) if any("--tenant" in each.opts for each in command.params)}
    assert bound == CASES.keys()


@pytest.fixture(scope="module")
def victim(web_stack: Stack) -> Victim:
    """Provide a tenant with rows in every list."""
    return make_victim(web_stack)


@pytest.fixture
def commands(web_stack: Stack) -> Commands:
    """Provide the operator's command line."""
    return Commands(web_stack.databases)


@pytest.fixture(scope="module")
def attacker(web_stack: Stack) -> Shop:
    """Provide a tenant with a payment of its own."""
    shop = web_stack.make_shop()
    shop.deposit(user_id="mallory")
    return shop


@pytest.mark.parametrize("path", CASES)
def test_one_tenants_view_shows_and_changes_nothing_of_another(
    web_stack: Stack, commands: Commands, victim: Victim, attacker: Shop, path: str
) -> None:
    rows = "select md5(string_agg(d::text, '|' order by d.id)) from dead_letters d where tenant_id = :id"
    before = web_stack.databases.value(rows, id=victim.shop.tenant_id)
    for options in CASES[path](victim):
        for form in ((), ("--json",)):
            done = commands.run(*path.split(), "--tenant", str(attacker.tenant_id), *options, *form)
            assert isinstance(done.exception, SystemExit | None), (options, done.exception)
            # A refusal may repeat the id that the operator asked for.
            said = done.output
            for option in options:
                said = said.replace(option, "")
            assert not [text for text in victim.secrets if text in said], (options, said)
    assert web_stack.databases.value(rows, id=victim.shop.tenant_id) == before


@pytest.mark.parametrize("path", [path for path in CASES if path.endswith(" list")])
def test_the_victims_own_view_shows_its_rows(commands: Commands, victim: Victim, path: str) -> None:
    shown = commands.text(*path.split(), "--tenant", str(victim.shop.tenant_id), "--json")
    assert [text for text in victim.secrets if text in shown], shown


def test_the_victims_refused_deliveries_are_its_own(commands: Commands, victim: Victim) -> None:
    tenant = ("--tenant", str(victim.shop.tenant_id))
    assert commands.json("webhooks", "list", "--refused", *tenant)["data"][0]["reason"] == "signature"


def test_a_dead_letter_of_another_tenant_is_not_redriven(commands: Commands, victim: Victim, attacker: Shop) -> None:
    named = ("dead-letters", "redrive", str(victim.letter_id))
    assert "no such dead letter" in commands.error(*named, "--tenant", str(attacker.tenant_id))
    tenant = ("--tenant", str(victim.shop.tenant_id))
    assert commands.json(*named, *tenant, "--dry-run")["count"] == 1
