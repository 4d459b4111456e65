"""One run: every part in turn on servers of its own, and what it was measured on."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from redis import Redis

from bench import calls, deliveries, history, redirect, settle, sockets, to_socket, ways, web
from bench.figures import BenchFailed, Figure
from bench.load import provider
from bench.measured_stack import open_measured_stack
from bench.settle import LONG, SHORT, Size
from testbed.servers import Servers, open_servers
from testbed.waiting import StackError

Say = Callable[[str], None]
Part = Callable[["Run"], dict[str, Figure]]

TO_BROWSER, TO_PAGE = "webhook_to_socket_ms", "deposit_to_redirect_overhead_ms"
PACKAGES = ("celery", "kombu", "redis", "flask", "gunicorn", "gevent", "sqlalchemy", "psycopg2-binary")


class Form:
    """How long the rounds of a run are."""

    def __init__(self, is_long: bool) -> None:
        self.name = "long" if is_long else "short"
        self.size: Size = LONG if is_long else SHORT
        self.web_seconds = 10.0 if is_long else 2.0
        self.probes = 500 if is_long else 80


@dataclass(frozen=True)
class Run:
    """What the parts of a run share; `known` are the figures so far, `wanted` the keys that are asked for."""

    servers: Servers
    form: Form
    say: Say
    wanted: tuple[str, ...]
    known: dict[str, Figure] = field(default_factory=dict)


def _run_waits(run: Run) -> dict[str, Figure]:
    """Both waits of a person, on one stack: nothing else happens there."""
    figures: dict[str, Figure] = {}
    with (
        provider.run_in_thread(redirect.PROVIDER_SECONDS) as pays,
        open_measured_stack(run.servers, pays.url) as stack,
    ):
        stack.start("web", "sockets", *settle.WORKERS)
        if TO_PAGE in run.wanted:
            figures |= redirect.run_redirect(stack, pays.seconds, run.form.probes, run.say)
        if TO_BROWSER in run.wanted:
            stack.settle_down()
            figures |= to_socket.run_webhook_to_socket(stack, _find_settle_rate(run), run.form.probes, run.say)
    return figures


def _find_settle_rate(run: Run) -> float:
    settled = run.known.get("settle_vs_celery_noop", {}).get("settled")
    if settled:
        return float(settled["median"])
    with open_measured_stack(run.servers) as stack:
        stack.start(*settle.WORKERS)
        settle.measure_settle(stack, run.form.size.webhooks // 10, settle.USERS)
        return settle.measure_settle(stack, run.form.size.webhooks, settle.USERS)


# Each part and the keys that it gives. Those that need a quiet machine most come first.
PARTS: dict[tuple[str, ...], Part] = {
    settle.KEYS: lambda run: settle.run_settle(
        run.servers, run.form.size, run.say, [key for key in settle.KEYS if key in run.wanted]
    ),
    web.KEYS: lambda run: web.run_web(run.servers, run.form.web_seconds, run.say),
    (TO_BROWSER, TO_PAGE): _run_waits,
    ("sockets",): lambda run: sockets.run_sockets(run.servers, run.say),
    (calls.KEY,): lambda run: calls.run_calls(run.servers, run.form.size, run.say),
    (deliveries.KEY,): lambda run: deliveries.run_deliveries(run.servers, run.form.size, run.say),
    (ways.CREDITED,): lambda run: ways.run_credited(run.servers, run.form.size, run.say),
    (ways.WHOLE,): lambda run: ways.run_whole(run.servers, run.form.size, run.say),
    ("settle_by_batch_size", "batch_fixed_cost"): lambda run: history.run_batches(run.servers, run.form.size, run.say),
    ("sustained",): lambda run: history.run_sustained(run.servers, run.form.size, run.say),
    ("settle_at_10m",): lambda run: history.run_history(run.servers, run.form.size, run.say),
}
KEYS = tuple(key for keys in PARTS for key in keys)


def run(form: Form, only: str | None, say: Say) -> dict[str, Any]:
    """Run all parts, or what the key `only` needs; return the figures by key, then what they were taken on.

    A part that fails leaves its reason under its keys; the other parts still run.
    """
    began, parts = time.monotonic(), dict[str, int]()
    wanted = KEYS if only is None else (only,)
    folder = Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    load = os.getloadavg()
    raise_file_limit()

    try:
        with ended_by_sigterm() as check, open_servers(folder) as servers:

            def tell(line: str) -> None:
                check()
                say(f"{time.monotonic() - began:4.0f} s  {line}")

            versions = describe_versions(servers)
            this = Run(servers, form, tell, wanted)
            for keys, part in PARTS.items():
                if set(keys) & set(wanted):
                    started = time.monotonic()
                    this.known.update(_run_part(part, keys, this))
                    parts[keys[0]] = round(time.monotonic() - started)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    about = {
        "form": form.name,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - began),
        "seconds_by_part": parts,
        "machine": {**describe_machine(), "load_before": [round(value, 2) for value in load]},
        "versions": versions,
    }
    return {**{key: this.known[key] for key in wanted}, **about}


def _run_part(part: Part, keys: tuple[str, ...], run: Run) -> dict[str, Figure]:
    try:
        return part(run)
    except (BenchFailed, StackError) as error:
        run.say(f"{keys[0]}: {error}")
        return {key: {"median": None, "spread": None, "goal": None, "met": False, "error": str(error)} for key in keys}


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[Callable[[], None]]:
    """Let SIGTERM raise SystemExit within a block, so that what the block has started is ended with it.

    Yield a check that raises it as well once the signal has come: raised in a finalizer it is lost.
    """
    code = 0

    def leave(number: int, _: object) -> None:
        nonlocal code
        # A second signal would interrupt the clearing away.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        code = 128 + number
        sys.exit(code)

    def check() -> None:
        if code:
            sys.exit(code)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield check
        check()
    finally:
        signal.signal(signal.SIGTERM, before)


def raise_file_limit() -> None:
    """Let this process and its children open as many files as they may ask for, as a service manager would."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def describe_machine() -> dict[str, object]:
    """Return what the figures depend on."""
    return {
        "processor": _find_processor(),
        "processors": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
    }


def _find_processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def describe_versions(servers: Servers) -> dict[str, str]:
    """Return the versions of what took part."""
    asked = subprocess.run((servers.postgres.bin / "postgres", "--version"), capture_output=True, text=True, check=True)
    installed = {name: importlib.metadata.version(name) for name in PACKAGES}
    postgres = asked.stdout.strip().removeprefix("postgres (PostgreSQL) ")
    return {"python": platform.python_version(), "postgresql": postgres, **_find_valkey(servers), **installed}


def _find_valkey(servers: Servers) -> dict[str, str]:
    with Redis.from_url(servers.valkey.url) as redis:
        info = redis.info("server")
    return {"valkey": str(info.get("valkey_version") or info["redis_version"])}
