"""The Flask application of the sockets process."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, NoReturn

import gevent
import structlog
from flask import Blueprint, Flask, Response, current_app, g, request
from flask_sock import Sock
from psycogreen.gevent import gevent_wait_callback
from psycopg2 import extensions
from simple_websocket import Server
from sqlalchemy.exc import SQLAlchemyError

from app.http.client_address import ClientAddress
from app.http.health import answer_health
from app.http.origins import Origins, answer_preflight, let_read
from app.http.problems import Refused, register_errors
from app.http.request_heads import REQUEST_ID, find_doubled, read_request_id
from app.runtime.hint_listener import HintListener
from app.runtime.hints import NOTIFICATIONS_CHANNEL
from app.runtime.metrics import count_pool
from app.runtime.runtime import open_database
from app.runtime.settings import Settings
from app.sockets.admission import PROTOCOL, Admission, admit_socket, admit_stream, list_own_origins, offered_protocols
from app.sockets.gunicorn_settings import find_connections_max
from app.sockets.hub import Hub, unavailable
from app.sockets.rows import LiveQueries
from app.sockets.serving import serve
from app.sockets.stream import StreamConnection
from app.sockets.turns import Turns
from app.sockets.watch import start_watching
from app.sockets.websocket import SERVER_OPTIONS, SocketConnection
from models import Database

log = structlog.get_logger(__name__)

# A new live connection reads for milliseconds; ten readers saturate two processors.
POOL_SIZE = 10
# Two connections are left to the queries for all clients: counters, and whether tokens are still valid.
TURNS = POOL_SIZE - 2
# A new live connection reads a few rows by key: a database that is silent for this long is stuck or gone. libpq has no
# time-out, and a client must be answered within two seconds. The same bound holds for the wait for a free connection.
DATABASE_SECONDS = 1.8


@dataclass(frozen=True)
class Live:
    """The parts that the routes need; one per process."""

    database: Database
    rows: LiveQueries
    hub: Hub
    listener: HintListener
    origins: Origins

    def start(self) -> None:
        """Start listening and watching; to be called once, in the process that serves."""
        self.listener.start()
        start_watching(self.hub, self.database)


class AlreadyAnswered(Response):
    """The response of a request that wrote to the socket itself; StopIteration is gunicorn's sign for it."""

    def __call__(self, *_arguments: Any, **_named: Any) -> NoReturn:
        raise StopIteration


def build_app() -> Flask:
    """Return the application, from the environment's settings."""
    extensions.set_wait_callback(functools.partial(gevent_wait_callback, timeout=DATABASE_SECONDS))
    settings = Settings.from_environment()
    database = open_database(settings, POOL_SIZE, DATABASE_SECONDS)
    count_pool(database.engine)
    rows = LiveQueries(database, Turns(TURNS, DATABASE_SECONDS))
    hub = Hub(rows, find_connections_max())
    listener = HintListener(
        settings.required("redis_url"),
        NOTIFICATIONS_CHANNEL,
        "notifications",
        hub.receive,
        # Hints published before the subscription are not received.
        lambda: gevent.spawn(compare_quietly, hub),
    )
    origins = Origins(list_own_origins(settings), rows.origin_is_known)
    app = Flask(__name__, static_folder=None)
    app.config["SOCK_SERVER_OPTIONS"] = SERVER_OPTIONS
    app.wsgi_app = ClientAddress(app.wsgi_app, settings.trusted_proxies)  # type: ignore[method-assign]
    app.extensions["sluice.live"] = Live(database, rows, hub, listener, origins)
    add_errors(app)
    app.after_request(add_security_headers)
    app.register_blueprint(make_live_routes())
    app.add_url_rule("/health/live", "alive", functools.partial(answer_health, ()))
    app.add_url_rule("/health/ready", "ready", answer_ready)
    return app


def live() -> Live:
    """Return the parts of the application that answers the present request."""
    found: Live = current_app.extensions["sluice.live"]
    return found


def compare_quietly(hub: Hub) -> None:
    """Compare the counters at once; a failure is left to the next regular comparison."""
    try:
        hub.compare_counters()
    except (SQLAlchemyError, OSError) as error:
        log.warning("counters_not_compared", error=type(error).__name__)


def make_live_routes() -> Blueprint:
    """Return `/ws` and `/api/stream`."""
    routes = Blueprint("live", __name__)
    sock = Sock()
    routes.before_request(admit)
    routes.after_request(add_origin_headers)
    routes.teardown_request(release_slot)

    sock.route("/ws", bp=routes, endpoint="socket")(serve_socket)
    routes.add_url_rule("/ws", "no_socket", refuse_plain_request)
    routes.add_url_rule("/api/stream", "stream", open_stream, provide_automatic_options=False)
    routes.add_url_rule("/api/stream", "preflight", preflight, methods=["OPTIONS"], provide_automatic_options=False)
    return routes


