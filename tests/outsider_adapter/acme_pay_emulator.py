"""A tiny Acme Pay on loopback, with as much of it as docs/ADAPTERS.md asks of an emulator."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import json
import secrets
import threading
import time
import urllib.parse
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from app.conformance.emulator import Traits, Truth
from app.core.facts import FactKind
from app.core.signatures import Scheme
from app.providers import Account

PAGE_ROWS = 50
# Minor units of ISO 4217 in one unit of Acme's.
SCALE = {"EUR": 1, "GBP": 100, "JPY": 1, "USD": 1}
ENDS = {"pay": "paid", "commit": "settling", "decline": "failed", "expire": "lapsed"}
TRAITS = Traits(
    currency="EUR",
    states=tuple(
        ({"state": state}, kind)
        for state, kind in {
            "waiting": FactKind.PENDING,
            "settling": FactKind.COMMITTED,
            "paid": FactKind.SUCCEEDED,
            "failed": FactKind.DECLINED,
            "voided": FactKind.CANCELLED,
            "lapsed": FactKind.CANCELLED,
        }.items()
    ),
    unknown_state={"state": "melted"},
    mistake=lambda message: (422, json.dumps({"error": message, "field": "back"}).encode()),
    unusable_page={"page": "javascript:alert(1)"},
)


class AcmePay:
    """All accounts of the provider."""

    def __init__(self):
        self.shops = {}
        self.lock = threading.RLock()

    def answer(self, method, path, headers, body):
        """Return status and document."""
        parts = urllib.parse.urlsplit(path)
        shop = self.shops.get(headers.get("Authorization", "").removeprefix("Bearer "))
        if shop is None:
            return 401, {"error": "unknown key"}
        with self.lock:
            return shop.answer(method, parts.path, dict(urllib.parse.parse_qsl(parts.query)), body)


class AcmeShop:
    """One account, as the kit drives it."""

    traits = TRAITS
    scheme = Scheme()

    def __init__(self, acme, url, webhook_url):
        self.payments, self.webhook_url, self.spoiled = {}, webhook_url, {}
        key = f"acme_test_{secrets.token_hex(16)}"
        self.secret = self.new_secret()
        self.account = Account(uuid.uuid4(), url, {"api_key": key})
        self.stranger = Account(uuid.uuid4(), url, {"api_key": f"acme_test_{secrets.token_hex(16)}"})
        acme.shops[key] = self

    def answer(self, method, path, query, body):
        """Answer one of the adapter's calls."""
        token = urllib.parse.unquote(path.removeprefix("/payments").strip("/"))
        if method == "POST" and not token:
            return self.create(body)
        if not token:
            return 200, self.list_payments(query)
        payment = next((each for each in self.payments.values() if each["token"] == token.removesuffix("/void")), None)
        if payment is None:
            return 404, {"error": "unknown payment"}
        if method == "POST":
            if payment["state"] not in ("waiting", "voided"):
                return 409, {"error": "too late"}
            payment["state"] = "voided"
        return 200, payment

    def create(self, body):
        """Create a payment, once for each order."""
        order = body["order"]
        if order not in self.payments:
            token = f"tok_{secrets.token_hex(8)}"
            page = f"{self.account.api_base_url}/pages/{token}"
            known = {"order": order, "units": body["units"], "currency": body["currency"]}
            self.payments[order] = known | {
                "token": token,
                "page": page,
                "state": "waiting",
                "paid": 0,
                "returned": 0,
                "at": time.time(),
            }
        return 201, self.payments[order]

    def list_payments(self, query):
        """Return a page of the payments of a period, or of an order."""
        rows = [each for each in self.payments.values() if query.get("order", each["order"]) == each["order"]]
        rows = [each for each in rows if float(query.get("from", 0)) <= each["at"] < float(query.get("to", "inf"))]
        start = int(query.get("after", 0))
        more = {"next": str(start + PAGE_ROWS)} if len(rows) > start + PAGE_ROWS else {}
        return {"payments": rows[start : start + PAGE_ROWS], **more}

    def new_secret(self):
        """Return another secret."""
        return secrets.token_hex(32)

    def happen(self, payment_id, action, amount_minor=None):
        """Let something happen, and send its webhook."""
        payment = self.payments[payment_id]
        if action in ENDS:
            payment["state"] = ENDS[action]
            payment["paid"] = payment["units"] if action == "pay" else 0
        if action in ("refund", "dispute"):
            left = payment["paid"] - payment["returned"]
            payment["returned"] += left if amount_minor is None else amount_minor // SCALE[payment["currency"]]
        if action in ("fail_refund", "win_dispute"):
            payment["returned"] = 0
        event = {"type": "attempt" if action == "attempt" else "payment", "mode": "test", "payment": payment}
        for way in self.spoiled.pop(payment_id, ["honest"]):
            self.send({"id": f"ev_{secrets.token_hex(8)}", **event}, way)

    def send(self, event, way):
        """Send a webhook in one of the kit's ways."""
        event |= {"other_mode": {"mode": "live"}, "stray": {"type": "account.changed"}}.get(way, {})
        body = json.dumps(event).encode()
        body = body[: len(body) // 2] if way == "malformed" else body
        key = self.new_secret() if way == "forged" else self.secret
        headers = (
            {} if way == "unsigned" else {"X-Acme-Signature": hmac.new(key.encode(), body, hashlib.sha256).hexdigest()}
        )
        connection = http.client.HTTPConnection(self.webhook_url.partition("//")[2], timeout=10)
        with contextlib.closing(connection):
            connection.request("POST", "/provider", body, headers)
            connection.getresponse().read()

    def await_webhooks(self, payment_id):
        """Do nothing: webhooks are sent before `happen` returns."""

    def spoil(self, payment_id, ways):
        """Send the next webhook in these ways."""
        self.spoiled[payment_id] = ways

    def join(self, payment_id, count):
        """Never called: Acme's adapter says that each delivery has one event."""

    def read_truth(self, payment_id):
        """Return what Acme has of a payment, in minor units of ISO 4217."""
        found = self.payments.get(payment_id)
        if found is None:
            return Truth(0, 0, None, 0)
        scale = SCALE[found["currency"]]
        return Truth(1, found["paid"] * scale, found["currency"], found["returned"] * scale)


@contextlib.contextmanager
def open_emulators():
    """Run an Acme Pay; yield what opens accounts at it."""
    acme = AcmePay()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_call(self):
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, document = acme.answer(self.command, self.path, self.headers, json.loads(raw or b"{}"))
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = handle_call

        def log_message(self, *_):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield lambda webhook_url: AcmeShop(acme, url, webhook_url)
    finally:
        server.shutdown()
        server.server_close()
