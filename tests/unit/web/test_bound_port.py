"""gunicorn's main process keeps its port without listening (app/http/listening.py)."""

from __future__ import annotations

import logging
import socket
from types import SimpleNamespace

import pytest
from gunicorn.config import Config
from gunicorn.sock import BaseSocket, create_sockets
from gunicorn.workers.sync import SyncWorker

from app.http.gunicorn_worker import DrainingWorker
from app.sockets import gunicorn_settings as sockets_settings
from app.web import gunicorn_settings as web_settings


@pytest.mark.parametrize("worker_class", [DrainingWorker, SyncWorker])
@pytest.mark.parametrize("settings", [web_settings, sockets_settings])
def test_only_a_worker_listens(monkeypatch: pytest.MonkeyPatch, settings: object, worker_class: type) -> None:
    # What the hook replaces comes back when the test ends.
    monkeypatch.setattr(BaseSocket, "_is_listening", vars(BaseSocket)["_is_listening"])
    settings.on_starting(SimpleNamespace(worker_class=worker_class))  # type: ignore[attr-defined]
    config = Config()
    config.set("bind", "127.0.0.1:0")
    (listener,) = create_sockets(config, logging.getLogger())
    try:
        listens = listener.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    finally:
        listener.close()
    assert bool(listens) == (worker_class is SyncWorker)