def admit() -> None:
    """Admit a client, before flask-sock upgrades the connection. Raise Refused."""
    ways: dict[str, Callable[..., Admission]] = {"live.socket": admit_socket, "live.stream": admit_stream}
    doubled = find_doubled(request.environ)
    if doubled:
        raise Refused(400, f"The header {doubled} is given twice.", code="header_doubled")
    way = ways.get(str(request.endpoint))
    if way is None:
        return
    if way is admit_socket and request.method != "GET":
        raise Refused(405, "A WebSocket is opened with GET.", {"Allow": "GET"})
    admission = way(request, live().rows, live().origins)
    if request.method == "HEAD":
        # HEAD gets the status of a GET without a stream, and no slot.
        return
    live().hub.reserve(admission.caller)
    g.admission = admission
    if way is admit_socket:
        forget_headers()


def forget_headers() -> None:
    """Keep only the headers of the handshake: neither the token nor compression, which costs 90 KB per socket."""
    offered = offered_protocols(request)
    kept = ("HTTP_HOST", "HTTP_UPGRADE", "HTTP_CONNECTION", "HTTP_SEC_WEBSOCKET_KEY", "HTTP_SEC_WEBSOCKET_VERSION")
    for name in [name for name in request.environ if name.startswith("HTTP_") and name not in kept]:
        del request.environ[name]
    if PROTOCOL in offered:
        request.environ["HTTP_SEC_WEBSOCKET_PROTOCOL"] = PROTOCOL


def release_slot(_error: BaseException | None) -> None:
    """Release the slot that `admit` acquired, however the request ended."""
    admission = g.pop("admission", None)
    if admission is not None:
        live().hub.release(admission.caller)


def serve_socket(server: Server) -> None:
    """Serve a WebSocket until it ends; flask-sock calls it after the handshake."""
    admission: Admission = g.admission
    serve(live().hub, SocketConnection(server, admission.caller), admission.after)


def open_stream() -> Response:
    """Serve an event stream until it ends; answer HEAD without one."""
    if request.method == "HEAD":
        return Response(content_type="text/event-stream; charset=utf-8")
    admission: Admission = g.admission
    headers = add_origin_headers(Response()).headers
    shown = [(name, value) for name, value in headers.items() if name in ("Access-Control-Allow-Origin", "Vary")]
    shown.append((REQUEST_ID, read_request_id(request.environ)))
    is_chunked = request.environ.get("SERVER_PROTOCOL") != "HTTP/1.0"
    connection = StreamConnection(request.environ["gunicorn.socket"], admission.caller, shown, is_chunked=is_chunked)
    serve(live().hub, connection, admission.after)
    return AlreadyAnswered()


def refuse_plain_request() -> NoReturn:
    """Raise Refused (426): this address speaks WebSocket only."""
    raise Refused(426, "This address speaks WebSocket only.", {"Upgrade": "websocket", "Connection": "Upgrade"})


def preflight() -> Response:
    """Answer the preflight of a stream. Raise Refused (403)."""
    if not is_known(request.origin):
        raise Refused(403, "Pages of this origin may not connect.", code="origin_forbidden")
    return answer_preflight("GET", "Authorization, Cache-Control, Last-Event-ID")


def add_origin_headers(response: Response) -> Response:
    """Let pages of known origins read the answer to a request for a stream, refusals included."""
    if request.path != "/api/stream":
        return response
    response.headers["Vary"] = "Origin"
    origin, is_admitted = request.headers.get("Origin"), g.get("admission") is not None
    if origin is not None and response.status_code != HTTPStatus.FORBIDDEN and (is_admitted or is_known(origin)):
        let_read(response, origin)
    return response


def is_known(origin: str | None) -> bool:
    """Return whether pages of this origin are Sluice's or any tenant's; False while the database is down."""
    try:
        return origin is not None and live().origins.is_known(origin)
    except (SQLAlchemyError, OSError):
        # The refusal itself must still be answered.
        return False


def answer_ready() -> Response:
    """Report whether this process can serve live connections; without Redis it can, but reacts more slowly."""
    failing = ["draining"] if live().hub.draining else []
    try:
        live().rows.answers()
    except (SQLAlchemyError, OSError):
        failing.append("postgresql")
    # Without hints the counters are compared every other second: later, but none is lost.
    degraded = [] if live().listener.is_connected else ["redis"]
    response = answer_health(failing, degraded)
    if failing:
        response.headers["Retry-After"] = "1"
    return response


def add_errors(app: Flask) -> None:
    """Answer every error of `app` with a problem document."""
    away = unavailable("The database does not answer.")
    # TimeoutError: a wait for the database's socket that took DATABASE_SECONDS.
    register_errors(app, away, Refused(500, "Something went wrong here."), TimeoutError)


def add_security_headers(response: Response) -> Response:
    """Forbid caches and the guessing of media types, and name the request."""
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers[REQUEST_ID] = read_request_id(request.environ)
    return response
