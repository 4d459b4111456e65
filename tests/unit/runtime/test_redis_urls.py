"""URLs of Redis and of the broker: what the clients make of them, and one clear line for what cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest
from kombu.utils.url import parse_url

from app.local.processes import Ports, list_processes
from app.runtime.broker.urls import broker_options
from app.runtime.redis_client import open_client
from app.runtime.redis_urls import kombu_url, read_sentinels
from app.runtime.settings import Settings, SettingsError

SENTINEL = "sentinel://ann:p%40w@a:26379;sentinel://b;sentinel://[::1]:26380/3?master_name=pay&sentinel_password=s%20s"
SECRET = "hunter2"


@pytest.mark.parametrize("variable", ["REDIS_URL", "BROKER_URL"])
@pytest.mark.parametrize(
    "url",
    [
        *(
            "redis://127.0.0.1:6379/0",
            "redis://:p%2Fw@redis/1",
            "redis://ann:pw@redis:6379",
            "unix:///run/redis.sock?db=2",
        ),
        *("rediss://redis:6380/0?ssl_ca_certs=/ca.pem&ssl_cert_reqs=required", "redis://[::1]:6379/0", SENTINEL),
        "sentinel://a:26379;sentinel://b:26379",
    ],
)
def test_what_can_be_used(variable: str, url: str) -> None:
    settings = Settings.from_environment({variable: url})
    assert settings.broker_url == url
    assert settings.redis_url == (url if variable == "REDIS_URL" else None)
    # Nothing is connected yet, but each option is known to the connection that will be made.
    pool = open_client(url, socket_timeout=1).connection_pool
    if not url.startswith("sentinel"):
        pool.make_connection()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://redis:6379", "must begin with redis://"),
        ("redis", "must begin with"),
        ("redis://", "names no host"),
        ("redis://:hunter2@", "names no host"),
        ("redis://host:abc/0", "no usable port"),
        ("redis://:hunter2/x@redis:6379/0", "no usable port"),
        ("redis://host:99999/0", "no usable port"),
        ("redis://[::1:6379/0", "no usable host"),
        ("redis://host/db", "database 'db'"),
        ("redis://host/0?foo=1", "unknown option 'foo'"),
        ("rediss://host/0?ssl_cert_reqs=perhaps", "none, optional or required"),
        ("unix://", "names no socket"),
        ("sentinel://a:26379;redis://b:6379", "no sentinel://"),
        ("sentinel://;sentinel://b", "names no host"),
        ("sentinel://a:26379x;sentinel://b", "no usable port"),
        ("sentinel://a:26379/0?master=pay", "unknown option 'master'"),
    ],
)
@pytest.mark.parametrize("variable", ["REDIS_URL", "BROKER_URL"])
def test_what_cannot_be_used_is_said_in_one_line(variable: str, url: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why.replace("?", r"\?")) as caught:
        Settings.from_environment({variable: url})
    assert str(caught.value).startswith(f"{variable} ")
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)


def test_rabbitmq_is_a_broker_and_no_redis() -> None:
    url = "amqp://ann:pw@rabbit:5672/sluice"
    settings = Settings.from_environment({"REDIS_URL": "redis://redis", "BROKER_URL": url})
    assert (settings.redis_url, settings.broker_url) == ("redis://redis", url)
    assert "ack_emulation" not in broker_options(url, seconds=1)
    with pytest.raises(SettingsError, match="REDIS_URL must begin with"):
        Settings.from_environment({"REDIS_URL": url})


def test_a_sentinel_url() -> None:
    found = read_sentinels(SENTINEL)
    assert found.addresses == (("a", 26379), ("b", 26379), ("::1", 26380))
    assert (found.master_name, found.db, found.username, found.password) == ("pay", 3, "ann", "p@w")
    assert found.own_options == {"password": "s s"}
    assert "p@w" not in repr(found)
    assert kombu_url(SENTINEL) == (
        "sentinel://ann:p%40w@a:26379/3;sentinel://ann:p%40w@b:26379/3;sentinel://ann:p%40w@[::1]:26380/3"
    )
    options = broker_options(SENTINEL, seconds=1)
    assert options["master_name"] == "pay"
    assert options["sentinel_kwargs"]["password"] == "s s"
    assert read_sentinels("sentinel://a").master_name == "mymaster"


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [("", "required"), ("?ssl_cert_reqs=CERT_NONE", "none"), ("?ssl_cert_reqs=optional", "optional")],
)
def test_tls_is_spoken_by_both_clients(asked: str, wanted: str) -> None:
    """Kombu would speak plain text at a rediss:// URL that says nothing about certificates."""
    url = f"rediss://redis:6380/0{asked}"
    assert parse_url(kombu_url(url))["ssl"]["ssl_cert_reqs"].name == f"CERT_{wanted.upper()}"
    assert open_client(url).connection_pool.make_connection().cert_reqs.name == f"CERT_{wanted.upper()}"


def test_celery_takes_its_broker_from_our_settings() -> None:
    """Its command line would take BROKER_URL as it stands: no database, no Sentinel's options, no TLS."""
    processes = list_processes(Ports("127.0.0.1", 1, 2, 3, 4), Path("home"))
    assert {process.name for process in processes if "celery" in process.argv and "--broker=" in process.argv} == {
        *("worker-settle", "worker-provider", "worker-deliver", "beat", "flower")
    }
