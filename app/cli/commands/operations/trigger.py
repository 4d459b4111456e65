"""The command `sluice trigger`: play a named story against the sandbox and report what becomes of it."""

from __future__ import annotations

import datetime
import sys
from typing import Any

import click

from app.cli.backend import open_backend
from app.cli.output import json_option, print_json, print_rows
from app.cli.stories.catalogue import STORIES, Story
from app.cli.stories.stage import CURRENCY, Stage

ACTOR_WIDTH = 13  # The longest actor's name.


@click.command("trigger", short_help="Play a story of a payment that goes wrong, against the sandbox.")
@click.argument("name", metavar="[NAME]", required=False, type=click.Choice(sorted(STORIES)))
@json_option
def command(name: str | None, as_json: bool) -> None:
    """Play the story NAME against the sandbox and report it step by step; without a name list the stories.

    The stack is the one that runs in SLUICE_HOME, or that of SLUICE_PUBLIC_URL; the tenant is the one of SLUICE_KEY, a
    secret key, or the demo tenant. It needs a provider at the sandbox, which a live tenant never has. Exit 0 only if
    the story ends as it should.
    """
    if name is None:
        rows = [{"name": each, "title": story.title} for each, story in STORIES.items()]
        print_rows(rows, {"name": "Story", "title": "What happens"}, as_json=as_json)
        return
    story = STORIES[name]
    with open_backend() as backend:
        stage = Stage(backend, _ignore if as_json else _print_step)
        if not as_json:
            click.secho(f"{story.title}\n", bold=True)
        story.play(stage)
        stage.finish()
        report = _summarise(name, story, stage)
    if as_json:
        print_json(report)
    else:
        _conclude(story, report)
    sys.exit(0 if report["ok"] else 1)


def _print_step(after: datetime.timedelta, actor: str, sentence: str) -> None:
    click.echo(f"{f'+{after.total_seconds():.2f} s':>9}  {actor:<{ACTOR_WIDTH}}  {sentence}")


def _ignore(_after: datetime.timedelta, _actor: str, _sentence: str) -> None:
    """Print nothing: the report has the timeline."""


def _summarise(name: str, story: Story, stage: Stage) -> dict[str, Any]:
    payment, balance = stage.payment, stage.balance()
    ended = (payment["status"], payment["exception"], balance)
    return {
        "story": name,
        "ok": ended == (story.status, story.exception, story.balance),
        "payment": payment,
        "balance": balance,
        "timeline": stage.events,
    }


def _conclude(story: Story, report: dict[str, Any]) -> None:
    payment = report["payment"]
    mark = f", marked {payment['exception']}" if payment["exception"] else ""
    click.echo(f"\nThe payment is {payment['status']}{mark}.")
    click.echo(f"The wallet of {payment['user_id']} holds {report['balance']} {CURRENCY}.")
    if report["ok"]:
        click.secho(story.lesson, fg="green")
    else:
        expected = f"{story.status}{f', marked {story.exception}' if story.exception else ''}"
        click.secho(
            f"With the default policies it is {expected}, and the wallet holds {story.balance} {CURRENCY}.",
            fg="red",
            err=True,
        )
    click.echo(f"More: sluice payments explain {payment['id']}")
