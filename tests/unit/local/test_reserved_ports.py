"""A reserved port goes to the server that names it and to nobody else."""

from __future__ import annotations

import socket

import pytest

from app.local.spawn import hold_free_ports, port_is_free

HERE = "127.0.0.1"


def bind(port: int) -> None:
    """Bind a socket as a program does that shares no port."""
    with socket.socket() as other:
        other.bind((HERE, port))


def test_a_held_port_refuses_connections_and_others_until_its_server_comes() -> None:
    with hold_free_ports(2) as (port, unused):
        assert port != unused
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HERE, port))
        for each in (port, unused):
            with pytest.raises(OSError, match="in use"):
                bind(each)
        assert port_is_free(HERE, port)
        with socket.create_server((HERE, port)):
            socket.create_connection((HERE, port)).close()
            assert not port_is_free(HERE, port)
    bind(unused)
