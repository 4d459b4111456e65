"""What the web and sockets processes rely on inside gunicorn, gevent and the WebSocket libraries is still there."""

from __future__ import annotations

import inspect
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


def check_database_waits() -> None:
    from psycogreen.gevent import gevent_wait_callback
    from psycopg2 import extensions

    assert parameters(gevent_wait_callback) == ["conn", "timeout"]
    assert "wait_read(conn.fileno(), timeout=timeout)" in source(gevent_wait_callback)
    assert callable(extensions.set_wait_callback)


def check_gunicorn_worker() -> None:
    from gunicorn import config
    from gunicorn.arbiter import Arbiter
    from gunicorn.sock import BaseSocket
    from gunicorn.workers.base import Worker
    from gunicorn.workers.ggevent import GeventWorker

    assert parameters(GeventWorker.handle) == ["self", "listener", "client", "addr"]
    assert "handle_exit" in source(Worker.init_signals)
    for name in ("age", "ppid", "alive"):
        assert f"self.{name} = " in source(Worker.__init__), name
    assert "self.sockets = sockets" in source(GeventWorker.patch)
    assert isinstance(Arbiter.LISTENERS, list)
    assert isinstance(Arbiter.WORKERS, dict)
    assert "self.cfg_addr = address" in source(BaseSocket.__init__)
    hooks = config.make_settings()
    for hook, arguments in (
        ("on_starting", 1),
        ("pre_fork", 2),
        ("post_fork", 2),
        ("when_ready", 1),
        ("child_exit", 2),
    ):
        assert len(parameters(hooks[hook].default)) == arguments, hook


def check_gunicorn_sockets() -> None:
    from gunicorn.sock import BaseSocket, TCPSocket

    assert issubclass(TCPSocket, BaseSocket)
    assert parameters(BaseSocket._is_listening) == ["sock"]
    assert "if not self._is_listening(sock):" in source(BaseSocket.set_options)


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


def check_gunicorn_answers() -> None:
    from gunicorn.http import errors, wsgi
    from gunicorn.workers.base import Worker

    assert parameters(Worker.handle_error) == ["self", "req", "client", "addr", "exc"]
    assert "req" in parameters(errors.InvalidHeader)
    assert issubclass(errors.UnsupportedTransferCoding, errors.ParseException)
    assert issubclass(errors.ConfigurationProblem, errors.ParseException)
    # What an answer that is sent in one piece replaces.
    write = source(wsgi.Response.write)
    assert "def write(self, arg): self.send_headers()" in write
    assert "if self._omits_body:" in write
    assert "self.sent += tosend self._emit_body(arg)" in write
    assert "if not self.headers_sent: self.send_headers() if self.chunked:" in source(wsgi.Response.close)
    head = re.findall(r'"([A-Z][a-z]+(?:-[A-Z][a-z]+)?): ', source(wsgi.Response.default_headers))
    assert head == ["Server", "Date", "Connection", "Transfer-Encoding"]
    assert 'sock.send(b"HTTP/1.1 100 Continue' in source(wsgi.create)


def check_gunicorn_requests() -> None:
    from gunicorn.http import message, parser

    assert parameters(message.Request.__init__) == ["self", "cfg", "unreader", "peer_addr", "req_number"]
    made = "self.mesg = self.mesg_class(self.cfg, self.unreader, self.source_addr, self.req_count)"
    assert made in source(parser.Parser.__next__)
    # All that is read of a request whose head our own parser has read.
    assert set(re.findall(r"self\.mesg\.(\w+)", inspect.getsource(parser.Parser))) == {"should_close", "body"}
    assert set(re.findall(r"self\.(\w+)", inspect.getsource(message.Message.should_close))) == {
        *("must_close", "headers", "version")
    }
    assert mark_doubled([("HOST", "a"), ("HOST", "b")])[-1] == ("X-SLUICE-DOUBLED", "host")


def check_gunicorn_bodies() -> None:
    from gunicorn.http import errors

    assert issubclass(errors.NoMoreData, OSError)
    assert issubclass(errors.ParseException, Exception)


def check_gunicorn_log() -> None:
    from gunicorn import glogging
    from gunicorn.workers.base import Worker

    assert parameters(glogging.Logger.access) == ["self", "resp", "req", "environ", "request_time"]
    assert "self.log.access(" in source(Worker.handle_error)
