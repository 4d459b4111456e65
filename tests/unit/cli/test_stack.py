"""How a command finds the stack it speaks to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.cli.stack import NoStack, find_settings

RUN = {
    "web": "http://127.0.0.1:18000",
    "sockets": "http://127.0.0.1:18002",
    "sandbox": "http://127.0.0.1:18001",
    "database_url": "postgresql://sluice_app@/sluice?host=/somewhere",
    "owner_database_url": "postgresql://sluice_owner@/sluice?host=/somewhere",
    "redis_url": "redis://:word@127.0.0.1:16379/0",
    "broker_url": "redis://:word@127.0.0.1:16379/1",
}
DEMO = {"encryption_key": "the-stack's-own", "tenant_id": "a-tenant", "key_id": "a-key"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Provide the home of a stack that runs."""
    (tmp_path / "run.json").write_text(json.dumps(RUN))
    (tmp_path / "demo.json").write_text(json.dumps(DEMO))
    return tmp_path


def find(home: Path, **environment: str) -> Any:
    return find_settings({"SLUICE_HOME": str(home), **environment})


def test_the_running_stack_fills_in_what_the_environment_leaves_open(home: Path) -> None:
    settings = find(home)
    assert settings.database_url == RUN["database_url"]
    assert settings.owner_database_url == RUN["owner_database_url"]
    assert settings.redis_url == RUN["redis_url"]
    assert settings.broker_url == RUN["broker_url"]
    assert settings.public_url == RUN["web"]
    assert settings.encryption_keys == (DEMO["encryption_key"],)


def test_the_environment_wins(home: Path) -> None:
    settings = find(home, SLUICE_PUBLIC_URL="https://pay.example", SLUICE_ENCRYPTION_KEYS="another")
    assert settings.public_url == "https://pay.example"
    assert settings.encryption_keys == ("another",)
    assert settings.database_url == RUN["database_url"]


def test_the_running_stacks_own_url_in_the_environment_still_means_that_stack(home: Path) -> None:
    settings = find(home, DATABASE_URL=RUN["database_url"])
    assert settings.owner_database_url == RUN["owner_database_url"]
    assert settings.encryption_keys == (DEMO["encryption_key"],)


def test_another_database_gets_nothing_of_the_running_stack(home: Path) -> None:
    other = "postgresql://login@db.example/sluice"
    settings = find(home, DATABASE_URL=other)
    assert settings.database_url == settings.owner_database_url == other
    assert settings.encryption_keys == ()
    assert settings.redis_url is None
    assert settings.broker_url is None
    assert settings.demo_tenant_id is None


def test_another_redis_does_not_get_the_running_stacks_broker(home: Path) -> None:
    settings = find(home, REDIS_URL="redis://cache.example/0")
    assert settings.redis_url == settings.broker_url == "redis://cache.example/0"
    assert settings.database_url == RUN["database_url"]


def test_no_stack_and_no_url_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NoStack, match=r"make run.*SLUICE_HOME.*DATABASE_URL"):
        find(tmp_path)
