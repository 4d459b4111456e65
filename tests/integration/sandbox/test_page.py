"""The sandbox's pay page, by plain HTTP and in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from playwright.sync_api import Browser, Page

from testbed.waiting import wait_until
from tests.integration.sandbox.sandbox_process import SandboxProcess, callback_urls
from tests.support.webhook_receiver import WebhookReceiver


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 360, "height": 740})
    opened = context.new_page()
    yield opened
    context.close()


def submit(payment: dict[str, Any], action: str, token: str | None = None) -> requests.Response:
    """Send the form of one of the page's buttons."""
    split = urlsplit(payment["redirect_url"])
    token = parse_qs(split.query)["token"][0] if token is None else token
    url = f"{split.scheme}://{split.netloc}{split.path}/{action}"
    return requests.post(url, data={"token": token}, allow_redirects=False, timeout=5)


@pytest.mark.parametrize(
    ("action", "base", "status"),
    [
        ("pay", "https://shop.example/ok?basket=a%20b&x", "paid"),
        ("decline", "https://shop.example/no", "declined"),
        ("cancel", "https://shop.example/no", "cancelled"),
    ],
)
def test_each_button_ends_the_payment_and_leads_back(
    sandbox: SandboxProcess, action: str, base: str, status: str
) -> None:
    payment = sandbox.payment(
        success_url="https://shop.example/ok?basket=a%20b&x#top", failure_url="https://shop.example/no"
    )
    answer = submit(payment, action)
    assert answer.status_code == 303
    location, _, fragment = answer.headers["Location"].partition("#")
    joint = "&" if "?" in base else "?"
    ours = f"payment_id={payment['merchant_reference']}&reference={payment['reference']}"
    assert location == f"{base}{joint}{ours}"
    assert fragment == ("top" if action == "pay" else "")
    assert sandbox.get(f"/v1/payments/{payment['reference']}")["status"] == status


def test_the_page_asks_for_its_token_and_gives_nothing_away(sandbox: SandboxProcess) -> None:
    payment = sandbox.payment(success_url="https://shop.example/ok", failure_url="http://[::1]:9/no")
    for token in ("", "x", "\u2603"):
        assert submit(payment, "pay", token).status_code == 404
    bare = payment["redirect_url"].partition("?")[0]
    for url in (bare, bare + "?token=wrong", bare + "x?token=wrong"):
        assert requests.get(url, timeout=5).status_code == 404
    assert sandbox.get(f"/v1/payments/{payment['reference']}")["status"] == "open"
    shown = requests.get(payment["redirect_url"], timeout=5)
    policy = shown.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert policy.endswith("form-action 'self' http: https://shop.example")
    assert shown.headers["Referrer-Policy"] == "no-referrer"
    assert "<script" not in shown.text
    assert "style=" not in shown.text


def test_what_the_merchant_sends_is_only_text(sandbox: SandboxProcess) -> None:
    payment = sandbox.payment(merchant_reference="<img/src=x>")
    shown = requests.get(payment["redirect_url"], timeout=5).text
    assert "&lt;img/src=x&gt;" in shown
    assert "<img" not in shown


def test_a_second_click_finds_the_payment_ended(sandbox: SandboxProcess) -> None:
    payment = sandbox.payment()
    for _ in range(2):
        answer = submit(payment, "pay")
        assert answer.status_code == 303
        assert answer.headers["Location"].startswith(f"/pay/{payment['reference']}?token=")
    assert "Payment received" in requests.get(payment["redirect_url"], timeout=5).text
    assert sandbox.truth(payment["merchant_reference"])["payments"][0]["captures"] == 1


@pytest.mark.browser
def test_a_person_pays_and_returns_to_another_site(sandbox: SandboxProcess, page: Page) -> None:
    shop = WebhookReceiver()
    try:
        # Another origin than the page's: Chromium blocks the way back unless the page's policy names it.
        back = shop.url.replace("127.0.0.1", "localhost") + "/thanks?basket=7"
        payment = sandbox.payment(amount="1225.00", success_url=back, callback_urls=callback_urls(shop))
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(payment["redirect_url"])
        assert "no real money" in page.inner_text("body")
        assert page.inner_text("main").count("1,225.00") == 2
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        assert page.evaluate("getComputedStyle(document.querySelector('.primary')).minHeight") == "48px"
        assert complaints == []
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_url("**/thanks?basket=7&payment_id=*")
        assert shop.wait_for(1)[0].path == "/success"
    finally:
        shop.close()


