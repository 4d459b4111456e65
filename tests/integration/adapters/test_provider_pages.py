"""The pages of docs/providers quote what `sluice providers check` says of an account that is set up as they say."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest

from app.local.emulated_accounts import EMULATED
from app.providers.connectable import Connectable
from testbed.stack import Stack
from tests.integration.adapters.operator import Operator
from tests.support.repository import ROOT

_SECONDS = re.compile(r"[0-9]+ s from")


@pytest.fixture(scope="module")
def working(stack: Stack) -> Stack:
    """Start the processes that a check asks."""
    stack.start("web", "sandbox")
    return stack


@pytest.mark.parametrize("adapter", EMULATED)
def test_the_page_quotes_the_check(working: Stack, adapter: str) -> None:
    operator = Operator(working, adapter)
    if isinstance(working.runtime.find_adapter(adapter), Connectable):
        operator.connect()
    said = operator.commands.run("providers", "check", operator.provider_id, SLUICE_PUBLIC_URL=working.web).stdout
    page = (ROOT / f"docs/providers/{adapter}.md").read_text(encoding="utf-8")
    (quoted,) = re.findall(r"^ *```\n((?: *(?:ok|FAIL|skipped) .*\n)+) *```$", page, re.MULTILINE)
    url, host = f"{working.web}/webhooks/{operator.provider_id}", str(urlsplit(working.web).hostname)
    expected = quoted.replace("https://pay.example/webhooks/ID", url).replace("pay.example", host)
    lines = [line.strip() for line in expected.splitlines()]
    assert [_SECONDS.sub("0 s from", line) for line in said.splitlines()] == lines
