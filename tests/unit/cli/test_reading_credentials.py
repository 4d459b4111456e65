"""Where the command line reads a provider's credentials, and that it repeats none of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO

import click
import pytest
from click.testing import CliRunner, Result

from app.cli.credentials import CredentialSource, read_credentials
from app.providers.credentials import Credential

DECLARED = (
    Credential("client_id", "page Apps", is_secret=False),
    Credential("client_secret", "page Apps"),
    Credential("account", "page Accounts", is_required=False),
)
KEYED = (Credential("api_key", "page Keys"),)


def run(
    *arguments: str,
    declared: tuple[Credential, ...] = DECLARED,
    asks_rest: bool = True,
    stdin: str | None = None,
    **environment: str,
) -> Result:
    @click.command()
    @click.option("--credential", "sources", type=CredentialSource(), multiple=True)
    @click.option("--api-key-file", type=click.File())
    def command(sources: tuple[tuple[str, str | None], ...], api_key_file: IO[str] | None) -> None:
        click.echo(json.dumps(read_credentials(declared, sources, api_key_file, asks_rest=asks_rest)))

    return CliRunner().invoke(command, arguments, input=stdin, env=environment)


def read(*arguments: str, **options: object) -> dict[str, str]:
    done = run(*arguments, **options)  # type: ignore[arg-type]
    assert done.exit_code == 0, done.output
    values: dict[str, str] = json.loads(done.stdout)
    return values


def test_each_comes_from_its_own_source(tmp_path: Path) -> None:
    (tmp_path / "id").write_text("the-id\n", encoding="utf-8")
    arguments = ("--credential", f"client_id={tmp_path / 'id'}", "--credential", "account=-")
    assert read(*arguments, stdin=" the-account \n", SLUICE_PROVIDER_CLIENT_SECRET="the-secret") == {
        "client_id": "the-id",
        "account": "the-account",
        "client_secret": "the-secret",
    }


def test_a_file_is_preferred_to_the_environment(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-file", encoding="utf-8")
    for arguments in (("--credential", f"api_key={tmp_path / 'key'}"), ("--api-key-file", str(tmp_path / "key"))):
        assert read(*arguments, declared=KEYED, SLUICE_PROVIDER_API_KEY="other") == {"api_key": "from-file"}


def test_what_is_required_and_missing_is_asked_for_and_a_secret_is_not_shown() -> None:
    done = run(stdin="shown\nhidden\n")
    assert json.loads(done.stdout.splitlines()[-1]) == {"client_id": "shown", "client_secret": "hidden"}
    assert "client_secret (page Apps)" in done.stderr
    assert ("shown" in done.stderr, "hidden" in done.stderr) == (True, False)


def test_a_change_asks_only_for_what_is_named() -> None:
    assert read(asks_rest=False) == {}
    assert read("--credential", "account", asks_rest=False, stdin="new\n") == {"account": "new"}
    assert read(asks_rest=False, SLUICE_PROVIDER_CLIENT_ID="new") == {"client_id": "new"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--credential", "client_secret=sk_live_secret"),
        ("--credential", "sk_live_secret"),
        ("--credential", "sk_live_secret=/dev/null"),
        ("--credential", "client_secret="),
        ("--credential", "client_secret=/dev/null"),
        ("--credential", "client_id=-", "--credential", "client_secret=-"),
        ("--credential", "client_id=-", "--api-key-file", "-"),
    ],
)
def test_what_cannot_be_read_is_refused_and_not_repeated(arguments: tuple[str, ...]) -> None:
    done = run(*arguments, stdin="sk_live_secret\n")
    assert done.exit_code == 2, done.output
    assert "sk_live_secret" not in done.output
