"""What the product relies on inside libraries (docs/ARCHITECTURE.md, "Internals of libraries") is still there.

A newer version of a library that changes one of these turns a check red; the table names the file that relies on it.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable

import pytest

from app.runtime.broker import remote_control, transport
from tasks import worker_process
from tests.support.repository import ROOT
from tests.unit.repository.installed_source import parameters, source
from tests.unit.repository.server_internals import (
    check_database_waits,
    check_gevent_servers,
    check_gunicorn_answers,
    check_gunicorn_bodies,
    check_gunicorn_log,
    check_gunicorn_requests,
    check_gunicorn_sockets,
    check_gunicorn_worker,
    check_websocket_server,
)

PRODUCT = ("app", "models", "tasks", "sandbox")
# Libraries whose classes are made to be subclassed: that is their documented use.
MEANT_FOR_SUBCLASSES = {"click", "flask", "pydantic", "sqlalchemy", "prometheus_client", "werkzeug", "alembic"}


def check_kombu_channel() -> None:
    from kombu.transport import TRANSPORT_ALIASES, redis, virtual

    ours = {name: f for name, f in vars(transport.Channel).items() if inspect.isfunction(f)}
    overridden = {name for name in ours if hasattr(redis.Channel, name)}
    own = {"_queue_keys", "_binding_keys", "_with_right_types", "_remove_wrong_types"}
    assert set(ours) - overridden == own
    for name in ("_size", "_get", "_purge", "_receive", "get_table", "_refresh_bindings"):
        assert parameters(ours[name]) == parameters(getattr(redis.Channel, name)), name
    assert parameters(redis.Channel._put)[:3] == ["self", "queue", "message"]
    assert parameters(redis.Channel._queue_bind)[1] == parameters(redis.Channel._delete)[2] == "exchange"
    # An own push has to do all that the library's does for a queue without an expiry.
    assert "client.lpush(key, dumps(message))" in source(redis.Channel._put)
    assert "publish_batch = kwargs.pop('_publish_batch', None)" in source(redis.Channel._put)
    # A message that cannot be decoded raises out of here, and out of the worker's loop.
    assert "self.connection._deliver(loads(bytes_to_str(item)), dest)" in source(redis.Channel._brpop_read)
    assert "raise Empty()" in source(redis.Channel._brpop_read)
    # Messages under way, which count against the worker's few.
    assert "self._delivered = OrderedDict()" in source(virtual.QoS.__init__)
    assert "ack_emulation" in redis.Channel.from_transport_options
    for name in ("keyprefix_queue", "keyprefix_binding_permanent", "keyprefix_binding_deadlines", "priority_steps"):
        assert hasattr(redis.Channel, name), name
    assert TRANSPORT_ALIASES["redis"] == f"{transport.__name__}:Transport"
    assert TRANSPORT_ALIASES["sentinel"] == f"{transport.__name__}:SentinelTransport"


def check_celery_events() -> None:
    from celery.events.dispatcher import EventDispatcher
    from celery.worker.consumer.consumer import Consumer
    from celery.worker.consumer.events import Events
    from kombu.asynchronous.hub import Hub

    assert worker_process.DelayedEvents.requires == (f"{Events.__module__}:{Events.__name__}",)
    # Set by the library's step, which runs before ours, and called for each buffered event.
    assert "on_send_buffered=c.on_send_event_buffered if c.hub else None" in source(Events.start)
    assert "self.on_send_buffered()" in source(EventDispatcher.send)
    assert parameters(Consumer.on_send_event_buffered) == ["self"]
    assert parameters(Hub.call_later)[1:3] == ["delay", "callback"]


def check_celery_control() -> None:
    from celery.app.control import Control
    from celery.worker import control, pidbox
    from kombu.pidbox import Mailbox

    assert set(control.Panel.data) >= remote_control.REMOTE_CONTROL
    assert "handlers=control.Panel.data" in source(pidbox.Pidbox.__init__)
    assert "self.mailbox = self.Mailbox(" in source(Control.__init__)
    assert "retry=True, **opts" in source(Mailbox._publish_reply)
    assert parameters(Mailbox._publish_reply)[-1] == "opts"


def check_celery_signals() -> None:
    from celery import signals
    from celery.apps.worker import Worker

    assert "instance=self, conf=app.conf" in source(Worker.on_start)
    for name in ("worker_process_init", "worker_process_shutdown", "worker_ready"):
        assert isinstance(getattr(signals, name), signals.Signal), name


def check_celery_stop() -> None:
    from billiard.process import active_children
    from celery.apps.worker import _shutdown_handler
    from celery.worker import state

    # Sent before the worker waits for anything.
    assert "signals.worker_shutting_down.send(" in source(_shutdown_handler)
    assert tuple(state.active_requests) == ()
    assert active_children() == []


def check_limits_storage() -> None:
    from limits.storage import RedisStorage

    expected = ["self", "key", "limit", "expiry", "amount"]
    assert parameters(RedisStorage.acquire_sliding_window_entry) == expected
    assert parameters(RedisStorage.clear_sliding_window) == ["self", "key", "expiry"]
    for name in ("_previous_window_key", "_current_window_key", "prefixed_key"):
        assert parameters(getattr(RedisStorage, name)) == ["self", "key"], name
    assert "self._previous_window_key(key)" in source(RedisStorage.acquire_sliding_window_entry)


def check_provider_connections() -> None:
    import http.client

    for used in ("self.sock.sendall(", "if self.auto_open:"):
        assert used in source(http.client.HTTPConnection.send)
    assert 'sock.makefile("rb")' in source(http.client.HTTPResponse.__init__)
    assert "self.response_class(self.sock, " in source(http.client.HTTPConnection.getresponse)


def check_statements() -> None:
    from sqlalchemy import Dialect
    from sqlalchemy.exc import DBAPIError

    assert parameters(Dialect.is_disconnect) == ["self", "e", "connection", "cursor"]
    expected = {"statement", "params", "orig", "dbapi_base_err", "connection_invalidated", "dialect"}
    assert set(parameters(DBAPIError.instance)) >= expected


CHECKS: dict[tuple[str, str], Callable[[], None]] = {
    ("app/runtime/broker/transport.py", "kombu"): check_kombu_channel,
    ("tasks/worker_process.py", "celery (events)"): check_celery_events,
    ("tasks/worker_process.py", "celery (signals)"): check_celery_signals,
    ("app/runtime/broker/remote_control.py", "celery (control), kombu"): check_celery_control,
    ("app/runtime/broker/worker_stop.py", "celery (stop), billiard"): check_celery_stop,
    ("app/sockets/websocket.py", "simple-websocket, flask-sock"): check_websocket_server,
    ("app/sockets/application.py", "psycopg2, psycogreen"): check_database_waits,
    ("app/http/gunicorn_worker.py", "gunicorn"): check_gunicorn_worker,
    ("app/http/listening.py", "gunicorn"): check_gunicorn_sockets,
    ("app/http/gunicorn_worker.py", "gevent"): check_gevent_servers,
    ("app/http/exchanges.py", "gunicorn"): check_gunicorn_answers,
    ("app/http/request_heads.py", "gunicorn"): check_gunicorn_requests,
    ("app/http/request_bodies.py", "gunicorn"): check_gunicorn_bodies,
    ("app/http/log_lines.py", "gunicorn"): check_gunicorn_log,
    ("app/web/rate_storage.py", "limits"): check_limits_storage,
    ("app/providers/calls/connections.py", "http.client"): check_provider_connections,
    ("models/statements.py", "SQLAlchemy"): check_statements,
}


@pytest.mark.parametrize("key", CHECKS, ids=lambda key: f"{key[0]}: {key[1]}")
def test_what_is_relied_on_is_there(key: tuple[str, str]) -> None:
    CHECKS[key]()


def test_the_table_lists_each_file_that_is_checked() -> None:
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    section = text.partition("## Internals of libraries\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([\w/.]+)` \| ([^|]+) \|", section, re.MULTILINE)
    assert rows == list(CHECKS)


def list_imports(tree: ast.Module) -> dict[str, str]:
    """Return the library that each imported name of a module is from, by name."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {alias.asname or alias.name: node.module.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {
                alias.asname or alias.name.partition(".")[0]: alias.name.partition(".")[0] for alias in node.names
            }
    return found


def test_every_subclass_of_a_library_is_in_the_table() -> None:
    import sys

    known = {file for file, _ in CHECKS}
    ours = {*PRODUCT, *sys.stdlib_module_names} | MEANT_FOR_SUBCLASSES
    for path in (path for room in PRODUCT for path in (ROOT / room).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = list_imports(tree)
        for node in (one for one in ast.walk(tree) if isinstance(one, ast.ClassDef)):
            roots = {ast.unparse(base).partition(".")[0].partition("[")[0] for base in node.bases}
            foreign = {imported[root] for root in roots & imported.keys()} - ours
            assert not foreign or str(path.relative_to(ROOT)) in known, f"{path}: {node.name} of {foreign}"
