"""Calls to providers: where they may go, and that no answer can hold or fill us."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from app.core.errors import NotSent, OutcomeUnknown
from app.providers.calls import outgoing
from app.providers.calls.addresses import AddressRefused, is_public
from app.providers.calls.outgoing import Outgoing, check_url
from tests.support.false_provider import (
    NAME,
    OK,
    Authority,
    FalseServer,
    Talk,
    answer_with,
    make_authority,
    open_server,
    replace_resolver,
)

# What the environment of a development stack lets through.
HERE = frozenset({"127.0.0.1", "localhost"})


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Addresses by name, which a test fills in."""
    return replace_resolver(monkeypatch)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Provide a certificate authority of the module's own."""
    return make_authority(tmp_path_factory.mktemp("ca"))


PUBLIC = ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822", "2002:5db8:d822::1"]
PRIVATE = [
    *("10.0.0.1", "172.16.3.4", "192.168.1.1", "127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3", "169.254.169.254"),
    *("100.64.0.1", "100.127.255.254", "192.0.0.8", "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1"),
    *("255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "ff0e::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::10.0.0.1"),
    *("64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::a00:1", "2002:7f00:1::1", "2002:a00:1::1", "100::1"),
    # Teredo: the client's address is stored inverted; this one is 10.0.0.1.
    "2001:0:5db8:d822:0:0:f5ff:fffe",
    "fe80::1%lo",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PRIVATE)
def test_every_kind_of_private_address_is_refused_under_a_name(address: str, resolver: dict[str, list[str]]) -> None:
    resolver[NAME] = [address]
    with pytest.raises(AddressRefused):
        Outgoing().send("GET", f"https://{NAME}/", {})
    # One bad address among good ones spoils the name, whichever comes first.
    for mixed in (["93.184.216.34", address], [address, "93.184.216.34"]):
        resolver[NAME] = mixed
        with pytest.raises(AddressRefused):
            Outgoing().send("GET", f"https://{NAME}/", {})


@pytest.mark.parametrize(
    "url",
    [
        "https://10.0.0.1/",
        "https://[::1]:1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://[::ffff:7f00:1]/",
        "https://0/",
        "https://localhost.:1/",
        "https://LOCALHOST%2eexample/",
        "https://[::]/",
    ],
)
def test_addresses_in_urls_are_checked_as_well(url: str) -> None:
    with pytest.raises(NotSent):
        Outgoing().send("GET", url, {})


@pytest.mark.parametrize(
    "url",
    [
        "http://93.184.216.34/",
        f"http://{NAME}/",
        "ftp://localhost/",
        "file:///etc/passwd",
        "//localhost/",
        "",
        "https://",
        f"https://user:pass@{NAME}/",
        f"https://@{NAME}/",
        "http://localhost@evil.example/",
        "http://127.0.0.1\\@evil/",
        "http://127.0.0.1.evil.example/",
        "https://host:port/",
        "https://[::1/",
        "gopher://127.0.0.1/",
        "http://127.1/",
        # This machine is for development, where the environment names it.
        *("http://127.0.0.1:9/", "http://localhost/", "http://[::1]:9/", "https://localhost/", "https://127.0.0.1/"),
    ],
)
def test_urls_that_are_not_https_are_refused(url: str) -> None:
    with pytest.raises(AddressRefused):
        check_url(url, frozenset())


@pytest.mark.parametrize(
    ("listed", "url", "is_allowed"),
    [
        ("127.0.0.1", "http://127.0.0.1:8001/", True),
        ("127.0.0.1:8001", "http://127.0.0.1:8001/", True),
        ("127.0.0.1:8001", "http://127.0.0.1:8002/", False),
        ("[::1]:8001", "http://[::1]:8001/", True),
        ("sandbox", "http://sandbox:8001/", True),
        ("sandbox:80", "http://sandbox/", True),
        ("localhost", "http://127.0.0.1/", False),
        ("sandbox", "ftp://sandbox/", False),
    ],
)
def test_private_hosts_are_those_that_the_environment_names(listed: str, url: str, is_allowed: bool) -> None:
    if is_allowed:
        check_url(url, frozenset({listed}))
        return
    with pytest.raises(AddressRefused):
        check_url(url, frozenset({listed}))


def test_localhost_that_leads_elsewhere_is_refused(resolver: dict[str, list[str]]) -> None:
    resolver["localhost"] = ["10.0.0.1"]
    with pytest.raises(AddressRefused):
        Outgoing(HERE).send("GET", "http://localhost:1/", {})


def test_the_name_is_looked_up_once_and_what_was_checked_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = socket.getaddrinfo

    def rebinding(host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        if host != NAME:
            return real(host, port, *args, **kwargs)
        asked.append(host)
        # The first answer is a public address, the second that of the metadata service (DNS rebinding).
        address = "192.0.2.1" if len(asked) > 1 else "93.184.216.34"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    connected: list[Any] = []

    def connect(self: socket.socket, address: Any) -> None:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(socket.socket, "connect", connect, raising=False)
    with pytest.raises(NotSent):
        Outgoing().send("GET", f"https://{NAME}:8443/", {})
    assert (asked, connected) == ([NAME], [("93.184.216.34", 8443)])


def test_tls_and_host_keep_the_name(authority: Authority, resolver: dict[str, list[str]]) -> None:
    resolver[NAME] = ["127.0.0.1"]
    with open_server(answer_with(OK), authority.context(NAME)) as server:
        sender = Outgoing(frozenset({NAME}), authority.ca_file)
        answer = sender.send("POST", f"https://{NAME}:{server.port}/v1?x=1", {"X-Test": "1"}, b"{}")
    assert (answer.status, answer.body) == (200, b"{}")
    assert server.names == [NAME]
    assert server.requests[0].startswith(b"POST /v1?x=1 HTTP/1.1\r\n")
    assert f"Host: {NAME}:{server.port}\r\n".encode() in server.requests[0]


def test_a_strange_certificate_is_refused_before_anything_is_sent(
    authority: Authority, resolver: dict[str, list[str]]
) -> None:
    resolver[NAME] = ["127.0.0.1"]
    cases = [(authority.context("other.example"), authority.ca_file), (authority.context(NAME), None)]
    for context, ca_file in cases:
        with open_server(answer_with(OK), context) as server:
            with pytest.raises(NotSent):
                Outgoing(frozenset({NAME}), ca_file).send("POST", f"https://{NAME}:{server.port}/", {}, b"secret")
            assert server.requests == []


def send_to(talk: Talk, **headers: str) -> tuple[FalseServer, outgoing.ProviderAnswer]:
    with open_server(talk) as server:
        return server, Outgoing(HERE).send("POST", f"http://127.0.0.1:{server.port}/", headers, b"{}")


def test_redirects_are_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_server(answer_with(OK)) as elsewhere:
        for status in (301, 302, 303, 307, 308):
            target = f"http://127.0.0.1:{elsewhere.port}/secret"
            head = f"HTTP/1.1 {status} X\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()
            _, answer = send_to(answer_with(head))
            assert answer.status == status
        assert elsewhere.connections == 0


def test_the_machines_proxies_and_netrc_are_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login thief password stolen\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with open_server(answer_with(OK)) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        server, answer = send_to(answer_with(OK))
        assert (answer.status, proxy.connections) == (200, 0)
    assert b"authorization" not in server.requests[0].lower()


def test_a_cookie_does_not_travel_to_the_next_account() -> None:
    head = b"HTTP/1.1 200 OK\r\nSet-Cookie: s=1; Path=/\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
    with open_server(answer_with(head)) as server:
        sender = Outgoing(HERE)
        for _ in range(2):
            sender.send("GET", f"http://127.0.0.1:{server.port}/", {})
    assert len(server.requests) == 2
    assert not any(b"cookie:" in request.lower() for request in server.requests)


def drip(start: bytes, piece: bytes, seconds: float = 30.0) -> Talk:
    """Send `start`, then `piece` again and again, for longer than any call may take."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(start)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            connection.sendall(piece)
            time.sleep(0.05)

    return talk


SLOW = {
    "headers without an end": drip(b"HTTP/1.1 200 OK\r\nX: ", b"a"),
    "a header line at a time": drip(b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n"),
    "the status line byte by byte": drip(b"", b"H"),
    "a body that drips": drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"),
    "chunks that drip": drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "interim answers for ever": drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "nothing at all": lambda connection: time.sleep(30),
}


@pytest.mark.parametrize("kind", SLOW)
@pytest.mark.parametrize("is_secure", [False, True])
def test_the_whole_call_is_bounded_in_time(
    kind: str, is_secure: bool, monkeypatch: pytest.MonkeyPatch, authority: Authority, resolver: dict[str, list[str]]
) -> None:
    # The ten seconds of production would make this test two minutes long.
    monkeypatch.setattr(outgoing, "TOTAL_SECONDS", 0.6)
    resolver[NAME] = ["127.0.0.1"]
    context = authority.context(NAME) if is_secure else None
    with open_server(SLOW[kind], context) as server:
        sender = Outgoing(frozenset({NAME}), authority.ca_file)
        started = time.monotonic()
        with pytest.raises(OutcomeUnknown):
            sender.send("GET", f"{'https' if is_secure else 'http'}://{NAME}:{server.port}/", {})
        assert time.monotonic() - started < 8.0


def test_a_resolver_that_hangs_does_not_hang_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def hanging(*args: Any, **kwargs: Any) -> Any:
        release.wait(20)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    monkeypatch.setattr(outgoing, "CONNECT_SECONDS", 0.3)
    started = time.monotonic()
    with pytest.raises(NotSent):
        Outgoing().send("GET", f"https://{NAME}/", {})
    assert time.monotonic() - started < 10.0
    release.set()


def test_nobody_there_means_surely_not_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NotSent):
        Outgoing(HERE).send("POST", f"http://127.0.0.1:{port}/", {}, b"{}")
