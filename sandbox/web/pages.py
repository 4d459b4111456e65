"""The hosted pay page, for people: `/pay/{reference}`."""

from __future__ import annotations

import hmac
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BareResponse

from sandbox.payments import actions, lifecycle, stories
from sandbox.protocols import registry
from sandbox.protocols.payment import ProviderPayment
from sandbox.values import amounts
from sandbox.values.refusal import Refusal
from sandbox.web.api import parts

blueprint = Blueprint("pages", __name__, url_prefix="/pay")

# Longer amounts get smaller letters, so that no number is broken in two.
_LONG_CHARACTERS = 11
_TITLES = {
    "open": "Pay",
    "approved": "Payment approved",
    "processing": "Payment under way",
    "underpaid": "Pay the rest",
    "paid": "Payment received",
    "declined": "Payment declined",
    "cancelled": "Payment cancelled",
    "expired": "Payment expired",
}


@blueprint.get("/<reference>")
def show(reference: str) -> Response:
    """Show the payment with its three buttons, or how it ended."""
    payment = _opened(lifecycle.find(parts().store.reading(), reference), request.args.get("token", ""))
    return _page(payment)


@blueprint.post("/<reference>/<any(pay, commit, decline, cancel):action>")
def act(reference: str, action: str) -> BareResponse:
    """Apply the chosen action and redirect the browser to the merchant."""
    token = request.form.get("token", "")
    try:
        with parts().store.writing() as connection:
            payment = _opened(lifecycle.find(connection, reference), token)
            leaves = action == "cancel" and not registry.PROTOCOLS[payment.protocol].cancel_ends
            if action == "pay" and registry.PROTOCOLS[payment.protocol].captures:
                action = "approve"
            if not leaves:
                payment = actions.act(connection, payment, action, {})
    except Refusal as refusal:
        if refusal.status != 409:
            raise
        # The payment was changed meanwhile, perhaps in another tab; its page shows the new status.
        return redirect(url_for("pages.show", reference=reference, token=token), 303)
    back = _with_query(payment, payment.failure_url) if leaves else return_address(payment)
    return redirect(back or url_for("pages.show", reference=reference, token=token), 303)


@blueprint.post("/<reference>/story/<name>")
def play(reference: str, name: str) -> BareResponse:
    """Play one of the stories that the page offers and redirect the browser to the merchant."""
    token = request.form.get("token", "")
    with parts().store.writing() as connection:
        payment = _opened(lifecycle.find(connection, reference), token)
        if name not in stories.STORIES:
            raise Refusal(404, "not_found", "There is no such story.")
        # One that is no longer open was changed meanwhile, perhaps in another tab; its page shows the new status.
        is_offered = name in _stories(payment)
        payment = stories.play(connection, payment, name) if is_offered else payment
    back = return_address(payment) if is_offered else None
    return redirect(back or url_for("pages.show", reference=reference, token=token), 303)


def _stories(payment: ProviderPayment) -> dict[str, stories.PageStory]:
    return stories.offered(payment, is_native=registry.PROTOCOLS[payment.protocol].is_native)


def return_address(payment: ProviderPayment) -> str | None:
    """Return the merchant's URL for a payment whose payer is done."""
    if payment.status in ("approved", "processing") and not registry.PROTOCOLS[payment.protocol].is_native:
        return _with_query(payment, payment.success_url)
    if payment.status in lifecycle.PAYABLE:
        return None
    return _with_query(payment, payment.success_url if payment.status == "paid" else payment.failure_url)


def _with_query(payment: ProviderPayment, url: str | None) -> str | None:
    """Return the merchant's URL as the provider fills it: our own way is both references in the query, once each."""
    if url is None:
        return None
    protocol = registry.PROTOCOLS[payment.protocol]
    split = urlsplit(protocol.fill_url(url, payment))
    present = {name for name, _ in parse_qsl(split.query, keep_blank_values=True)}
    query = protocol.return_query(payment)
    if not query:
        return urlunsplit(split)
    added = urlencode({name: value for name, value in query.items() if name != "payment_id" or name not in present})
    # The merchant's URL is kept byte for byte: it may be signed.
    return urlunsplit(split._replace(query=f"{split.query}&{added}" if split.query else added))


def _opened(payment: ProviderPayment | None, token: str) -> ProviderPayment:
    """Return the payment if `token` is its page's, which no other site can know or guess. Raise Refusal 404."""
    if payment is None or not hmac.compare_digest(payment.page_token.encode(), token.encode("utf-8", "replace")):
        raise Refusal(404, "not_found", "There is no such payment page.")
    return payment


def _page(payment: ProviderPayment) -> Response:
    protocol = registry.PROTOCOLS[payment.protocol]
    due = amounts.render_grouped(payment.remaining_minor or payment.amount_minor, payment.currency)
    page = render_template(
        "pay.html",
        payment=payment,
        title=_TITLES[payment.status],
        payable=payment.status in lifecycle.PAYABLE,
        emulated=None if protocol.is_native else protocol.title,
        due=due,
        is_long=len(due) > _LONG_CHARACTERS,
        asked=amounts.render_grouped(payment.amount_minor, payment.currency),
        received=amounts.render_grouped(payment.received_minor, payment.received_currency or payment.currency),
        refunded=amounts.render_grouped(payment.refunded_minor, payment.received_currency or payment.currency),
        back=return_address(payment),
        stories=_stories(payment),
    )
    return guarded(Response(page), payment)


def guarded(answer: Response, payment: ProviderPayment | None = None) -> Response:
    """Add the security headers of a page."""
    targets = ["'self'"]
    if payment is not None:
        # Chromium holds form-action against the redirect that follows the form, so the way back must be in it.
        targets += sorted({_source(url) for url in (payment.success_url, payment.failure_url) if url})
    answer.headers["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none';"
        f" form-action {' '.join(targets)}"
    )
    # The address holds the token.
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer


def _source(url: str) -> str:
    """Return the policy source of a return URL; IPv6 hosts have no form of their own there, so their scheme stands."""
    split = urlsplit(url)
    return f"{split.scheme}:" if "[" in split.netloc else f"{split.scheme}://{split.netloc}"
