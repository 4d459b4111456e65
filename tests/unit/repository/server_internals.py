"""What the web and sockets processes rely on inside gunicorn, gevent and the WebSocket libraries is still there."""

from __future__ import annotations

import re
import socket
import threading

import pytest

from app.http.request_heads import mark_doubled
from app.sockets.websocket import SERVER_OPTIONS
from tests.unit.repository.installed_source import parameters, source


def check_websocket_server() -> None:
    """Check that a handshake through our classes starts no thread and leaves socket and framing to us."""
    import flask_sock
    from simple_websocket import ConnectionClosed, Server

    ours, theirs = socket.socketpair()
    environ = {
        "gunicorn.socket": ours,
        "REQUEST_METHOD": "GET",
        "HTTP_HOST": "example.test",
        "HTTP_CONNECTION": "Upgrade",
        "HTTP_UPGRADE": "websocket",
        "HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ==",
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
        "HTTP_SEC_WEBSOCKET_PROTOCOL": "sluice.v1",
    }
    with ours, theirs:
        before = threading.active_count()
        server = Server(environ, **SERVER_OPTIONS)
        assert threading.active_count() == before
        assert server.mode == "gunicorn"
        assert theirs.recv(4096).startswith(b"HTTP/1.1 101 ")
        assert server.sock is ours
        assert {"send", "receive_data", "events"} <= set(dir(server.ws.connection))
        # flask-sock closes after the handler; our handler says that this is done.
        server.connected, server.ws = False, None
        with pytest.raises(ConnectionClosed):
            server.close()
    routing = source(flask_sock.Sock.route)
    assert "'SOCK_SERVER_OPTIONS', {}" in routing
    assert "try: ws.close() except:" in routing
    assert "elif ws.mode == 'gunicorn': raise StopIteration()" in routing


def check_answered_requests() -> None:
    from gunicorn.http import wsgi
    from gunicorn.workers.base_async import AsyncWorker

    assert '"gunicorn.socket": sock' in source(wsgi.default_environ)
    # A response that raises StopIteration has written to the socket itself: the connection is closed quietly.
    assert "except StopIteration: raise" in source(AsyncWorker.handle_request)
    assert "except StopIteration as e: self.log.debug" in source(AsyncWorker.handle)


def check_database_waits() -> None:
    from psycogreen.gevent import gevent_wait_callback
    from psycopg2 import extensions

    assert parameters(gevent_wait_callback) == ["conn", "timeout"]
    assert "wait_read(conn.fileno(), timeout=timeout)" in source(gevent_wait_callback)
    assert callable(extensions.set_wait_callback)


def check_gunicorn_worker() -> None:
    from gunicorn import config
    from gunicorn.arbiter import Arbiter
    from gunicorn.sock import TCPSocket
    from gunicorn.workers.base import Worker
    from gunicorn.workers.base_async import AsyncWorker
    from gunicorn.workers.ggevent import GeventWorker

    assert parameters(GeventWorker.handle) == ["self", "listener", "client", "addr"]
    assert "with self.timeout_ctx(): req = next(parser)" in source(AsyncWorker.handle)
    # An address that outlasts its listener is enough for a connection.
    assert set(re.findall(r"\blistener\b\.(\w+)", source(AsyncWorker.handle))) == {"getsockname"}
    assert "handle_exit" in source(Worker.init_signals)
    for name in ("age", "ppid", "alive"):
        assert f"self.{name} = " in source(Worker.__init__), name
    assert "self.sockets = sockets" in source(GeventWorker.patch)
    assert isinstance(Arbiter.LISTENERS, list)
    assert isinstance(Arbiter.WORKERS, dict)
    assert "self.cfg_addr = address" in source(TCPSocket.__mro__[1].__init__)
    hooks = config.make_settings()
    for hook, arguments in (("pre_fork", 2), ("post_fork", 2), ("when_ready", 1), ("child_exit", 2)):
        assert len(parameters(hooks[hook].default)) == arguments, hook


def check_gevent_servers() -> None:
    import gevent
    from gevent.pool import Pool
    from gevent.server import StreamServer

    pool = Pool(1)
    assert not pool
    timeout = gevent.Timeout(60, False)

    def wait() -> None:
        with timeout:
            gevent.sleep(60)

    greenlet = pool.spawn(wait)
    assert pool
    gevent.sleep(0)
    # A timeout that is thrown into a greenlet ends its wait as if it had run out.
    gevent.kill(greenlet, timeout)
    greenlet.join(10)
    assert greenlet.successful()
    assert not pool
    server = StreamServer(("127.0.0.1", 0), handle=print, spawn=pool)
    server.start()
    assert (server.closed, server.pool is pool) == (False, True)
    server.close()
    assert server.closed
    assert "timeout" in parameters(server.stop)
    assert hasattr(server, "max_accept")


def check_gunicorn_requests() -> None:
    from gunicorn.http import errors
    from gunicorn.workers.base_async import AsyncWorker
    from gunicorn.workers.ggevent import GeventWorker

    assert parameters(GeventWorker.handle_request) == ["self", "listener_name", "req", "sock", "addr"]
    assert parameters(AsyncWorker.handle_error) == ["self", "req", "client", "addr", "exc"]
    assert "req" in parameters(errors.InvalidHeader)
    assert issubclass(errors.UnsupportedTransferCoding, errors.ParseException)
    assert issubclass(errors.ConfigurationProblem, errors.ParseException)
    assert mark_doubled([("HOST", "a"), ("HOST", "b")])[-1] == ("X-SLUICE-DOUBLED", "host")


def check_gunicorn_bodies() -> None:
    from gunicorn.http import errors

    assert issubclass(errors.NoMoreData, OSError)
    assert issubclass(errors.ParseException, Exception)


def check_gunicorn_log() -> None:
    from gunicorn import glogging
    from gunicorn.workers.base_async import AsyncWorker

    assert parameters(glogging.Logger.access) == ["self", "resp", "req", "environ", "request_time"]
    assert "self.log.access(" in source(AsyncWorker.handle_request)
