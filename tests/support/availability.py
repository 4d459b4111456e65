"""Callers without retries, which notice what a restart loses."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from testbed.waiting import wait_until


@dataclass
class AvailabilityProbe:
    """Sends one request after the other without any retry, and keeps what came of them."""

    port: int
    keeps_connection: bool
    stopped: threading.Event = field(default_factory=threading.Event)
    answered: int = 0
    refused: int = 0
    slowest: float = 0.0
    lost: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Call until stopped; a connection that is refused is not a loss, everything else without an answer is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        while not self.stopped.is_set():
            began = time.monotonic()
            try:
                connection.request("GET", "/health/live")
                assert connection.getresponse().read()
                self.answered += 1
                self.slowest = max(self.slowest, time.monotonic() - began)
            except ConnectionRefusedError:
                self.refused += 1
                connection.close()
                time.sleep(0.01)
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(repr(error))
                connection.close()
            if not self.keeps_connection:
                connection.close()
        connection.close()


@contextlib.contextmanager
def probing(port: int) -> Iterator[list[AvailabilityProbe]]:
    """Call `port` for the length of the block, over connections that are kept and over new ones."""
    probes = [AvailabilityProbe(port, keeps) for keeps in (True, True, True, False, False, False)]
    with ThreadPoolExecutor(len(probes)) as pool:
        running = [pool.submit(probe.run) for probe in probes]
        try:
            wait_until(lambda: all(probe.answered > 10 for probe in probes), "everybody is answered")
            yield probes
        finally:
            for probe in probes:
                probe.stopped.set()
        for one in running:
            one.result()


def wait_until_answered(probes: list[AvailabilityProbe], seconds: float = 20.0, times: int = 1) -> None:
    """Return once each of them was answered so many times more."""
    before = [probe.answered for probe in probes]
    wait_until(
        lambda: all(probe.answered >= count + times for probe, count in zip(probes, before, strict=True)),
        "everybody is answered again",
        seconds,
    )
