"""The JavaScript client in Node and in a browser: the package, webhooks, retries, and a payment's view."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import pytest
from playwright.sync_api import Browser

from testbed.waiting import wait_until
from tests.support.clients.js_package import SOURCE, JsPackage
from tests.support.repository import ROOT
from tests.unit.clients.false_api import Answer, FalseApi, problem
from tests.unit.clients.webhook_cases import BODY, CASES, NOW, SECRET, sign
from tests.unit.web.false_backend import Backend

AT_ONCE = {"Retry-After": "0"}
STATIC = ROOT / "app" / "web" / "static"
DESCRIBE = "(error) => ({ name: error.name, status: error.status, code: error.code, requestId: error.requestId })"
CLIENT = (
    f"const describe = {DESCRIBE}; const client = new sluice.SluiceClient({{ baseUrl: url, secretKey: 'sk_test' }});"
)

Serve = Callable[..., FalseApi]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> JsPackage:
    """Give the package, put together in a folder of its own."""
    return JsPackage.build(tmp_path_factory.mktemp("js") / "package")


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Give a maker of servers, which end with the test."""
    opened: list[FalseApi] = []

    def _serve(*answers: Answer) -> FalseApi:
        opened.append(FalseApi(*answers))
        return opened[-1]

    yield _serve
    for server in opened:
        server.close()


