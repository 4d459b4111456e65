"""A shop that takes deposits with Sluice: what a backend does, in one file.

It makes a deposit for each order, learns of the payment by webhook or by the stream of events, and gives the page a
token with which it shows the payment live. README.md says how to start it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    current_app,
    jsonify,
    redirect,
    render_template,
    request,
    session,
)
from sluice_client import ApiError, Client, Event, SluiceError, WebhookVerificationError, verify_webhook
from werkzeug.wrappers import Response as BaseResponse

SCHEMA = """
create table if not exists orders (
    id text primary key, user_id text not null, amount text not null, status text not null, payment_id text,
    event_id integer not null
);
create table if not exists progress (only_one integer primary key check (only_one = 1), last_event_id integer not null);
insert or ignore into progress values (1, 0);
"""
# What becomes of an order when its payment's event comes; other events change nothing.
STATUSES = {
    "payment.completed": "paid",
    "payment.failed": "not paid",
    "payment.cancelled": "not paid",
    "payment.reversed": "paid back",
}


class Orders:
    """The shop's own database. It remembers up to which event it is true, in the transaction that makes it so."""

    def __init__(self, path: str) -> None:
        self._path = path
        with self._open() as connection:
            connection.executescript(SCHEMA)

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self._path, timeout=30)) as connection, connection:
            connection.row_factory = sqlite3.Row
            yield connection

    def create(self, user_id: str, amount: str) -> str:
        """Store an order and return its id."""
        order_id = str(uuid.uuid4())
        with self._open() as connection:
            connection.execute("insert into orders values (?, ?, ?, 'open', null, 0)", (order_id, user_id, amount))
        return order_id

    def set_payment(self, order_id: str, payment_id: str) -> None:
        """Store which payment is the order's."""
        with self._open() as connection:
            connection.execute("update orders set payment_id = ? where id = ?", (payment_id, order_id))

    def find(self, order_id: str, user_id: str) -> dict[str, Any] | None:
        """Return a user's order."""
        with self._open() as connection:
            row = connection.execute("select * from orders where id = ? and user_id = ?", (order_id, user_id))
            found = row.fetchone()
        return dict(found) if found else None

    @property
    def last_event_id(self) -> int:
        """The id of the last event that was applied."""
        with self._open() as connection:
            return int(connection.execute("select last_event_id from progress").fetchone()[0])

    def apply(self, event: Event) -> None:
        """Change the order that an event is about. Webhooks may come twice or overtake others: the latest counts."""
        status = STATUSES.get(event["type"])
        with self._open() as connection:
            if status is not None:
                connection.execute(
                    "update orders set status = ?, event_id = ? where id = ? and event_id < ?",
                    (status, event["id"], event["payment"]["metadata"].get("order"), event["id"]),
                )
            connection.execute("update progress set last_event_id = max(last_event_id, ?)", (event["id"],))


def follow(client: Client, orders: Orders) -> None:
    """Apply all events, for as long as the process lives; the stream resumes by itself."""
    for event in client.stream_events(orders.last_event_id):
        orders.apply(event)


@dataclass(frozen=True)
class Shop:
    """What the routes work with."""

    sluice_url: str
    client: Client
    orders: Orders
    own_url: str
    webhook_secrets: list[str]

    def read_order(self, order_id: str) -> dict[str, Any]:
        """Return an order of the person who asks, or answer 404."""
        return self.orders.find(order_id, session["user_id"]) or abort(404)


routes = Blueprint("shop", __name__)


def shop() -> Shop:
    """Return the shop that the application was made with."""
    found: Shop = current_app.extensions["shop"]
    return found


@routes.before_request
def recognise() -> None:
    """Give each browser a user; a real shop has people who sign in."""
    if request.endpoint != "shop.receive":
        session.setdefault("user_id", f"shopper-{secrets.token_hex(8)}")


@routes.errorhandler(SluiceError)
def explain(error: SluiceError) -> tuple[str, int]:
    """Answer with what the person can do about it; the log has the code and the request's id."""
    current_app.logger.warning("%s", error)
    if isinstance(error, ApiError) and error.errors:
        return render_template("shop.html", problem=error.errors[0]["message"]), 422
    return render_template("shop.html", problem="The payment could not be started. Please try again."), 503


@routes.get("/")
def show_shop() -> str:
    """Serve the form."""
    return render_template("shop.html", problem=None)


@routes.post("/orders")
def order() -> BaseResponse:
    """Make an order and its deposit, and send the browser to the pay page."""
    amount = request.form.get("amount", "")
    order_id = shop().orders.create(session["user_id"], amount)
    page = f"{shop().own_url}/orders/{order_id}"
    # The order's id as the key: the same order never becomes a second payment, also after a crash.
    payment = shop().client.create_deposit(
        session["user_id"],
        amount,
        "USD",
        idempotency_key=order_id,
        metadata={"order": order_id},
        success_url=page,
        failure_url=page,
    )
    shop().orders.set_payment(order_id, payment["id"])
    return redirect(payment["redirect_url"] or page, 303)


@routes.get("/orders/<order_id>")
def show_order(order_id: str) -> str:
    """Serve the page of an order; payers return to it."""
    return render_template("order.html", order=shop().read_order(order_id), sluice_url=shop().sluice_url)


@routes.get("/orders/<order_id>.json")
def get_order(order_id: str) -> Response:
    """Return an order."""
    return jsonify(shop().read_order(order_id))


@routes.post("/token")
def make_token() -> Response:
    """Return a client token for the person's own payments."""
    return jsonify(shop().client.create_client_token(session["user_id"]))


@routes.post("/hook")
def receive() -> tuple[str, int]:
    """Take a webhook."""
    try:
        event = verify_webhook(request.get_data(), request.headers, shop().webhook_secrets)
    except WebhookVerificationError:
        return "", 400
    shop().orders.apply(event)
    return "", 204


def main() -> None:
    """Serve the shop; the settings are in README.md."""
    sluice_url = os.environ.get("SLUICE_URL", "http://127.0.0.1:8000")
    own_url = os.environ.get("SHOP_URL", "http://127.0.0.1:5000")
    webhook_secrets = os.environ.get("SHOP_WEBHOOK_SECRETS", "").split()
    orders = Orders(os.environ.get("SHOP_DATABASE", "shop.sqlite"))
    client = Client(sluice_url, os.environ["SLUICE_KEY"])
    if not webhook_secrets:
        threading.Thread(target=follow, args=(client, orders), daemon=True).start()
    app = Flask(__name__)
    app.secret_key = secrets.token_bytes(32)
    app.extensions["shop"] = Shop(sluice_url, client, orders, own_url, webhook_secrets)
    app.register_blueprint(routes)
    app.run("127.0.0.1", urlsplit(own_url).port, threaded=True)


if __name__ == "__main__":
    main()
