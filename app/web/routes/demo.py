"""The demo page and its token; registered only where the stack runs in demo mode."""

from __future__ import annotations

import re
import secrets
from urllib.parse import urlsplit

from flask import Blueprint, Response, abort, jsonify, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as BaseResponse

from app.http.client_address import is_from_this_machine
from app.runtime.runtime import runtime
from app.services.tenants.demo import list_demo_choices, mint_demo_token
from app.web.routes.client_module import client_module, script_source

demo = Blueprint("demo", __name__)

# Tokens are minted for users that this page made only, never for the tenant's own users.
DEMO_USER = re.compile(r"demo_[a-z0-9]{8,32}")
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@demo.before_request
def refuse_strangers() -> None:
    """Answer 403 to clients that are not on this machine, also where a proxy on this machine passes them on.

    The Host header is checked too: a foreign name that resolves to loopback would make another site same-origin.
    """
    settings = runtime().settings
    if not is_from_this_machine(request, settings.trusted_proxies):
        abort(403, "The demo answers this machine only.")
    if _host_name() not in LOOPBACK_NAMES | {urlsplit(settings.public_url).hostname}:
        abort(403, "The demo answers under its own name only.")


def _host_name() -> str | None:
    try:
        return urlsplit(f"//{request.headers.get('Host', '')}").hostname
    except ValueError:
        return None


@demo.get("/")
def start() -> BaseResponse:
    """Send the browser to the demo page."""
    return redirect("/demo")


@demo.get("/demo")
def page() -> BaseResponse:
    """Serve the demo page.

    Only the page's script reads `returned`, `payment_id` and `reference` in the query. Under another name of this
    machine (localhost for 127.0.0.1) redirect to the public one: payments return there, and the browser's storage
    belongs to the name.
    """
    public, here = urlsplit(runtime().settings.public_url), urlsplit(request.url)
    if here.hostname != public.hostname and (here.scheme, here.port) == (public.scheme, public.port):
        return redirect(f"{public.scheme}://{public.netloc}{request.full_path.rstrip('?')}")
    client = client_module()
    import_map = client.import_map()
    response = make_response(render_template("demo.html", import_map=import_map, client=client))
    response.headers["Content-Security-Policy"] = _content_security_policy(script_source(import_map))
    response.headers["Cache-Control"] = "no-store"
    # The pay page is another site: keep this page's address and the payment id in it from it.
    response.headers["Referrer-Policy"] = "same-origin"
    return response


@demo.get("/demo/providers")
def choices() -> Response:
    """Return the providers that a deposit on the page may name, the default first.

    Out: 200 `{"data": [{"id", "name", "is_default", "currencies", "needs"}]}`.
    """
    response = jsonify({"data": list_demo_choices()})
    response.headers["Cache-Control"] = "no-store"
    return response


@demo.post("/demo/token")
def token() -> tuple[Response, int]:
    """Mint a client token for a demo user, the one in the body or a new one.

    In: `{"user_id"?}`. Out: 201 `{"token", "expires_at", "sockets_url", "user_id"}`. 403 for other sites' requests.
    """
    if not _is_same_origin():
        abort(403, "The demo token is for the demo page only.")
    body = request.get_json(silent=True)
    wanted = body.get("user_id") if isinstance(body, dict) else None
    user_id = wanted if isinstance(wanted, str) and DEMO_USER.fullmatch(wanted) else new_demo_user()
    response = jsonify(mint_demo_token(user_id))
    response.headers["Cache-Control"] = "no-store"
    return response, 201


def new_demo_user() -> str:
    """Return a new user id with 64 random bits, so that two visitors never share a wallet."""
    return f"demo_{secrets.token_hex(8)}"


def _is_same_origin() -> bool:
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is not None and site != "same-origin":
        return False
    # Browsers send Origin with every POST. Compare hosts only: behind a proxy that ends TLS the scheme differs.
    return origin is None or urlsplit(origin).netloc == request.host


def _content_security_policy(import_map: str) -> str:
    settings = runtime().settings
    sockets = urlsplit(settings.sockets_public_url or settings.public_url)
    socket_scheme = "wss" if sockets.scheme == "https" else "ws"
    connect = f"'self' {sockets.scheme}://{sockets.netloc} {socket_scheme}://{sockets.netloc}"
    return (
        f"default-src 'none'; script-src 'self' {import_map}; style-src 'self'; img-src 'self' data:; "
        f"connect-src {connect}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