def test_the_package_is_whole_and_has_the_module_that_is_served(package: JsPackage) -> None:
    described = json.loads((package.folder / "package.json").read_text(encoding="utf-8"))
    assert described["version"] == version("sluice")
    named = {path for export in described["exports"].values() for path in export.values()}
    for script in package.folder.glob("*.js"):
        named |= set(re.findall(r" from '(\./.+?)'", script.read_text(encoding="utf-8")))
    assert {path for path in named if not (package.folder / path).is_file()} == set()
    for name in ("sluice.js", "sluice.d.ts"):
        assert (package.folder / name).read_bytes() == (STATIC / name).read_bytes()
    assert (package.folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_deliveries_are_accepted_and_refused_as_by_the_python_client(package: JsPackage) -> None:
    reported = package.run(
        """return cases.map(({ body, headers, secrets, tolerance, now }) => {
          const options = { toleranceSeconds: tolerance, now };
          try {
            return sluice.verifyWebhook(body, headers, secrets, options).id;
          } catch (error) {
            return `${error.name}: ${error.message}`;
          }
        });""",
        cases=[dataclasses.asdict(case) for case in CASES.values()],
    )
    for name, case, said in zip(CASES, CASES.values(), reported, strict=True):
        if case.refusal is None:
            assert said == 7, name
        else:
            assert said.startswith("WebhookVerificationError: "), name
            assert case.refusal in said, name


def test_a_delivery_may_be_bytes_and_a_secret_must_be_one(package: JsPackage) -> None:
    reported = package.run(
        """const bytes = new TextEncoder().encode(body);
        const failures = ['whsec_', '', 'whsec_no base64'].map((wrong) => {
          try { sluice.verifyWebhook(body, headers, wrong, { now }); } catch (error) { return error.name; }
        });
        return [sluice.verifyWebhook(bytes, new Headers(headers), secret, { now }).id, failures];""",
        body=BODY,
        headers=sign(SECRET),
        secret=SECRET,
        now=NOW,
    )
    assert reported == [7, ["TypeError"] * 3]


def test_a_deposit_is_tried_again_under_its_key(package: JsPackage, serve: Serve) -> None:
    api = serve(problem(503, "unavailable", **AT_ONCE), Answer(body=None), Answer(body=b"torn {"), Answer(202))
    payment = package.run(
        CLIENT + "return client.createDeposit({ user_id: 'ann', amount: '25.00', currency: 'USD' });", url=api.url
    )
    assert payment == {"id": "p1"}
    assert len(api.asked) == 4
    assert len({asked.headers["idempotency-key"] for asked in api.asked}) == 1
    assert api.asked[0].headers["authorization"] == "Bearer sk_test"
    assert api.asked[0].headers["prefer"] == "wait=10"
    assert api.asked[0].body == {"user_id": "ann", "amount": "25.00", "currency": "USD"}


@pytest.mark.parametrize(
    ("answer", "tries", "code"),
    [
        (problem(502, "x", **AT_ONCE), 1, "x"),
        (problem(503, "unavailable", **AT_ONCE), 3, "unavailable"),
        (problem(503, "unavailable", **{"Retry-After": "3600"}), 1, "unavailable"),
        (problem(409, "payment_ended"), 1, "payment_ended"),
        (Answer(404, b"<h1>proxy</h1>"), 1, "http_404"),
    ],
)
def test_a_call_without_a_key_is_repeated_only_where_nothing_was_done(
    package: JsPackage, serve: Serve, answer: Answer, tries: int, code: str
) -> None:
    api = serve(answer)
    raised = package.run(
        CLIENT.replace("secretKey", "retries: 2, secretKey") + "return client.cancelPayment('a/b').catch(describe);",
        url=api.url,
    )
    assert (raised["name"], raised["status"], raised["code"]) == ("SluiceApiError", answer.status, code)
    assert raised["requestId"] in ("r-7", api.asked[0].headers["x-request-id"])
    assert [asked.path for asked in api.asked] == ["/api/payments/a%2Fb/cancel"] * tries


def test_a_stream_resumes_after_the_last_event(package: JsPackage, serve: Serve) -> None:
    def page(*ids: int) -> Answer:
        return Answer(body=json.dumps({"data": [{"id": one} for one in ids], "next_cursor": None}).encode())

    api = serve(page(4, 5), problem(503, "unavailable", **AT_ONCE), Answer(body=None), page(6))
    found = package.run(
        CLIENT.replace("secretKey", "retries: 0, secretKey")
        + """const found = [];
        for await (const { id } of client.streamEvents({ after: 3 })) {
          found.push(id);
          if (id === 6) return found;
        }""",
        url=api.url,
    )
    assert found == [4, 5, 6]
    assert [asked.path.split("after=")[1] for asked in api.asked] == [f"{after}&wait=30" for after in (3, 5, 5, 5)]


@pytest.mark.browser
def test_a_payments_view_is_read_once_and_then_live(browser: Browser) -> None:
    backend = Backend()
    with browser.new_page() as page:
        store = (SOURCE / "payment_store.js").read_text(encoding="utf-8")
        page.route(
            "**/static/payment_store.js", lambda route: route.fulfill(body=store, content_type="text/javascript")
        )
        page.goto(backend.url)
        page.evaluate(
            """async () => {
              const { paymentStore } = await import('/static/payment_store.js');
              window.store = paymentStore('p9', { getToken: () => ({ token: 'ct_1' }) });
              window.ends = [store.subscribe(() => {}), store.subscribe(() => {})];
            }"""
        )

        def view() -> dict[str, Any]:
            shown: dict[str, Any] = page.evaluate("() => store.getSnapshot()")
            return shown

        wait_until(lambda: (view()["payment"] or {}).get("status") == "processing", "it is read")
        assert (view()["link"], len(backend.sockets)) == ("live", 1)
        for number, payment in enumerate(
            [
                {"id": "p9", "version": 5, "status": "completed"},
                {"id": "p9", "version": 4, "status": "processing"},
                {"id": "p8", "version": 9, "status": "failed"},
                {"id": "p9", "version": 6, "status": "completed", "exception": "reversed"},
            ],
            start=8,
        ):
            backend.sockets[0][2].put({"id": number, "type": "payment.completed", "payment": payment, "at": ""})
            wait_until(lambda: page.evaluate("() => store.getSnapshot().payment.status") == "completed", "it is shown")
        wait_until(lambda: view()["payment"]["version"] == 6, "the last change")
        page.evaluate("() => ends.forEach((end) => end())")
        assert view() == {"payment": None, "link": "connecting", "error": None}
    backend.close()