@pytest.mark.browser
@pytest.mark.parametrize(("button", "heading"), [("Decline", "Payment declined"), ("Cancel", "Payment cancelled")])
def test_a_person_does_not_pay(sandbox: SandboxProcess, page: Page, button: str, heading: str) -> None:
    payment = sandbox.payment()
    page.goto(payment["redirect_url"])
    page.get_by_role("button", name=button).click()
    page.get_by_role("heading", name=heading).wait_for()
    assert page.get_by_role("button").count() == 0


@pytest.mark.browser
def test_a_person_pays_the_rest(sandbox: SandboxProcess, page: Page) -> None:
    payment = sandbox.payment()
    path = f"/v1/payments/{payment['reference']}"
    sandbox.post(path + "/pay", {"amount": "10.00"})
    page.goto(payment["redirect_url"])
    page.get_by_role("button", name="Pay 15.00 USD").click()
    page.get_by_role("heading", name="Payment received").wait_for()
    wait_until(lambda: sandbox.get(path)["received_amount"] == "25.00", "the rest")


def sent_bodies(receiver: WebhookReceiver, count: int) -> list[dict[str, Any]]:
    return [json.loads(one.body) for one in receiver.wait_for(count)]


@pytest.mark.parametrize(
    ("name", "status", "received", "webhooks"),
    [
        ("double-webhook", "paid", "25.00", ["success"] * 3),
        ("lost-webhook", "paid", "25.00", []),
        ("underpaid", "underpaid", "12.50", ["success"]),
    ],
)
def test_a_story_of_the_page_happens_to_its_payment_alone(
    sandbox: SandboxProcess, receiver: WebhookReceiver, name: str, status: str, received: str, webhooks: list[str]
) -> None:
    payment, other = (
        sandbox.payment(callback_urls=callback_urls(receiver), success_url="https://shop.example/ok") for _ in range(2)
    )
    answer = submit(payment, f"story/{name}")
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("https://shop.example/ok" if status == "paid" else "/pay/")
    shown = sandbox.get(f"/v1/payments/{payment['reference']}")
    assert (shown["status"], shown["received_amount"]) == (status, received)
    # Another payment's webhook comes once; what a story sent before it has come then.
    sandbox.post(f"/v1/payments/{other['reference']}/pay", {})
    bodies = sent_bodies(receiver, len(webhooks) + 1)
    own = [body["status"] for body in bodies if body["transaction_id"] == payment["merchant_reference"]]
    assert own == webhooks


def test_what_a_story_keeps_for_later_happens_by_itself(sandbox: SandboxProcess, receiver: WebhookReceiver) -> None:
    late, disputed = (sandbox.payment(callback_urls=callback_urls(receiver)) for _ in range(2))
    submit(late, "story/late-success")
    submit(disputed, "story/chargeback")
    states = [sandbox.get(f"/v1/payments/{payment['reference']}")["status"] for payment in (late, disputed)]
    assert states == ["cancelled", "paid"]

    def have_happened() -> bool:
        ((paid,), (gone,)) = (sandbox.truth(one["merchant_reference"])["payments"] for one in (late, disputed))
        return paid["status"] == "paid" and bool(gone["disputes"])

    wait_until(have_happened, "the money and the dispute", 30)


def test_a_story_needs_the_token_and_an_open_payment(sandbox: SandboxProcess) -> None:
    payment = sandbox.payment()
    assert submit(payment, "story/underpaid", "wrong").status_code == 404
    assert submit(payment, "story/unheard-of").status_code == 404
    submit(payment, "decline")
    for _ in range(2):
        assert submit(payment, "story/late-success").headers["Location"].startswith("/pay/")
    assert "Try a bad day" not in requests.get(payment["redirect_url"], timeout=5).text
    (truth,) = sandbox.truth(payment["merchant_reference"])["payments"]
    assert (truth["status"], truth["captures"]) == ("declined", 0)


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1_280])
def test_a_person_chooses_a_bad_day(sandbox: SandboxProcess, page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    payment = sandbox.payment()
    page.goto(payment["redirect_url"])
    half = page.get_by_role("button", name="Pay half")
    assert not half.is_visible()
    page.get_by_text("Try a bad day").click()
    for button in page.locator(".stories button").all():
        box = button.bounding_box()
        assert box is not None
        assert box["height"] >= 44
        assert 0 <= box["x"] <= box["x"] + box["width"] <= width
    assert page.evaluate("document.documentElement.scrollWidth") == width
    half.click()
    page.get_by_role("button", name="Pay 12.50 USD").wait_for()
