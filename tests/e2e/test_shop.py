"""The sample shop of examples/shop, in a real browser on a running stack, as its README starts it."""

from __future__ import annotations

import ast
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, expect

from app.local.spawn import reserve_ports
from testbed.waiting import wait_until
from tests.e2e.browser import DESKTOP, open_page
from tests.support.repository import ROOT
from tests.support.supervised_stack import SLUICE, SupervisedStack
from tests.unit.clients.webhook_cases import SECRET

PROGRAM = ROOT / "examples" / "shop" / "shop.py"
START_SECONDS = 30.0


def _answers(url: str) -> bool:
    with contextlib.suppress(requests.ConnectionError):
        return requests.get(url, timeout=START_SECONDS).status_code == 200
    return False


@pytest.fixture(scope="module")
def shop_url(full_stack: SupervisedStack) -> str:
    """Give an address of a shop that the demo tenant allows."""
    url = f"http://127.0.0.1:{reserve_ports(1)[0]}"
    origins = ["--origin", full_stack.run["web"], "--origin", url]
    subprocess.run(
        [str(SLUICE), "tenants", "update", full_stack.run["tenant"], *origins],
        env=full_stack.environment,
        check=True,
        capture_output=True,
    )
    return url


@contextlib.contextmanager
def _run_shop(stack: SupervisedStack, url: str, folder: Path, webhook_secrets: str) -> Iterator[None]:
    settings = {
        "SLUICE_URL": stack.run["web"],
        "SLUICE_KEY": stack.run["secret_key"],
        "SHOP_URL": url,
        "SHOP_DATABASE": str(folder / "shop.sqlite"),
        "SHOP_WEBHOOK_SECRETS": webhook_secrets,
    }
    with (folder / "shop.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, str(PROGRAM)], env=os.environ | settings, stdout=log, stderr=log)
    try:
        wait_until(lambda: process.poll() is not None or _answers(url), "the shop answers", START_SECONDS)
        assert process.poll() is None, (folder / "shop.log").read_text(encoding="utf-8")
        yield
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _open_endpoint(stack: SupervisedStack, url: str) -> Iterator[str]:
    """Yield the secret of an endpoint of the demo tenant at the shop; afterwards the endpoint is disabled."""
    answer = requests.post(
        f"{stack.run['web']}/api/webhook-endpoints",
        json={"url": f"{url}/hook"},
        headers={"Authorization": f"Bearer {stack.run['secret_key']}"},
        timeout=20,
    )
    assert answer.status_code == 201, answer.text
    yield str(answer.json()["secret"])
    stack.rows(
        "update webhook_endpoints set disabled_at = now(), disabled_reason = 'requested' where id = :id",
        id=answer.json()["id"],
    )


@pytest.mark.browser
@pytest.mark.parametrize("way", ["stream", "webhook"])
def test_an_order_is_paid_and_shown_live(
    full_stack: SupervisedStack, browser: Browser, shop_url: str, tmp_path: Path, way: str
) -> None:
    with contextlib.ExitStack() as opened:
        webhook_secrets = ""
        if way == "webhook":
            # A secret of before a rotation may still be there.
            webhook_secrets = f"{SECRET} {opened.enter_context(_open_endpoint(full_stack, shop_url))}"
        opened.enter_context(_run_shop(full_stack, shop_url, tmp_path, webhook_secrets))
        page = opened.enter_context(open_page(browser, DESKTOP)).page
        page.goto(shop_url)
        page.get_by_label("Amount").fill("12.00")
        page.get_by_role("button", name="Pay").click()
        page.wait_for_url(f"{full_stack.run['sandbox']}/pay/**")
        other = page.context.new_page()
        other.goto(page.url)
        # The first page waits at the shop while the payer pays in another one.
        page.goto(shop_url + _read_return(other.url, full_stack))
        expect(page.locator("#payment")).to_have_text("processing")
        expect(page.locator("#order")).to_have_text("open")
        other.get_by_role("button", name="Pay 12.00 USD").click()
        expect(page.locator("#payment")).to_have_text("completed")
        expect(page.locator("#order")).to_have_text("paid")
        other.wait_for_url(f"{shop_url}/orders/**")
        expect(other.locator("#order")).to_have_text("paid")


def _read_return(pay_page: str, stack: SupervisedStack) -> str:
    """Return the path at the shop to which the payer of this page returns."""
    reference = pay_page.split("/pay/")[1].split("?")[0]
    (row,) = stack.rows(
        "select success_url from payment_transactions where redirect_url like '%' || :reference || '%'",
        reference=reference,
    )
    return "/orders/" + str(row["success_url"]).split("/orders/")[1]


def test_the_shop_says_what_is_wrong_and_takes_no_unsigned_webhook(
    full_stack: SupervisedStack, shop_url: str, tmp_path: Path
) -> None:
    with _run_shop(full_stack, shop_url, tmp_path, SECRET):
        refused = requests.post(f"{shop_url}/orders", data={"amount": "12.001"}, timeout=20)
        assert (refused.status_code, "decimals" in refused.text) == (422, True)
        assert requests.post(f"{shop_url}/hook", data=b"{}", timeout=20).status_code == 400
        assert requests.get(f"{shop_url}/orders/of-another", timeout=20).status_code == 404


def test_the_shop_uses_the_client_and_nothing_of_the_product() -> None:
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(PROGRAM.read_text(encoding="utf-8")))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [str(node.module)]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported - sys.stdlib_module_names == {"flask", "werkzeug", "sluice_client"}
