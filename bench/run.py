"""One run: every part in turn on servers of its own, and what it was measured on."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
from redis import Redis

from bench import latency, settle, sockets, web
from bench.figures import BenchFailed, Figure
from bench.place import Ground, open_ground
from bench.settle import LONG, SHORT, Size

Say = Callable[[str], None]
Part = Callable[[Ground, "Form", Say, Mapping[str, Figure]], dict[str, Figure]]

PACKAGES = ("celery", "kombu", "redis", "flask", "gunicorn", "gevent", "sqlalchemy", "psycopg2-binary")


class Form:
    """How long the rounds of a run are."""

    def __init__(self, is_long: bool) -> None:
        self.name = "long" if is_long else "short"
        self.size: Size = LONG if is_long else SHORT
        self.web_seconds = 10.0 if is_long else 2.0
        self.probes = 500 if is_long else 80


def _webhook_to_socket(ground: Ground, form: Form, say: Say, known: Mapping[str, Figure]) -> dict[str, Figure]:
    settled = known.get("settle_vs_celery_noop", {}).get("settled")
    rate = settled["median"] if settled else _find_settle_rate(ground, form)
    return latency.run_webhook_to_socket(ground, rate, form.probes, say)


def _find_settle_rate(ground: Ground, form: Form) -> float:
    with ground.open_place("rate") as place:
        place.start(*settle.WORKERS)
        settle.measure_settle(place, form.size.webhooks // 10, settle.USERS)
        return settle.measure_settle(place, form.size.webhooks, settle.USERS)


# Each part and the keys that it gives. Those that need a quiet machine most come first.
PARTS: dict[tuple[str, ...], Part] = {
    (
        "settle_vs_celery_noop",
        "settle_vs_celery_noop_own_settings",
        "settle_vs_row_at_a_time",
        "settle_hot_wallet",
    ): lambda ground, form, say, _: settle.run_settle(ground, form.size, say),
    ("intake_vs_hello", "deposit_vs_hello"): lambda ground, form, say, _: web.run_web(ground, form.web_seconds, say),
    ("webhook_to_socket_ms",): _webhook_to_socket,
    ("deposit_to_redirect_overhead_ms",): lambda ground, form, say, _: latency.run_redirect(ground, form.probes, say),
    ("sockets",): lambda ground, _, say, __: sockets.run_sockets(ground, say),
    ("drain_after_outage",): lambda ground, form, say, _: settle.run_drain(ground, form.size, say),
    ("settle_by_batch_size",): lambda ground, form, say, _: settle.run_batches(ground, form.size, say),
    ("settle_at_10m",): lambda ground, form, say, _: settle.run_history(ground, form.size, say),
}
KEYS = tuple(key for keys in PARTS for key in keys)


def run(form: Form, only: str | None, say: Say) -> dict[str, Any]:
    """Runs all parts, or the one that gives the key `only`; returns the figures by key, then what they were taken on.

    A part that fails leaves its reason under its keys, and the others go on.
    """
    began, figures = time.monotonic(), dict[str, Figure]()
    folder = Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    load = os.getloadavg()
    raise_file_limit()

    def tell(line: str) -> None:
        say(f"{time.monotonic() - began:4.0f} s  {line}")

    try:
        with open_ground(folder) as ground:
            versions = describe_versions(ground)
            for keys, part in PARTS.items():
                if only is None or only in keys:
                    figures |= _run_part(part, keys, ground, form, tell, figures)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if only is not None:
        figures = {only: figures[only]}
    about = {
        "form": form.name,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - began),
        "machine": {**describe_machine(), "load_before": [round(value, 2) for value in load]},
        "versions": versions,
    }
    return {**figures, **about}


def _run_part(
    part: Part, keys: tuple[str, ...], ground: Ground, form: Form, say: Say, known: Mapping[str, Figure]
) -> dict[str, Figure]:
    try:
        return part(ground, form, say, known)
    except BenchFailed as error:
        say(f"{keys[0]}: {error}")
        return {key: {"median": None, "spread": None, "goal": None, "met": False, "error": str(error)} for key in keys}


def raise_file_limit() -> None:
    """Lets this process and its children open as many files as they may ask for, as a service manager would."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def describe_machine() -> dict[str, object]:
    """Returns what the figures depend on."""
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


def describe_versions(ground: Ground) -> dict[str, str]:
    """Returns the versions of what took part."""
    asked = subprocess.run((ground.postgres.bin / "postgres", "--version"), capture_output=True, text=True, check=True)
    installed = {name: importlib.metadata.version(name) for name in PACKAGES}
    postgres = asked.stdout.strip().removeprefix("postgres (PostgreSQL) ")
    return {"python": platform.python_version(), "postgresql": postgres, **_find_valkey(ground), **installed}


def _find_valkey(ground: Ground) -> dict[str, str]:
    with Redis.from_url(ground.valkey.url) as redis:
        info = redis.info("server")
    return {"valkey": str(info.get("valkey_version") or info["redis_version"])}
